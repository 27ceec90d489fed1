// Package inspect answers what operators and reviewers ask over the admin
// socket: what state the gateway is in, who is connected, why something is
// allowed or refused, who can do what, and what looks wrong. It turns the values
// of other packages into those of package admin. All that it keeps is how many
// records of each kind the registry has.
//
// It is one of the few packages that may import several others ("readers" in
// gateway/imports_test.go), and it reads each through an interface declared here.
// It changes nothing, except that an operator may end connections (Disconnect),
// ask for a synchronisation (Sync) and act on the outbox (OutboxDesk). Every
// method may be called from many goroutines at once. None waits, except Sync and
// those that read the stored policy or the outbox from the disk.
package inspect

import (
	"context"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/audit"
	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/listeners"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/upstream"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// Policy is the policy in force, as gateway/policy holds it.
type Policy interface {
	// Facts returns the index and the registry of the same version. Neither is ever nil.
	Facts() (*authz.Index, *device.Topology)
	// Registry is nil until a registry was read from the cloud or the cache.
	Registry() *device.Topology
}

// Aging tells how long ago the cloud last confirmed the policy, and the offline stage that
// follows from that.
type Aging interface {
	Stage() offline.Stage
	Age() time.Duration
}

// Access explains decisions of the topic map.
type Access interface {
	// Imagine returns the principal that a key names, with the identities that it would have
	// if it connected now.
	Imagine(key string) (*principal.Principal, error)
	Explain(p *principal.Principal, operation, topic string) (access.Explanation, error)
}

// Broker lists the sessions and counts the messages that passed through them.
type Broker interface {
	Stats() broker.Stats
	Sessions() []broker.SessionInfo
	// Filters returns the topic filters of a session, and those of them that are suspended because
	// a right was revoked.
	Filters(session string) (all, suspended []string)
	// Disconnect ends all connections of a principal, and DisconnectSession that
	// of one session. Both return how many connections they ended.
	Disconnect(principal string, code byte, why string) int
	DisconnectSession(session string, code byte, why string) int
}

// Outbox counts the messages that wait for upstream.
type Outbox interface{ Stats() upstream.Stats }

// Uplink is the connection upstream, to an IoT Hub or to another MQTT broker.
type Uplink interface {
	// Status returns "connected", "connecting" or "down" with a detail, the address that the
	// link leads to, and the time since which it has this state.
	Status() (state, detail, target string, since time.Time)
	// Echo sends a probe over the connection that there is, and returns how long it took to come back.
	Echo(ctx context.Context) (time.Duration, error)
}

// Replica keeps policy and registry in step with the cloud.
type Replica interface {
	Status() replica.Status
	// Wake asks the cloud for changes now; WakeFull reads everything anew.
	Wake()
	WakeFull()
}

// Options of New. Outbox, Uplink and Replica are nil where there is none; all others are needed.
type Options struct {
	Build    admin.Build
	Started  time.Time
	Instance config.Instance

	Policy Policy
	// Stored returns the policy from the cache on disk, which is the policy in force. It is
	// an error if no policy is stored.
	Stored func(context.Context) (*model.Snapshot, error)
	Aging  Aging
	Access Access
	Broker Broker
	// Health returns the warnings that are raised now.
	Health func() health.Report
	// Deployments counts the deployments in each phase.
	Deployments func() map[update.Phase]int
	// Denied counts the refusals since the start, by reason.
	Denied func() map[string]uint64
	// Audit returns the totals of the audit log.
	Audit func() audit.Counts
	// Listeners returns the listeners for clients, without their connections, which inspect counts.
	Listeners func() []admin.ListenerState
	// Doors are the listeners' sockets, with the certificates that they present to clients.
	Doors Doors
	// Config returns the configuration in force.
	Config func() *config.Config
	// Disk measures the state directory.
	Disk func() Disk
	// Now is the trusted time, by which certificates are judged.
	Now func() time.Time

	Outbox      Outbox
	OutboxLimit int64 // bytes
	Uplink      Uplink
	Replica     Replica
	CloudURL    string // of the management API
}

// Disk is what the state directory occupies, and what its file system has left, in bytes.
type Disk struct{ Used, Free, MinFree uint64 }

// Doors lists the certificates that listeners present to clients.
type Doors interface {
	Certificates() []listeners.Certificate
}

// Inspector answers operators' questions. Make one with New.
type Inspector struct {
	o Options

	countMu  sync.Mutex
	counts   recordCounts     // guarded by countMu
	countsOf *device.Topology // the registry that counts is of; guarded by countMu
}

// New returns an Inspector. It starts nothing.
func New(o Options) *Inspector { return &Inspector{o: o} }

// Sources returns the functions for the admin server's routes. The caller sets those that are
// not inspect's: Audit, Follow, ResetClock and Config.
func (n *Inspector) Sources() admin.Sources {
	return admin.Sources{
		Status:      func(context.Context) (admin.Status, error) { return n.Status(), nil },
		Health:      func(context.Context) (admin.Health, error) { return n.Health(), nil },
		Sessions:    func(_ context.Context, q admin.SessionQuery) ([]admin.Session, error) { return n.Sessions(q), nil },
		Explain:     func(_ context.Context, q admin.Question) (admin.Explanation, error) { return n.Explain(q) },
		Assignments: n.Assignments,
		Spaces:      func(context.Context) ([]admin.Place, error) { return n.Spaces(), nil },
		WhoCan:      func(_ context.Context, q admin.Question) ([]admin.Grant, error) { return n.WhoCan(q) },
		WhatCan:     func(_ context.Context, name string) ([]admin.Grant, error) { return n.WhatCan(name) },
		Sync:        n.Sync,
		Disconnect: func(_ context.Context, r admin.DisconnectRequest) (admin.DisconnectResult, error) {
			return n.Disconnect(r)
		},
		Doctor:  func(ctx context.Context) ([]admin.Finding, error) { return n.Doctor(ctx), nil },
		Remotes: func(context.Context) (admin.Remotes, error) { return n.Remotes(), nil },
		Echo:    n.Echo,
	}
}

func (n *Inspector) index() *authz.Index {
	ix, _ := n.o.Policy.Facts()
	return ix
}

func (n *Inspector) topology() *device.Topology {
	_, topo := n.o.Policy.Facts()
	return topo
}
