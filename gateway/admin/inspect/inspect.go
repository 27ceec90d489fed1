// Package inspect answers what operators and reviewers ask over the admin
// socket: how the gateway is, who is connected, why something is allowed or
// refused, who can do what, and what looks wrong. It puts what the packages know
// into the words of package admin, and keeps nothing of its own but a count.
//
// It may read values of several packages (import rules: "readers"), each through an
// interface declared here, and changes nothing except that an operator may end
// connections (Disconnect) and ask for a sync (Sync). Every method may be
// called from many goroutines at once; none waits, but for Sync and what reads the stored policy.
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
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/upstream"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// Policy is what is in force.
type Policy interface {
	// Facts are the index and the registry of one version; never nil.
	Facts() (*authz.Index, *device.Topology)
	// Registry is nil before the first answer of the cloud or the cache.
	Registry() *device.Topology
}

// Aging is how long ago the cloud last confirmed the policy, and the stage that follows.
type Aging interface {
	Stage() offline.Stage
	Age() time.Duration
}

// Access explains decisions of the topic map.
type Access interface {
	// Imagine makes the principal that a key names, as if it connected now.
	Imagine(key string) (*principal.Principal, error)
	Explain(p *principal.Principal, operation, topic string) (access.Explanation, error)
}

// Broker is the sessions and what passed through them.
type Broker interface {
	Stats() broker.Stats
	Sessions() []broker.SessionInfo
	// Filters are a session's subscriptions, and those of them that are suspended by a lost right.
	Filters(session string) (all, suspended []string)
	// Disconnect ends all connections of a principal, DisconnectSession that
	// of one session; both say how many there were.
	Disconnect(principal string, code byte, why string) int
	DisconnectSession(session string, code byte, why string) int
}

// Outbox is what waits for the upstream.
type Outbox interface{ Stats() upstream.Stats }

// Uplink is the link to what is upstream, whatever its mode.
type Uplink interface {
	// Status is "connected", "connecting" or "down" with a detail, where the
	// link leads, and since when it is so.
	Status() (state, detail, target string, since time.Time)
}

// Replica follows the cloud's policy.
type Replica interface {
	Status() replica.Status
	// Wake asks for an exchange now, WakeFull for one that reads everything.
	Wake()
	WakeFull()
}

// Options of New. Outbox, Uplink and Replica are nil where there is none; all others are needed.
type Options struct {
	Build    admin.Build
	Started  time.Time
	Instance config.Instance

	Policy Policy
	// Stored is the policy as the cache holds it, which is what is in force; an
	// error when nothing is stored.
	Stored func(context.Context) (*model.Snapshot, error)
	Aging  Aging
	Access Access
	Broker Broker
	// Health is the warnings that are raised.
	Health func() health.Report
	// Deployments are how many there are in each phase.
	Deployments func() map[update.Phase]int
	// Denied are the refusals since the start, by reason.
	Denied func() map[string]uint64
	// Audit are the totals of the audit log.
	Audit func() audit.Counts
	// Authorities are the certificate authorities of the registry that cannot be used.
	Authorities func() []error
	// Listeners are the addresses for clients; inspect counts their connections.
	Listeners func() []admin.ListenerState
	// Served are the certificates that listeners show.
	Served func() []Certificate

	Outbox      Outbox
	OutboxLimit int64 // bytes
	Uplink      Uplink
	Replica     Replica
	CloudURL    string // of the management API
}

// Certificate is one that a listener shows.
type Certificate struct {
	Listener string // as in the names of its warnings: "listener-mqtts"
	NotAfter time.Time
	Left     time.Duration // until NotAfter; negative after it
	Good     bool          // health has no warning about its time
}

// Inspector answers. Make one with New.
type Inspector struct {
	o Options

	countMu  sync.Mutex
	counts   recordCounts     // guarded by countMu
	countsOf *device.Topology // the registry that was counted; guarded by countMu
}

// New starts nothing.
func New(o Options) *Inspector { return &Inspector{o: o} }

// Sources are the answers. Audit, Follow, ResetClock and Config are left to the caller.
func (n *Inspector) Sources() admin.Sources {
	return admin.Sources{
		Status:      func(context.Context) (admin.Status, error) { return n.Status(), nil },
		Health:      func(context.Context) (admin.Health, error) { return n.Health(), nil },
		Sessions:    func(_ context.Context, q admin.SessionQuery) ([]admin.Session, error) { return n.Sessions(q), nil },
		Explain:     func(_ context.Context, q admin.Question) (admin.Explanation, error) { return n.Explain(q) },
		Assignments: n.Assignments,
		WhoCan:      func(_ context.Context, q admin.Question) ([]admin.Grant, error) { return n.WhoCan(q) },
		WhatCan:     func(_ context.Context, name string) ([]admin.Grant, error) { return n.WhatCan(name) },
		Sync:        n.Sync,
		Disconnect: func(_ context.Context, r admin.DisconnectRequest) (admin.DisconnectResult, error) {
			return n.Disconnect(r)
		},
		Doctor: func(ctx context.Context) ([]admin.Finding, error) { return n.Doctor(ctx), nil },
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
