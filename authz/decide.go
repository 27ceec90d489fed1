package authz

import (
	"math/bits"
	"sort"

	"github.com/gatehouse/gatehouse/authz/condition"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// linear is up to how many grants a scan beats a binary search.
const linear = 16

// Decide tells whether the subject may do op at the place, by the space model.
// It allocates nothing.
func (ix *Index) Decide(s *model.Subject, op model.Operation, at space.Path) (out Decision) {
	out.Version = ix.version
	probe, ok := condition.ProbeOf(op.Resolved())
	if !ix.loaded || !ok || at.IsZero() {
		if ix.loaded {
			out.Reason = MalformedQuestion
		}
		return out
	}
	path := at.String()
	var lacks, elsewhere *grant // what came closest
	for i := range s.Identities {
		c := ix.find(&s.Identities[i])
		if c == nil {
			continue
		}
		found, lack := ix.covering(c, probe, path)
		if found != nil {
			out.Allowed, out.Reason, out.Assignment, out.Role = true, Granted, found.id, ix.roles.slots[found.role].role.ID
			return out
		}
		if lack != nil && (lacks == nil || lack.depth() > lacks.depth()) {
			lacks = lack
		}
		if elsewhere == nil {
			elsewhere = &c.held[0]
		}
	}
	ix.refuse(&out, lacks, elsewhere)
	return out
}

// refuse fills in why: the nearest miss.
func (ix *Index) refuse(out *Decision, lacks, elsewhere *grant) {
	switch {
	case lacks != nil:
		role := ix.roles.slots[lacks.role]
		out.Reason, out.Assignment, out.Role = RoleLacksOperation, lacks.id, role.role.ID
		if !role.usable() {
			out.Reason = RoleUnusable
		}
	case elsewhere != nil:
		out.Reason, out.Assignment, out.Role = OutsideScope, elsewhere.id, ix.roles.slots[elsewhere.role].role.ID
	default:
		out.Reason = NoAssignment
	}
}

// covering returns the shallowest of the cell's grants whose path covers the
// place and whose role allows the operation, and failing that the deepest
// whose path covers it and whose role does not: the nearest miss.
func (ix *Index) covering(c *cell, op condition.Probe, path string) (found, lack *grant) {
	for may := c.keys & (2<<(len(path)/segment) - 1); may != 0; may &= may - 1 {
		d := bits.TrailingZeros64(may)
		key := pathKey(path, d)
		if c.keys&keyBit(key) == 0 {
			continue
		}
		held := c.held
		if len(held) > linear {
			held = held[sort.Search(len(held), func(i int) bool { return held[i].key >= key }):]
		}
		for i := range held {
			g := &held[i]
			if g.key != key {
				if g.key > key {
					break
				}
				continue
			}
			if !g.coversAt(path, d) {
				continue
			}
			if ix.roles.slots[g.role].rights.Has(op) {
				return g, nil
			}
			if lack == nil || d > lack.depth() {
				lack = g
			}
		}
	}
	return nil, lack
}

func (g *grant) depth() int { return int(g.key >> 24) }

// coversAt tells whether the grant, whose path is d levels deep, covers path,
// which is at least as deep: whole segments are of one length.
func (g *grant) coversAt(path string, d int) bool {
	return d == 0 || g.path.String() == path[:d*segment]
}

func (r *roleSlot) usable() bool { return r.defined && r.err == nil }
