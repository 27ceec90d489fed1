package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/store"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// policy takes what the cloud says and makes it the truth of this gateway, in
// the order of docs/spec/semantics.md 4.4: validate, compile, write the new generation,
// flip its head, swap the index, take from live sessions what is lost; only
// then does the caller advance its cursor. It is the replica's Sink.
//
// One change at a time (mu). Readers never wait: they take index and topology
// from one atomic pointer.
type policy struct {
	now   atomic.Pointer[facts]
	cache generations
	clock *offline.Clock
	log   *slog.Logger

	topoOptions device.Options
	revoke      func(ctx context.Context, touched func(*principal.Principal) bool) (time.Duration, error)
	problems    func(policy []authz.Problem, topology []device.Problem)
	changed     func(change) // audit, metrics; called after the change took effect
	forget      func(gone []device.Departed)

	mu      sync.Mutex // guards the next three, and the order of changes
	version model.Version
	whole   *facts      // memory took losses that the store does not hold: what it holds, which the next change follows
	wants   bool        // only a full answer brings the store level again
	loaded  atomic.Bool // some generation is in force
}

// facts are what everything is decided by. They are swapped as one: an index
// beside the topology of another version could grant what neither version
// grants, to a device that moves while an assignment is made where it was.
type facts struct {
	index *authz.Index
	topo  *device.Topology
}

// generations is where policy survives a restart.
type generations interface {
	// WriteGeneration replaces what is stored; on return it is durable.
	WriteGeneration(ctx context.Context, g store.Generation) error
	// WriteDelta moves the stored generation to exactly the next version;
	// store.ErrTooLarge asks for a generation instead.
	WriteDelta(ctx context.Context, d store.Delta) error
	// Load returns what is stored.
	Load(ctx context.Context) (store.Generation, error)
	// MarkDirty says that memory is ahead of the store: losses of rights were applied that it does not hold.
	MarkDirty(reason string) error
	// ClearDirty says that the store holds what is in force again.
	ClearDirty() error
}

// A change is what became of one answer of the cloud.
type change struct {
	from, to   model.Version
	full       bool
	stored     bool // false: the store failed, only losses were applied
	took       time.Duration
	revocation time.Duration
}

// begin puts the empty policy and registry into force, by which everything is denied.
func (p *policy) begin() {
	empty, _ := device.NewTopology(device.Data{}, p.topoOptions)
	p.now.Store(&facts{authz.Empty(), empty})
}

// Facts are the index and the registry in force, of one version; never nil. Whoever
// decides by both takes both from one call.
func (p *policy) Facts() (*authz.Index, *device.Topology) {
	now := p.now.Load()
	return now.index, now.topo
}

// Index is the policy in force; never nil.
func (p *policy) Index() *authz.Index { return p.now.Load().index }

// Topology is the registry in force; never nil.
func (p *policy) Topology() *device.Topology { return p.now.Load().topo }

// Registry is the registry in force; nil before the first answer of the cloud, when nothing is known
// of any device and a refusal must not say that it is unknown.
func (p *policy) Registry() *device.Topology {
	if !p.loaded.Load() {
		return nil
	}
	return p.Topology()
}

// adopt puts a generation that the store verified into force at start; nothing is
// connected yet, so nobody has anything to lose.
func (p *policy) adopt(g store.Generation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ix, bad := authz.Compile(g.Policy)
	topo, badTopo := device.NewTopology(g.Data, p.topoOptions)
	p.now.Store(&facts{ix, topo})
	p.version = g.Version
	p.loaded.Store(true)
	p.problems(bad, badTopo)
}

// stored is what the store holds: what is in force, unless that had to lose more. p.mu is held.
func (p *policy) stored() *facts {
	if p.whole != nil {
		return p.whole
	}
	return p.now.Load()
}

// Replace takes a complete answer of the cloud.
func (p *policy) Replace(ctx context.Context, f replica.Full) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	began := time.Now()
	// Derived from the last index, so that whose rights are the same keeps what
	// was decided for it.
	ix, _, bad := p.Index().Replace(f.Policy)
	options := p.topoOptions
	options.Version = p.Topology().Version() + 1
	topo, badTopo := device.NewTopology(f.Data, options)
	g := store.Generation{Version: f.Version, Taken: p.clock.Mark(), Policy: f.Policy, Data: f.Data}
	c := change{from: p.version, to: f.Version, full: true, stored: true}
	if err := p.cache.WriteGeneration(ctx, g); err != nil {
		if ctx.Err() != nil {
			return err // we stop, and what was not taken is asked for again
		}
		p.wants = true
		return p.loseOnly(ctx, p.lossesTo(ctx, &f.Policy), topo, err)
	}
	p.version, p.wants = f.Version, false // the new generation carries no mark
	return p.enforce(ctx, c, ix, topo, everyone, bad, badTopo, began)
}

// Apply takes a change set against exactly the version in force.
func (p *policy) Apply(ctx context.Context, d replica.Delta) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	began := time.Now()
	if p.version != d.From {
		return fmt.Errorf("%w: holds %s, the change begins at %s", replica.ErrGap, p.version, d.From)
	}
	if p.wants {
		return fmt.Errorf("%w: a full answer could not be stored, and only another one mends that", replica.ErrGap)
	}
	held, behind := p.stored(), p.whole != nil
	ix, touched, err := held.index.Apply(d.Policy)
	if err != nil {
		return fmt.Errorf("%w: %w", replica.ErrGap, err)
	}
	topo, badTopo := held.topo, []device.Problem(nil)
	topologyChanged := !changesNothing(&d.Data) || behind
	if topologyChanged {
		topo, badTopo = topo.Apply(d.Data)
	}
	c := change{from: d.From, to: d.To, stored: true}
	err = p.cache.WriteDelta(ctx, store.Delta{Taken: p.clock.Mark(), Policy: d.Policy, Registry: d.Data})
	if errors.Is(err, store.ErrTooLarge) || errors.Is(err, store.ErrVersion) {
		return fmt.Errorf("%w: %w", replica.ErrGap, err) // a full answer is written in batches, and asks for no version
	}
	if err != nil && ctx.Err() != nil {
		return err // we stop, and what was not taken is asked for again
	}
	if err != nil {
		return p.loseOnly(ctx, lossesOf(&d.Policy), topo, err)
	}
	p.version = d.To
	if behind {
		// The change contains what was lost early: the store is level again,
		// and must not count as expired any longer.
		if err := p.cache.ClearDirty(); err != nil {
			p.log.Error("the mark of a store that is behind stays; a full sync takes it away", "err", err)
		}
	}
	hit := everyone
	if !topologyChanged {
		hit = holdersOf(touched)
	}
	return p.enforce(ctx, c, ix, topo, hit, ix.Problems(), badTopo, began)
}

// enforce swaps and revokes. p.mu is held.
func (p *policy) enforce(ctx context.Context, c change, ix *authz.Index, topo *device.Topology, hit func(*principal.Principal) bool, bad []authz.Problem, badTopo []device.Problem, began time.Time) error {
	before := p.stored().topo
	p.whole = nil
	p.now.Store(&facts{ix, topo})
	p.loaded.Store(true)
	p.problems(bad, badTopo)
	took, err := p.revoke(ctx, hit)
	if gone := device.Gone(before, topo); len(gone) > 0 {
		p.forget(gone)
	}
	if err != nil {
		return fmt.Errorf("policy %s is in force, but revocation was not confirmed: %w", c.to, err)
	}
	c.took, c.revocation = time.Since(began), took
	p.changed(c)
	return nil
}

// loseOnly is what happens when the store cannot take a change: what is lost is
// lost at once, in memory, and the store is marked as behind; what is
// gained waits until it can be stored, also what a registry gives: another
// gateway, another place, a new key. p.mu is held.
//
// What is taken is taken from what the store holds, not from what is left of that
// after the last time: the cloud may have taken back in between what it wanted then.
func (p *policy) loseOnly(ctx context.Context, losses model.ChangeSet, next *device.Topology, cause error) error {
	held := p.stored()
	ix, _, err := held.index.Apply(losses)
	if err != nil {
		p.log.Error("policy could not be reduced; denying everything until the next full sync", "err", err)
		ix, _ = authz.Compile(model.Snapshot{Version: p.version})
	}
	gone := device.Gone(held.topo, next)
	left, _ := held.topo.Apply(device.Losses(held.topo, next))
	again, _ := held.topo.Apply(device.Changes{}) // no version is given to two registries
	p.whole = &facts{held.index, again}
	p.now.Store(&facts{ix, left})
	dirty := p.cache.MarkDirty("losses of rights are in force that the disk does not hold: " + cause.Error())
	_, revoked := p.revoke(ctx, everyone)
	if len(gone) > 0 {
		p.forget(gone)
	}
	p.changed(change{from: p.version, to: losses.To, stored: false})
	return errors.Join(fmt.Errorf("policy not stored, only losses of rights are in force: %w", cause), dirty, revoked)
}

// lossesOf is what a change set takes away. What it replaces may give less than
// before, so that it is taken away whole.
func lossesOf(c *model.ChangeSet) model.ChangeSet {
	l := model.ChangeSet{
		From: c.From, To: c.From, PutAzureDenies: beside(c.PutAzureDenies),
		RemoveRoles: slices.Clone(c.RemoveRoles), RemoveAssigns: slices.Clone(c.RemoveAssigns),
		RemoveAzureRoles: slices.Clone(c.RemoveAzureRoles), RemoveAzureAssigns: slices.Clone(c.RemoveAzureAssigns),
	}
	for _, r := range c.PutRoles {
		l.RemoveRoles = append(l.RemoveRoles, r.ID)
	}
	for _, a := range c.PutAssignments {
		l.RemoveAssigns = append(l.RemoveAssigns, a.ID)
	}
	for _, r := range c.PutAzureRoles {
		l.RemoveAzureRoles = append(l.RemoveAzureRoles, r.ID)
	}
	for _, a := range c.PutAzureAssignments {
		l.RemoveAzureAssigns = append(l.RemoveAzureAssigns, a.ID)
	}
	allowNothing(&l)
	return l
}

// allowNothing has the roles that c removes allow nothing: one of the system's
// own would return to its built-in form, which may be more than before.
func allowNothing(c *model.ChangeSet) {
	for _, id := range c.RemoveRoles {
		c.PutRoles = append(c.PutRoles, model.Role{ID: id})
	}
	for _, id := range c.RemoveAzureRoles {
		c.PutAzureRoles = append(c.PutAzureRoles, model.AzureRole{ID: id})
	}
}

// beside gives denials other ids: one that is replaced goes on beside the new one,
// which may deny less.
func beside(list []model.AzureDeny) []model.AzureDeny {
	out := slices.Clone(list)
	for i := range out {
		out[i].ID = space.NewID()
	}
	return out
}

func everyone(*principal.Principal) bool { return true }

// holdersOf matches the principals whose rights differ.
func holdersOf(touched []authz.Key) func(*principal.Principal) bool {
	return func(p *principal.Principal) bool {
		for i := range touched {
			if touched[i].Concerns(&p.Subject) {
				return true
			}
		}
		return false
	}
}

// lossesTo is what is in force and next does not grant, as a change set that
// moves nothing else. What is in force is what the store holds, because every
// gain is stored before it is granted; if that cannot be read, everything is lost.
func (p *policy) lossesTo(ctx context.Context, next *model.Snapshot) model.ChangeSet {
	c := model.ChangeSet{From: p.version, To: p.version}
	stored, err := p.cache.Load(ctx)
	if err != nil {
		return model.ChangeSet{} // begins at no version: loseOnly then denies everything
	}
	keep := make(map[model.Assignment]struct{}, len(next.Assignments))
	for _, a := range next.Assignments {
		keep[a] = struct{}{}
	}
	for _, a := range stored.Policy.Assignments {
		if _, ok := keep[a]; !ok {
			c.RemoveAssigns = append(c.RemoveAssigns, a.ID)
		}
	}
	for _, a := range without(stored.Policy.AzureAssignments, next.AzureAssignments) {
		c.RemoveAzureAssigns = append(c.RemoveAzureAssigns, a.ID)
	}
	c.PutAzureDenies = beside(without(next.AzureDenies, stored.Policy.AzureDenies))
	c.RemoveRoles = differing(stored.Policy.Roles, next.Roles, func(r model.Role) space.ID { return r.ID })
	c.RemoveAzureRoles = differing(stored.Policy.AzureRoles, next.AzureRoles, func(r model.AzureRole) space.ID { return r.ID })
	allowNothing(&c)
	return c
}

// without is what of list is not in other, word for word.
func without[T any](list, other []T) (left []T) {
	texts := make(map[string]struct{}, len(other))
	for _, v := range other {
		texts[text(v)] = struct{}{}
	}
	for _, v := range list {
		if _, ok := texts[text(v)]; !ok {
			left = append(left, v)
		}
	}
	return left
}

// text tells records apart; quoted, because two of them may read alike otherwise.
func text(record any) string { return fmt.Sprintf("%q", record) }

// differing lists the ids of the roles that are not the same in both; one that
// is new may narrow a built-in one.
func differing[T any](old, next []T, id func(T) space.ID) (ids []space.ID) {
	texts := make(map[space.ID]string, len(old))
	for _, r := range old {
		texts[id(r)] = text(r)
	}
	for _, r := range next {
		if texts[id(r)] != text(r) {
			ids = append(ids, id(r))
		}
		delete(texts, id(r))
	}
	return slices.AppendSeq(ids, maps.Keys(texts))
}

func changesNothing(c *device.Changes) bool {
	return len(c.PutSpaces)+len(c.PutDevices)+len(c.PutSensors)+len(c.PutFunctions)+len(c.PutCAs)+
		len(c.RemoveSpaces)+len(c.RemoveDevices)+len(c.RemoveSensors)+len(c.RemoveFunctions)+len(c.RemoveCAs) == 0
}
