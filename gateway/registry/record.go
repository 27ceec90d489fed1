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

// queuedCreate is a create as it is kept: what is wanted, and by whom with which
// identities, so that the right can be asked for again when its turn has come. The
// credential is not kept: that it expires meanwhile changes nothing (docs/spec/semantics.md 3.9).
type queuedCreate struct {
	Device     string     `json:"device"` // hub device id
	Node       space.ID   `json:"node"`   // its record then: another one under the same name is another device
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

// topic is the request's own, for the audit.
func (r *queuedCreate) topic() string {
	return "registry/devices/" + r.Device + "/sensors/" + r.HardwareID + "/create"
}

// keyOf orders records by acceptance: the bucket yields keys in their order.
func keyOf(n uint64) string { return fmt.Sprintf("%016x", n) }

// numberOf reads exactly what keyOf writes: two texts for one number would be two entries.
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
