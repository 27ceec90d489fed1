package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/generation"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// compiled is a change that is ready to be stored and put into force.
type compiled struct {
	facts
	problems         []authz.Problem
	registryProblems []device.Problem
	concerned        principal.Concerned // whose rights it may change
	change           Change
	began            time.Time
}

// Replace takes a complete answer of the cloud. It returns nil when the answer is
// stored and in force, and live sessions have lost what it no longer grants. An error
// while ctx is not cancelled means that only the losses are in force; an error after
// ctx was cancelled means that nothing has changed.
func (p *Policy) Replace(ctx context.Context, f replica.Full) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := compiled{
		concerned: principal.Everyone(),
		change:    Change{From: p.version, To: f.Version, Full: true, Stored: true},
		began:     time.Now(),
	}
	// The index is derived from the last one, so that a principal with the same
	// rights as before keeps the decisions that are cached for its sessions.
	c.index, _, c.problems = p.Index().Replace(f.Policy)
	options := p.registry
	options.Version = p.Topology().Version() + 1
	c.topo, c.registryProblems = device.NewTopology(f.Data, options)

	taken, resets := p.mark()
	err := p.store.WriteGeneration(ctx, generation.Full{
		Version:  f.Version,
		Taken:    taken,
		Resets:   resets,
		Policy:   f.Policy,
		Registry: f.Data,
	})
	if err != nil && ctx.Err() != nil {
		return err // the daemon stops: after the restart the replica asks for the answer again
	}
	if err != nil {
		p.needsFull = true
		losses := authz.Losses(p.stored().index, c.index)
		return p.loseOnly(ctx, &losses, c.topo, err)
	}
	p.version, p.needsFull = f.Version, false
	return p.enforce(ctx, &c)
}

// Apply takes a change set that leads from exactly the stored version.
// replica.ErrGap means that it does not follow, or that the store wants a
// complete answer in its place, and that nothing has changed. Other errors are
// as for Replace.
func (p *Policy) Apply(ctx context.Context, d replica.Delta) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, err := p.derive(&d)
	if err != nil {
		return err
	}
	taken, resets := p.mark()
	err = p.store.WriteDelta(ctx, generation.Delta{Taken: taken, Resets: resets, Policy: d.Policy, Registry: d.Data})
	switch {
	case errors.Is(err, generation.ErrTooLarge), errors.Is(err, generation.ErrVersion):
		return fmt.Errorf("%w: %w", replica.ErrGap, err)
	case err != nil && ctx.Err() != nil:
		return err // the daemon stops: after the restart the replica asks for the change again
	case err != nil:
		losses := p.stored().index.LossesOf(&d.Policy)
		return p.loseOnly(ctx, &losses, c.topo, err)
	}
	p.version = d.To
	if p.whole != nil {
		// The change begins at the stored version, so it contains the losses that were
		// put into force without being stored: the store is no longer behind.
		if err := p.store.ClearDirty(); err != nil {
			p.log.Error("the mark of a store that is behind stays; a full sync takes it away", "err", err)
		}
	}
	return p.enforce(ctx, c)
}

// derive compiles a change set. p.mu is held.
func (p *Policy) derive(d *replica.Delta) (*compiled, error) {
	if p.version != d.From {
		return nil, fmt.Errorf("%w: holds %s, the change begins at %s", replica.ErrGap, p.version, d.From)
	}
	if p.needsFull {
		return nil, fmt.Errorf("%w: a full answer could not be stored, and only another one mends that", replica.ErrGap)
	}
	c := &compiled{change: Change{From: d.From, To: d.To, Stored: true}, began: time.Now()}
	held := p.stored()
	var touched []authz.Key
	var err error
	if c.index, touched, err = held.index.Apply(d.Policy); err != nil {
		return nil, fmt.Errorf("%w: %w", replica.ErrGap, err)
	}
	c.problems = c.index.Problems()
	c.topo, c.registryProblems = held.topo, held.topo.Problems()
	if changesNothing(&d.Data) && p.whole == nil {
		c.concerned = holdersOf(touched)
		return c, nil
	}
	// The registry says which device acts for which, and where each is, so a change of it
	// may change the rights of any principal. So may it when p.whole is in force again.
	c.concerned = principal.Everyone()
	c.topo, c.registryProblems = held.topo.Apply(d.Data)
	return c, nil
}

// enforce puts a stored change into force and revokes from live sessions what it no
// longer grants. p.mu is held.
func (p *Policy) enforce(ctx context.Context, c *compiled) error {
	before := p.stored().topo
	p.whole = nil
	p.inForce.Store(&c.facts)
	p.loaded.Store(true)
	p.effects.Problems(c.problems, c.registryProblems)
	took, err := p.effects.Revoke(ctx, c.concerned)
	if gone := device.Gone(before, c.topo); len(gone) > 0 {
		p.effects.Forget(gone)
	}
	if err != nil {
		return fmt.Errorf("policy %s is in force, but revocation was not confirmed: %w", c.change.To, err)
	}
	c.change.Took, c.change.Revocation = time.Since(c.began), took
	p.effects.Changed(c.change)
	return nil
}

// stored is the generation that the store holds. It is what is in force, unless losses
// are in force that could not be stored (p.whole). p.mu is held.
func (p *Policy) stored() *facts {
	if p.whole != nil {
		return p.whole
	}
	return p.inForce.Load()
}

// holdersOf are the principals whose rights differ. A role can be held by
// thousands of identities, so identities are looked up and not compared.
func holdersOf(touched []authz.Key) principal.Concerned {
	var c principal.Concerned
	named := map[model.Identity]bool{}
	var entra []authz.Key
	for _, k := range touched {
		if k.Identity.Kind == model.NoIdentity {
			c.Entra = true
			entra = append(entra, k)
			continue
		}
		named[k.Identity] = true
		c.Identities = append(c.Identities, k.Identity)
	}
	c.Has = func(p *principal.Principal) bool {
		return slices.ContainsFunc(p.Subject.Identities, func(i model.Identity) bool { return named[i] }) ||
			slices.ContainsFunc(entra, func(k authz.Key) bool { return k.Concerns(&p.Subject) })
	}
	return c
}

func changesNothing(c *device.Changes) bool {
	return len(c.PutSpaces)+len(c.PutDevices)+len(c.PutSensors)+len(c.PutFunctions)+len(c.PutCAs)+
		len(c.RemoveSpaces)+len(c.RemoveDevices)+len(c.RemoveSensors)+len(c.RemoveFunctions)+len(c.RemoveCAs) == 0
}
