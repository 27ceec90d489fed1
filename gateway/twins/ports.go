// Package twins answers for the twins of the devices behind this gateway:
// twin GET, reported PATCH and direct methods, online by way of upstream and
// offline from what was last known (docs/spec/semantics.md 6.6). What a device may see of
// its desired state, and what may be read of its reports, is decided by the
// deployment guard (device/update); no document takes another way.
//
// Order and concurrency: everything that concerns one identity runs one after
// the other, on a goroutine of its own that exists while there is work;
// identities do not wait for each other. Handlers never hold up their caller.
//
// Durability: a reported patch is acknowledged after it is synced, and stays
// until upstream has taken it: at least once, in order. The last known twin
// and what the device was last shown survive a restart. If a record cannot be written,
// the device is not acknowledged.
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

// Upstream is the link to the twins. id is "{device}" or "{device}/{module}".
// Calls block until answered, refused or ctx ends; for one id never two at a
// time. The errors are twin.ErrOffline, twin.ErrNoTwin and twin.ErrRejected.
type Upstream interface {
	// TwinGet returns the body of a twin GET answer.
	TwinGet(ctx context.Context, id string) ([]byte, error)
	// PatchReported sends a merge patch and returns the new $version.
	PatchReported(ctx context.Context, id string, patch []byte) (int64, error)
}

// Bucket keeps one value for each key; done runs after the sync.
type Bucket interface {
	Put(key string, value []byte, done func(error))
	Delete(key string, done func(error))
	Load(yield func(key string, value []byte) error) error
}

// Guard is what the deployment guard says of twins (device/update.Guard).
type Guard interface {
	Desired(ctx context.Context, device string, desired twin.Properties, present bool) (update.View, error)
	Reported(ctx context.Context, device string, patch strictjson.Value) (update.Reports, error)
	MayReport(ctx context.Context, device string) bool
	// Unreadable says that upstream sent a desired state that is not read.
	Unreadable(device string, err error)
	// Forget drops what is known of an identity, and of its modules.
	Forget(ctx context.Context, device string) error
}

// Options of a Service.
type Options struct {
	Upstream Upstream // nil: every twin is local
	Store    Bucket
	Guard    Guard
	// Send delivers to the connected sessions of a principal that hold a
	// matching private subscription and says how many there were.
	Send func(principalKey string, m *message.Message) int
	// SendSession delivers to one session; false when it is gone.
	SendSession func(session string, m *message.Message) bool
	// Present tells whether the principal has a connected session that is
	// subscribed to desired patches: what is released now would reach it.
	Present func(principalKey string) bool
	// Owner names the very device that now goes by an identity's name, "" if
	// nobody is known to. A record of another owner is forgotten, whenever that
	// one left. nil: names are never given again.
	Owner func(id string) string
	// Local does a deployment action that a principal asked for on a topic, once
	// it is decided again (update.Guard.Local).
	Local func(ctx context.Context, r update.Request) (update.Answer, error)
	// Initiator records who asks for a local deployment action.
	Initiator func(*principal.Principal) update.Initiator
	// Self is the publisher of what the gateway itself sends.
	Self *principal.Principal
	// AnswerWithin bounds the wait for upstream before the last known twin is
	// answered; 0: 5 s.
	AnswerWithin time.Duration
	Log          *slog.Logger
	Now          func() time.Time
}
