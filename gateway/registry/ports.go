// Package registry answers the requests about the registry that devices and users
// publish over MQTT (docs/spec/semantics.md 3.3). `registry/devices/{D}/get` is
// answered from the cached topology. `registry/devices/{D}/sensors/{hardwareId}/create`
// needs a right that the Gateway Device role has, and is sent on to the management API.
// The topic map has decided whether a request may be made before it comes here.
//
// A create is acknowledged after it is synced to disk, and stays there until the
// cloud has answered it. It is therefore sent at least once, and the creates of one
// device are sent in order. They are sent with the gateway's own identity, so nothing
// in a request may choose where the sensor goes: device, space and hardware id are
// those for which the right was decided. The right is decided again just before the
// create is sent. A create whose principal has lost it is dropped and audited, and one
// that cannot be decided now waits.
//
// Sending a create twice does no harm, because the hardware id is unique: if the
// device already has a sensor of that hardware id, that sensor is the answer. The
// queue is bounded, in total and for each principal; a create that does not fit is
// refused with 0x97 (Quota exceeded).
//
// Concurrency: Handle never waits. Run has two goroutines, one that sends requests to
// the cloud and one that sends answers to clients, so that neither holds up the other.
package registry

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Sensor is the sensor that the cloud is asked to create.
type Sensor struct {
	Device     space.ID
	Space      space.ID // the space of the device, for which the right was decided
	HardwareID string
	Attributes
}

// Attributes are the properties that a request may give its sensor. Each type is
// given by its name or by its id, never by both (docs/spec/management-api.md 4.1).
type Attributes struct {
	Type       string `json:"type,omitempty"`
	TypeID     int    `json:"typeId,omitempty"`
	DataType   string `json:"dataType,omitempty"`
	DataTypeID int    `json:"dataTypeId,omitempty"`
	Port       string `json:"port,omitempty"`
	PollRate   int    `json:"pollRate,omitempty"`
}

// Creator creates sensors by the management API.
type Creator interface {
	// CreateSensor returns the id of the new sensor with status 201. If the same
	// device already has a sensor of that hardware id, it returns its id with 200.
	// Any other status without an error is the cloud's final refusal. After an error
	// the same request may succeed later; status is then what the cloud answered, 0 if
	// it did not answer.
	CreateSensor(ctx context.Context, s Sensor) (id string, status int, err error)
}

// Bucket keeps one value for each key on disk. done is called after the value is
// synced, in the order of the calls, and never before the call has returned.
type Bucket interface {
	Put(key string, value []byte, done func(error))
	Delete(key string, done func(error))
	Load(yield func(key string, value []byte) error) error
}

// Decision says whether a queued create may be sent.
type Decision struct {
	Allowed bool
	// Hold: the right cannot be decided now, and the create waits. It means nothing if
	// Allowed is true.
	Hold           bool
	Reason, Detail string
}

// Options of a Service. All functions are safe for concurrent use.
type Options struct {
	Creator  Creator // nil: creates are refused, with status 503 in the answer
	Store    Bucket
	Topology func() *device.Topology
	// May decides again whether p may create the sensor at the device.
	May func(p *principal.Principal, deviceID, hardwareID string) Decision
	// MayRead reports whether p may read the sensor. The answer to a get lists only
	// these, as the management API does.
	MayRead func(p *principal.Principal, s *device.Sensor) bool
	// SendSession delivers m to the session, if it has subscribed to the topic of its
	// answers. It reports whether it did.
	SendSession func(session string, m *message.Message) bool
	Audit       func(message.AuditRecord)
	// Report is called after each round of attempts with the number of creates that still
	// wait, and why they do; may be nil.
	Report func(waiting int, why error)
	// Self is the publisher of the messages that the gateway itself sends.
	Self *principal.Principal

	MaxQueued       int           // 0: 1024
	MaxPerPrincipal int           // 0: 128
	Attempt         time.Duration // how long one request to the cloud may take; 0: 20 s
	RetryMin        time.Duration // first wait between two attempts; 0: 1 s
	RetryMax        time.Duration // longest wait between two attempts; 0: 30 s
	Log             *slog.Logger
	Now             func() time.Time
}

// ErrOptions says that a required option of New is missing.
var ErrOptions = errors.New("registry: Store, Topology, May, MayRead, SendSession, Audit and Self are needed")

func (o *Options) complete() error {
	if o.Store == nil || o.Topology == nil || o.May == nil || o.MayRead == nil || o.SendSession == nil || o.Audit == nil || o.Self == nil {
		return ErrOptions
	}
	for _, n := range []struct {
		v        *int
		standard int
	}{{&o.MaxQueued, 1024}, {&o.MaxPerPrincipal, 128}} {
		if *n.v <= 0 {
			*n.v = n.standard
		}
	}
	for _, d := range []struct {
		v        *time.Duration
		standard time.Duration
	}{{&o.Attempt, 20 * time.Second}, {&o.RetryMin, time.Second}, {&o.RetryMax, 30 * time.Second}} {
		if *d.v <= 0 {
			*d.v = d.standard
		}
	}
	if o.Report == nil {
		o.Report = func(int, error) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}
