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
	// WriteGeneration replaces the stored generation and removes the mark of
	// MarkDirty; when it returns nil, that is durable.
	WriteGeneration(ctx context.Context, g generation.Full) error
	// WriteDelta moves the stored generation to exactly the next version, or
	// changes nothing. generation.ErrVersion and generation.ErrTooLarge ask for
	// WriteGeneration instead.
	WriteDelta(ctx context.Context, d generation.Delta) error
	// MarkDirty notes, durably even on a full disk, that losses of rights are
	// in force that the stored generation does not contain.
	MarkDirty(reason string) error
	// ClearDirty removes that mark.
	ClearDirty() error
}

// Effects does outside of this package what follows from a change. Its methods
// are called one at a time, while the next change waits, and must not call
// Replace or Apply.
type Effects interface {
	// Problems is told which parts of the policy and of the registry in force cannot be
	// used. It is called before Revoke.
	Problems(policy []authz.Problem, registry []device.Problem)
	// Revoke ends in the live sessions of the principals in concerned everything that they
	// may no longer do by what is in force now. It returns when that is confirmed, and how
	// long it took.
	Revoke(ctx context.Context, concerned principal.Concerned) (time.Duration, error)
	// Forget deletes what was kept for devices and modules that no longer exist, so that
	// a new one of the same name inherits nothing.
	Forget(gone []device.Departed)
	// Changed is told of a change that is in force, wholly or in its losses.
	Changed(c Change)
}

// Change says what was done with one answer of the cloud.
type Change struct {
	From, To   model.Version
	Full       bool          // it was a complete answer, not a change set
	Stored     bool          // false: the store failed, and only the losses are in force
	Took       time.Duration // from the begin to the confirmed revocation; zero unless Stored
	Revocation time.Duration // the part of Took that the revocation needed; zero unless Stored
}

// Options of New. All are required.
type Options struct {
	Store   Store
	Effects Effects
	// Mark is the clock's high-water mark. It is stored with a generation as the time from
	// which its age counts: with the time of a wall clock that is ahead, the generation
	// would seem too young later. resets says how often an operator has set the mark back.
	Mark func() (at time.Time, resets uint64)
	Log  *slog.Logger
	// Registry says how the registry is built; its Version is set here.
	Registry device.Options
}

// Policy is the policy and the registry in force.
type Policy struct {
	store    Store
	effects  Effects
	mark     func() (at time.Time, resets uint64)
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
	// needsFull is set when a complete answer could not be stored. The change sets that
	// the cloud sends next begin at a version that the store never held, so only another
	// complete answer can be applied.
	needsFull bool
}

// facts are the policy and the registry by which everything is decided. They are replaced
// together: an index beside the topology of another version could grant what neither version
// grants. For example, a device leaves a space while an assignment is made there.
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

// Adopt puts a stored generation into force at start. It revokes nothing, because no
// client is connected yet.
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

// Facts are the index and the registry in force, of one version; never nil. A caller
// that needs both must take them from one call.
func (p *Policy) Facts() (*authz.Index, *device.Topology) {
	now := p.inForce.Load()
	return now.index, now.topo
}

// Index is the policy in force; never nil.
func (p *Policy) Index() *authz.Index { return p.inForce.Load().index }

// Topology is the registry in force; never nil.
func (p *Policy) Topology() *device.Topology { return p.inForce.Load().topo }

// Registry is the registry in force, or nil before the first generation: no device is
// known then, so a refusal must not say that this one is unknown.
func (p *Policy) Registry() *device.Topology {
	if !p.Loaded() {
		return nil
	}
	return p.Topology()
}

// Loaded tells whether a generation of the cloud is in force, from the store or just received.
func (p *Policy) Loaded() bool { return p.loaded.Load() }
