package authz

import (
	"cmp"
	"slices"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// linear is up to how many grants a scan beats searching by ancestors.
const linear = 16

// Decide tells whether the subject may do op at the place, by the space model.
// It allocates nothing.
func (ix *Index) Decide(s *model.Subject, op model.Operation, at space.Path) Decision {
	if !ix.loaded {
		return Decision{Reason: NoPolicy, Version: ix.version}
	}
	op = op.Resolved()
	if !askable(op) || at.IsZero() {
		return Decision{Reason: MalformedQuestion, Version: ix.version}
	}
	for i := range s.Identities {
		sh, e := ix.find(&s.Identities[i])
		if e == nil {
			continue
		}
		if g := ix.covering(sh.of(e), op, at, true); g != nil {
			return Decision{true, Granted, g.id, ix.roles.slots[g.role].role.ID, ix.version}
		}
	}
	return ix.refusal(s, op, at)
}

// askable is Operation.Validate without its errors.
func askable(op model.Operation) bool {
	return op.Access.Single() && op.Type != model.NoResource && op.Type < model.ResourceTypes && op.Category < model.Categories
}

// covering returns the first grant (in the order of compareGrants) whose path
// covers the place and whose role allows op, or with want false: whose role
// does not. nil if there is none.
func (ix *Index) covering(grants []grant, op model.Operation, at space.Path, want bool) *grant {
	path, depth := at.String(), at.Depth()
	if len(grants) > linear {
		return ix.search(grants, op, path, depth, want)
	}
	at0, key := -1, uint32(0) // key of the place's ancestor at depth at0
	for i := range grants {
		g := &grants[i]
		d := int(g.key >> 24)
		if d != at0 {
			if d > depth {
				return nil
			}
			at0, key = d, pathKey(path, d)
		}
		if g.key == key && g.coversAt(path, d) && ix.roles.slots[g.role].rights.Allows(op) == want {
			return g
		}
	}
	return nil
}

// search is covering for a principal with many grants: one binary search for
// each ancestor of the place.
func (ix *Index) search(grants []grant, op model.Operation, path string, depth int, want bool) *grant {
	for d := range depth + 1 {
		key := pathKey(path, d)
		n, _ := slices.BinarySearchFunc(grants, key, func(g grant, key uint32) int { return cmp.Compare(g.key, key) })
		for ; n < len(grants) && grants[n].key == key; n++ {
			if g := &grants[n]; g.coversAt(path, d) && ix.roles.slots[g.role].rights.Allows(op) == want {
				return g
			}
		}
	}
	return nil
}

// coversAt tells whether the grant, whose path is d levels deep, covers path,
// which is at least as deep. Equal lengths of whole segments make a prefix a cover.
func (g *grant) coversAt(path string, d int) bool {
	return d == 0 || g.at.path.String() == path[:d*segment]
}

// refusal says why nothing granted it: the closest grant.
func (ix *Index) refusal(s *model.Subject, op model.Operation, at space.Path) Decision {
	out := Decision{Reason: NoAssignment, Version: ix.version}
	var elsewhere *grant
	for i := range s.Identities {
		grants := ix.held(&s.Identities[i])
		if g := ix.covering(grants, op, at, false); g != nil {
			role := ix.roles.slots[g.role]
			out.Reason, out.Assignment, out.Role = RoleLacksOperation, g.id, role.role.ID
			if !role.usable() {
				out.Reason = RoleUnusable
			}
			return out
		}
		if elsewhere == nil && len(grants) > 0 {
			elsewhere = &grants[0]
		}
	}
	if elsewhere != nil {
		out.Reason, out.Assignment, out.Role = OutsideScope, elsewhere.id, ix.roles.slots[elsewhere.role].role.ID
	}
	return out
}

func (r *roleSlot) usable() bool { return r.defined && r.err == nil }
