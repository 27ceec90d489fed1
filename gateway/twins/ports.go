// Package twins serves the IoT Hub device twins of the devices behind this gateway: twin
// GET, reported PATCH and direct methods. While upstream can be reached it asks there;
// otherwise it answers from the last known twin (docs/spec/semantics.md 6.6). The
// deployment guard (device/update) decides how much of its desired properties a device
// may see, and how much of its reports may be read upstream. No document passes without it.
//
// Order and concurrency: a device or module is an identity. All jobs of one identity run
// one after the other, on a goroutine of its own that exists while there are jobs.
// Identities do not wait for each other, and a handler never makes its caller wait.
//
// Durability: a reported patch is acknowledged after it is synced to disk, and stays there
// until upstream has taken it. It is therefore sent at least once, and in order. The last
// known twin, and what the device was last shown of it, survive a restart. If the state of a
// twin cannot be written, the device gets no acknowledgement.
package twins

import (
	"context"
	"log/slog"
	"time"

	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/device/twin/strictjson"
	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Upstream reads and changes the twins of the IoT Hub. id is "{device}" or
// "{device}/{module}". A call blocks until it is answered or refused, or ctx ends. There are
// never two calls for one id at a time. The errors are twin.ErrOffline, twin.ErrNoTwin and
// twin.ErrRejected.
type Upstream interface {
	// TwinGet returns the body of a twin GET answer.
	TwinGet(ctx context.Context, id string) ([]byte, error)
	// PatchReported sends a merge patch and returns the new $version.
	PatchReported(ctx context.Context, id string, patch []byte) (int64, error)
}

// Bucket keeps one value for each key on disk. done is called after the value is synced.
type Bucket interface {
	Put(key string, value []byte, done func(error))
	Delete(key string, done func(error))
	Load(yield func(key string, value []byte) error) error
}

// Guard is the part of the deployment guard (device/update.Guard) that judges twins.
type Guard interface {
	Desired(ctx context.Context, device string, desired twin.Properties, present bool) (update.View, error)
	Reported(ctx context.Context, device string, patch strictjson.Value) (update.Reports, error)
	MayReport(ctx context.Context, device string) bool
	// Unreadable tells the guard that upstream sent desired properties that cannot be read.
	Unreadable(device string, err error)
	// Forget deletes the deployments of an identity and of its modules.
	Forget(ctx context.Context, device string) error
}

// Options of a Service.
type Options struct {
	Upstream Upstream // nil: every twin is local
	Store    Bucket
	Guard    Guard
	// Send delivers m to the connected sessions of a principal that have subscribed to its topic,
	// and returns how many they were.
	Send func(principalKey string, m *message.Message) int
	// SendSession delivers m to one session. It returns false if the session is gone.
	SendSession func(session string, m *message.Message) bool
	// Present reports whether the principal has a connected session that is subscribed to
	// desired patches, so that a deployment that is released now would reach it.
	Present func(principalKey string) bool
	// Owner returns the registry's id of the device that now has this identity's name, "" if
	// none is known. The state of a twin is deleted if it belongs to another owner, whenever that
	// device was removed. nil: a name is never given to another device.
	Owner func(id string) string
	// Local decides again whether a deployment action that a principal requested on a topic is
	// allowed, and carries it out (update.Guard.Local).
	Local func(ctx context.Context, r update.Request) (update.Answer, error)
	// Initiator returns what the guard keeps of the principal that requests a local deployment action.
	Initiator func(*principal.Principal) update.Initiator
	// Self is the publisher of the messages that the gateway itself sends.
	Self *principal.Principal
	// AnswerWithin is how long one request to upstream may take before the last known twin is
	// answered; 0: 5 s.
	AnswerWithin time.Duration
	Log          *slog.Logger
	Now          func() time.Time
}
