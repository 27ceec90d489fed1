// Package registry answers what devices and technicians ask of the registry
// over MQTT (docs/spec/semantics.md 3.3): `registry/devices/{D}/get` from the cached
// topology, and `registry/devices/{D}/sensors/{hardwareId}/create`, which is
// the Gateway Device role's own right and is carried to the management API.
// Whether a request may be made was decided by the topic map before it came here.
//
// A create is acknowledged after it is synced, and stays until the cloud has
// answered it: at least once, those of one device in order. The cloud is asked
// with the gateway's own identity, so nothing in a request chooses where the
// sensor goes: device, space and hardware id are those that were decided. The
// right is asked for again just before the cloud is; what has lost it meanwhile is
// dropped and audited, and what cannot be decided now waits.
//
// Sending twice does no harm: the hardware id is unique, and a sensor of this
// device that has it already is the answer to the request. The queue is
// bounded in all and for each principal; what does not fit is refused (0x97).
//
// Concurrency: Handle never waits. Two goroutines of Run do the work, one
// speaks to the cloud, one to clients, so that neither holds up the other.
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

// Sensor is what the cloud is asked to create.
type Sensor struct {
	Device     space.ID
	Space      space.ID // the device's own, as it was decided
	HardwareID string
	Attributes
}

// Attributes are what a request may say about its sensor. A type is named or
// numbered, never both (docs/spec/management-api.md 4.1).
type Attributes struct {
	Type       string `json:"type,omitempty"`
	TypeID     int    `json:"typeId,omitempty"`
	DataType   string `json:"dataType,omitempty"`
	DataTypeID int    `json:"dataTypeId,omitempty"`
	Port       string `json:"port,omitempty"`
	PollRate   int    `json:"pollRate,omitempty"`
}

// Creator is the way to the management API.
type Creator interface {
	// CreateSensor returns the new sensor's id with status 201, or that of
	// the same device's sensor which has the hardware id already, with 200. Another
	// status without an error is the cloud's final refusal. An error means: not
	// now; the status is then what the cloud answered, 0 if nothing.
	CreateSensor(ctx context.Context, s Sensor) (id string, status int, err error)
}

// Bucket keeps one value for each key; done runs after the sync, in the order
// of the calls and never within one.
type Bucket interface {
	Put(key string, value []byte, done func(error))
	Delete(key string, done func(error))
	Load(yield func(key string, value []byte) error) error
}

// Decision is an answer about a queued create.
type Decision struct {
	Allowed bool
	// Hold: this cannot be decided now, and the request waits. Meaningful only
	// when not Allowed.
	Hold           bool
	Reason, Detail string
}

// Options of a Service. All functions are safe for concurrent use.
type Options struct {
	Creator  Creator // nil: creates are refused
	Store    Bucket
	Topology func() *device.Topology
	// May decides again whether p may create the sensor at the device.
	May func(p *principal.Principal, deviceID, hardwareID string) Decision
	// MayRead tells whether p may read the sensor: a device's record shows
	// only those, as the management API's own does.
	MayRead func(p *principal.Principal, s *device.Sensor) bool
	// SendSession delivers to one session that holds a matching private
	// subscription; false when there is none.
	SendSession func(session string, m *message.Message) bool
	Audit       func(message.AuditRecord)
	// Report is told after each round how many creates wait, and why; may be nil.
	Report func(waiting int, why error)
	// Self is the publisher of what the gateway itself sends.
	Self *principal.Principal

	MaxQueued       int           // 0: 1024
	MaxPerPrincipal int           // 0: 128
	Attempt         time.Duration // of one request to the cloud; 0: 20 s
	RetryMin        time.Duration // 0: 1 s
	RetryMax        time.Duration // 0: 30 s
	Log             *slog.Logger
	Now             func() time.Time
}

// ErrOptions says that New was given too little.
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
