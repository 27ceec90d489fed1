package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// queuedCreate is a create as it is stored. It holds the requester's identities, because
// the right is decided again just before the create is sent. It does not hold the
// expiry of the requester's credential: a create that was accepted in time is still sent
// after the credential has expired (docs/spec/semantics.md 3.9).
type queuedCreate struct {
	Device     string     `json:"device"` // hub device id
	Node       space.ID   `json:"node"`   // the id of its record: a later device of the same hub id has another one
	HardwareID string     `json:"hardwareId"`
	Attributes Attributes `json:"attributes"`
	Session    string     `json:"session,omitempty"`
	Request    string     `json:"request,omitempty"`
	Accepted   time.Time  `json:"accepted"`
	Who        who        `json:"who"`
}

type who struct {
	Kind     principal.Kind `json:"kind"`
	Key      string         `json:"key"`
	Name     string         `json:"name,omitempty"`
	DeviceID string         `json:"deviceId,omitempty"`
	ModuleID string         `json:"moduleId,omitempty"`
	Node     space.ID       `json:"node,omitzero"`
	Subject  model.Subject  `json:"subject"`
}

func whoIs(p *principal.Principal) who {
	return who{p.Kind, p.Key, p.Name, p.DeviceID, p.ModuleID, p.Node, p.Subject}
}

func (w who) principal() *principal.Principal {
	return &principal.Principal{
		Kind:     w.Kind,
		Key:      w.Key,
		Name:     w.Name,
		DeviceID: w.DeviceID,
		ModuleID: w.ModuleID,
		Node:     w.Node,
		Subject:  w.Subject,
	}
}

// topic is the topic to which the request was published, for the audit.
func (r *queuedCreate) topic() string {
	return "registry/devices/" + r.Device + "/sensors/" + r.HardwareID + "/create"
}

// keyOf is the key under which a create is stored. The bucket yields keys in order, so that
// creates are loaded in the order in which they were accepted.
func keyOf(n uint64) string { return fmt.Sprintf("%016x", n) }

// numberOf is the inverse of keyOf. It refuses every other text for a number, because a number
// with two keys would be two creates.
func numberOf(key string) (n uint64, err error) {
	if _, err = fmt.Sscanf(key, "%016x", &n); err != nil || keyOf(n) != key {
		return 0, errors.New("not a key of this bucket")
	}
	return n, nil
}

func decodeCreate(text []byte) (r queuedCreate, err error) {
	if err := json.Unmarshal(text, &r); err != nil {
		return queuedCreate{}, err
	}
	if r.Device == "" || r.Node.IsZero() || r.Who.Key == "" || r.Who.Kind == principal.Unknown {
		return queuedCreate{}, errors.New("incomplete")
	}
	return r, checkHardwareID(r.HardwareID)
}
