package policy

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/generation"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Store keeps one generation over a restart. A Policy calls it one method at a
// time.
type Store interface {
	// WriteGeneration replaces the stored generation and takes away its mark;
	// when it returns nil, that is durable.
	WriteGeneration(ctx context.Context, g generation.Full) error
	// WriteDelta moves the stored generation to exactly the next version, or
	// changes nothing. generation.ErrVersion and generation.ErrTooLarge ask for
	// WriteGeneration instead.
	WriteDelta(ctx context.Context, d generation.Delta) error
	// MarkDirty notes, durably even on a full disk, that losses of rights are
	// in force that the stored generation does not contain.
	MarkDirty(reason string) error
	// ClearDirty takes the mark away.
	ClearDirty() error
}

// Effects is what a change brings about outside of this package. Its methods
// are called one at a time, while the next change waits, and must not call
// Replace or Apply.
type Effects interface {
	// Problems is told what cannot be used of the policy and of the registry in
	// force, before anybody is revoked by them.
	Problems(policy []authz.Problem, registry []device.Problem)
	// Revoke takes from the live sessions, of the principals for which
	// concerned is true, what they may no longer do by what is in force now. It
	// returns when that is confirmed, and how long that took.
	Revoke(ctx context.Context, concerned func(*principal.Principal) bool) (time.Duration, error)
	// Forget deletes what was kept for devices and modules that no longer
	// exist, so that another of the same name inherits nothing.
	Forget(gone []device.Departed)
	// Changed is told of a change that is in force, wholly or in its losses.
	Changed(c Change)
}

// Change is what became of one answer of the cloud.
type Change struct {
	From, To   model.Version
	Full       bool          // it was a complete answer, not a change set
	Stored     bool          // false: the store failed, and only the losses are in force
	Took       time.Duration // from the begin to the confirmed revocation; zero unless Stored
	Revocation time.Duration // what of that the revocation took; zero unless Stored
}

// Options of New. All are required.
type Options struct {
	Store   Store
	Effects Effects
	// Mark is the clock's high-water mark, by which the age of what is stored
	// is counted later. A wall clock that runs ahead would keep it young.
	Mark func() time.Time
	Log  *slog.Logger
	// Registry says how the registry is built; its Version is set here.
	Registry device.Options
}

// Policy is the policy and the registry in force.
type Policy struct {
	store    Store
	effects  Effects
	mark     func() time.Time
	log      *slog.Logger
	registry device.Options

	inForce atomic.Pointer[facts] // replaced under mu
	loaded  atomic.Bool           // a generation of the cloud's is in force; written under mu

	// mu is held for the length of a change: it keeps changes in order and
	// guards the fields below.
	mu sync.Mutex
	// version is the stored generation's, from which the next change set must lead.
	version model.Version
	// whole is the stored generation while less than that is in force, because
	// losses were applied that could not be stored; nil while they are the same.
	// The next change is derived from it.
	whole *facts
	// needsFull is set after a complete answer could not be stored. The cloud
	// then counts changes from a version that the store never held, so that
	// only another complete answer mends it.
	needsFull bool
}

// facts are what everything is decided by. They are replaced as one: an index
// beside the topology of another version could grant what neither version
// grants, to a device that moves while an assignment is made where it was.
type facts struct {
	index *authz.Index
	topo  *device.Topology
}

// New begins with an empty policy and registry, by which everything is denied.
func New(o Options) *Policy {
	p := &Policy{
		store:    o.Store,
		effects:  o.Effects,
		mark:     o.Mark,
		log:      o.Log,
		registry: o.Registry,
	}
	empty, _ := device.NewTopology(device.Data{}, o.Registry)
	p.inForce.Store(&facts{authz.Empty(), empty})
	return p
}

// Adopt puts a stored generation into force at the start, when nobody is
// connected yet who could lose anything by it.
func (p *Policy) Adopt(g generation.Full) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ix, bad := authz.Compile(g.Policy)
	topo, badTopo := device.NewTopology(g.Registry, p.registry)
	p.inForce.Store(&facts{ix, topo})
	p.version = g.Version
	p.loaded.Store(true)
	p.effects.Problems(bad, badTopo)
}

// Facts are the index and the registry in force, of one version; never nil.
// Whoever decides by both must take both from one call.
func (p *Policy) Facts() (*authz.Index, *device.Topology) {
	now := p.inForce.Load()
	return now.index, now.topo
}

// Index is the policy in force; never nil.
func (p *Policy) Index() *authz.Index { return p.inForce.Load().index }

// Topology is the registry in force; never nil.
func (p *Policy) Topology() *device.Topology { return p.inForce.Load().topo }

// Registry is the registry in force, or nil before the first generation: then
// nothing is known of any device, and a refusal must not say that one is unknown.
func (p *Policy) Registry() *device.Topology {
	if !p.Loaded() {
		return nil
	}
	return p.Topology()
}

// Loaded tells whether a generation of the cloud's is in force, stored or fresh.
func (p *Policy) Loaded() bool { return p.loaded.Load() }
