package policy

import (
	"context"
	"errors"
	"fmt"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// loseOnly is called when the store cannot take a change. What the change takes away
// is taken away at once, in memory, and the store is marked as behind. What it grants
// waits until it can be stored: rights, and also what a registry grants, such as
// another gateway, another place or a new key. losses are those of the policy; next is
// the registry that the change leads to. loseOnly returns cause, joined with what else
// failed. p.mu is held.
//
// The losses are taken from the stored generation, not from what an earlier loseOnly
// left in force: in between the cloud may have granted again what it took away then.
func (p *Policy) loseOnly(ctx context.Context, losses *model.ChangeSet, next *device.Topology, cause error) error {
	held := p.stored()
	gone := device.Gone(held.topo, next)
	left, _ := held.topo.Apply(device.Losses(held.topo, next))
	again, _ := held.topo.Apply(device.Changes{}) // held with the version of left, because versions must not fall
	p.whole = &facts{held.index, again}
	p.inForce.Store(&facts{p.reduce(held.index, losses), left})
	dirty := p.store.MarkDirty("losses of rights are in force that the disk does not hold: " + cause.Error())
	_, revoked := p.effects.Revoke(ctx, principal.Everyone())
	if len(gone) > 0 {
		p.effects.Forget(gone)
	}
	p.effects.Changed(Change{From: p.version, To: losses.To})
	return errors.Join(fmt.Errorf("policy not stored, only losses of rights are in force: %w", cause), dirty, revoked)
}

// reduce is the index held without losses. p.mu is held.
func (p *Policy) reduce(held *authz.Index, losses *model.ChangeSet) *authz.Index {
	if !p.Loaded() {
		return held // the empty index: it grants nothing that could be lost
	}
	ix, _, err := held.Apply(*losses)
	if err != nil {
		p.log.Error("policy could not be reduced; denying everything until the next full sync", "err", err)
		ix, _, _ = held.Replace(model.Snapshot{Version: p.version})
	}
	return ix
}
