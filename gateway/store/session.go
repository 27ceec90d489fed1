package store

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// principalForm is the stored form of a principal.
type principalForm struct {
	Kind         uint8
	Key, Name    string
	DeviceID     string
	ModuleID     string
	Node         space.ID
	Identities   []identityForm
	Object       space.ID
	Groups       []space.ID
	GroupsKnown  bool
	Credential   uint8
	CredentialID string
	Expires      time.Time
}

func principalOut(p *principal.Principal) *principalForm {
	if p == nil {
		return nil
	}
	f := &principalForm{
		Kind:         uint8(p.Kind),
		Key:          p.Key,
		Name:         p.Name,
		DeviceID:     p.DeviceID,
		ModuleID:     p.ModuleID,
		Node:         p.Node,
		Object:       p.Subject.Object,
		Groups:       p.Subject.Groups,
		GroupsKnown:  p.Subject.GroupsKnown,
		Credential:   uint8(p.Credential),
		CredentialID: p.CredentialID,
		Expires:      p.Expires,
	}
	for _, v := range p.Subject.Identities {
		f.Identities = append(f.Identities, identityOut(v))
	}
	return f
}

func principalIn(f *principalForm) *principal.Principal {
	if f == nil {
		return nil
	}
	p := &principal.Principal{
		Kind:         principal.Kind(f.Kind),
		Key:          f.Key,
		Name:         f.Name,
		DeviceID:     f.DeviceID,
		ModuleID:     f.ModuleID,
		Node:         f.Node,
		Subject:      model.Subject{Object: f.Object, Groups: f.Groups, GroupsKnown: f.GroupsKnown},
		Credential:   principal.CredentialKind(f.Credential),
		CredentialID: f.CredentialID,
		Expires:      f.Expires,
	}
	var ids []model.Identity
	for _, v := range f.Identities {
		ids = append(ids, identityIn(v))
	}
	p.Subject.Is(ids...)
	return p
}

// sessionForm is a session with its owner in stored form.
type sessionForm struct {
	message.StoredSession
	Principal *principalForm // shadows the embedded one
}

func encodeSession(r message.StoredSession) ([]byte, error) {
	f := sessionForm{r, principalOut(r.Principal)}
	f.StoredSession.Principal, f.StoredSession.InboundQoS2 = nil, nil // the latter are records of their own
	b, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode session: %w", err)
	}
	return b, nil
}

func decodeSession(b []byte) (message.StoredSession, error) {
	var f sessionForm
	if err := json.Unmarshal(b, &f); err != nil {
		return message.StoredSession{}, fmt.Errorf("%w: session: %w", ErrCorrupt, err)
	}
	f.StoredSession.Principal = principalIn(f.Principal)
	return f.StoredSession, nil
}

// willForm is a will with its owner in stored form.
type willForm struct {
	message.StoredWill
	Principal *principalForm // shadows the embedded one
}

func encodeWill(w message.StoredWill) ([]byte, error) {
	f := willForm{w, principalOut(w.Principal)}
	f.StoredWill.Principal = nil
	b, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode will: %w", err)
	}
	return b, nil
}

func decodeWill(b []byte) (message.StoredWill, error) {
	var f willForm
	if err := json.Unmarshal(b, &f); err != nil {
		return message.StoredWill{}, fmt.Errorf("%w: will: %w", ErrCorrupt, err)
	}
	f.StoredWill.Principal = principalIn(f.Principal)
	return f.StoredWill, nil
}
