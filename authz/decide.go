package authz

import (
	"sort"

	"github.com/gatehouse/gatehouse/authz/condition"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// Up to so many grants, and at a place that is less deep than shallow (a power
// of two), a scan beats searching by ancestors.
const (
	linear  = 16
	shallow = 8
)

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
		found, lack := ix.covering(c.held, probe, path)
		if found != nil {
			out.Allowed, out.Reason, out.Assignment, out.Role = true, Granted, found.id, ix.roles.slots[found.role].role.ID
			return out
		}
		if lacks == nil {
			lacks = lack
		}
		if elsewhere == nil {
			elsewhere = &c.held[0]
		}
	}
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
	return out
}

// covering returns, in the order of compareGrants, the first grant whose path
// covers the place and whose role allows the operation, and failing that the
// first whose path covers it and whose role does not.
func (ix *Index) covering(grants []grant, op condition.Probe, path string) (found, lack *grant) {
	depth := len(path) / segment
	if len(grants) > linear || depth >= shallow {
		return ix.search(grants, op, path, depth)
	}
	// The keys of the place and its ancestors. A grant that is deeper than
	// the place meets a zero or, from far below, a key of another depth.
	var keys [shallow]uint32
	for d := 1; d <= depth; d++ {
		keys[d&(shallow-1)] = pathKey(path, d)
	}
	for i := range grants {
		g := &grants[i]
		d := g.key >> 24
		if g.key != keys[d&(shallow-1)] || !g.coversAt(path, int(d)) {
			continue
		}
		if ix.roles.slots[g.role].rights.Has(op) {
			return g, nil
		}
		if lack == nil {
			lack = g
		}
	}
	return nil, lack
}

// search is covering for a principal with many grants: one binary search for
// each ancestor of the place.
func (ix *Index) search(grants []grant, op condition.Probe, path string, depth int) (found, lack *grant) {
	for d := range depth + 1 {
		key := pathKey(path, d)
		n := sort.Search(len(grants), func(i int) bool { return grants[i].key >= key })
		for ; n < len(grants) && grants[n].key == key; n++ {
			g := &grants[n]
			if !g.coversAt(path, d) {
				continue
			}
			if ix.roles.slots[g.role].rights.Has(op) {
				return g, nil
			}
			if lack == nil {
				lack = g
			}
		}
	}
	return nil, lack
}

// coversAt tells whether the grant, whose path is d levels deep, covers path,
// which is at least as deep: whole segments are of one length.
func (g *grant) coversAt(path string, d int) bool {
	return d == 0 || g.at.String() == path[:d*segment]
}

func (r *roleSlot) usable() bool { return r.defined && r.err == nil }
