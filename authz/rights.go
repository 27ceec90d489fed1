package authz

import (
	"cmp"
	"maps"
	"slices"

	"github.com/gatehouse/gatehouse/authz/condition"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// Key names an identity or principal whose rights a change set has altered.
// Exactly one of its parts is set.
type Key struct {
	Identity  model.Identity // space model
	Principal space.ID       // Azure model: object id of a user, service principal or group
	Everyone  bool           // Azure model: all principals
}

// Concerns tells whether the subject's rights may differ because of the key.
// A subject whose groups are unknown is concerned by every Principal: a deny
// assignment for a group applies to it.
func (k *Key) Concerns(s *model.Subject) bool {
	switch {
	case k.Identity.Kind != model.NoIdentity:
		return slices.Contains(s.Identities, k.Identity)
	case s.Object.IsZero():
		return false
	}
	return k.Everyone || k.Principal == s.Object || !s.GroupsKnown || slices.Contains(s.Groups, k.Principal)
}

// keys compares the rights of the touched identities with those that they had
// in before.
func (d *delta) keys(before *Index) []Key {
	var out []Key
	same := func(a, b right) bool { return a.path == b.path && (a.rights == b.rights || *a.rights == *b.rights) }
	for who := range d.touched {
		old, now := before.effective(before.held(&who)), d.ix.effective(d.ix.held(&who))
		if !slices.EqualFunc(old, now, same) {
			out = append(out, Key{Identity: who})
		}
	}
	slices.SortFunc(out, func(a, b Key) int { return compareIdentities(&a.Identity, &b.Identity) })
	return out
}

func compareIdentities(a, b *model.Identity) int {
	return cmp.Or(
		cmp.Compare(a.Kind, b.Kind),
		compareIDs(a.Object, b.Object),
		compareIDs(a.Tenant, b.Tenant),
		cmp.Compare(a.Domain, b.Domain),
	)
}

// right is what is allowed at a path and, unless another right is at a deeper
// path, below it.
type right struct {
	path   space.Line
	rights *condition.Rights
}

// effective is the normal form of what grants allow: in the order of paths, a
// right for each path at which more is allowed than right above it. Two sets of
// grants with the same normal form decide alike.
func (ix *Index) effective(grants []grant) []right {
	sorted := make([]right, 0, len(grants))
	for i := range grants {
		if r := &ix.roles.slots[grants[i].role].rights; !r.Empty() {
			sorted = append(sorted, right{grants[i].path, r})
		}
	}
	slices.SortFunc(sorted, func(a, b right) int { return a.path.Compare(b.path) })
	out := sorted[:0]
	above := make([]right, 0, space.MaxDepth+1)
	for i := 0; i < len(sorted); {
		at := sorted[i]
		for len(above) > 0 && !above[len(above)-1].path.Covers(at.path) {
			above = above[:len(above)-1]
		}
		var inherited *condition.Rights
		if len(above) > 0 {
			inherited = above[len(above)-1].rights
			at.rights = union(inherited, at.rights)
		}
		for i++; i < len(sorted) && sorted[i].path == at.path; i++ {
			at.rights = union(at.rights, sorted[i].rights)
		}
		if inherited == nil || *at.rights != *inherited {
			above, out = append(above, at), append(out, at)
		}
	}
	return out
}

// union is what a or b allows. It returns a itself, and allocates nothing, if b adds
// nothing.
func union(a, b *condition.Rights) *condition.Rights {
	if a == b {
		return a
	}
	if all := a.Union(b); all != *a {
		return &all
	}
	return a
}

// RightsVersion changes whenever the rights of any identity of the subject may
// have changed: the same number, from any two indexes that one descends from
// the other, means the same decisions. It costs a lookup for each identity.
func (ix *Index) RightsVersion(s *model.Subject) uint64 {
	v := ix.hash.k[3]
	if ix.loaded {
		v++
	}
	for i := range s.Identities {
		if c := ix.find(&s.Identities[i]); c != nil {
			v = mix(v^c.sum, ix.hash.k[0]|1) + uint64(i)
		}
	}
	if !s.Object.IsZero() {
		v = mix(v^ix.azure.version(s), ix.hash.k[1]|1)
	}
	return v
}

// ReadableBelow returns the maximal paths at which op is granted: every place
// where Decide allows it lies at or below one of them, and everything at or
// below them is allowed. In order, none covering another.
func (ix *Index) ReadableBelow(s *model.Subject, op model.Operation) []space.Path {
	probe, ok := condition.ProbeOf(op.Resolved())
	if !ix.loaded || !ok {
		return nil
	}
	paths := map[space.Path]struct{}{}
	for i := range s.Identities {
		held := ix.held(&s.Identities[i])
		for j := range held {
			if ix.roles.slots[held[j].role].rights.Has(probe) {
				paths[held[j].path.Path()] = struct{}{}
			}
		}
	}
	sorted := slices.SortedFunc(maps.Keys(paths), space.Path.Compare)
	out := sorted[:0]
	for _, p := range sorted {
		if len(out) == 0 || !out[len(out)-1].Covers(p) {
			out = append(out, p)
		}
	}
	return out
}

// Reaches tells whether op is granted to the subject at the place, or at some
// place below it. It allocates nothing; with many grants it costs their number.
func (ix *Index) Reaches(s *model.Subject, op model.Operation, below space.Path) bool {
	probe, ok := condition.ProbeOf(op.Resolved())
	if !ix.loaded || !ok || below.IsZero() {
		return false
	}
	for i := range s.Identities {
		held := ix.held(&s.Identities[i])
		for j := range held {
			g := &held[j]
			if g.path.Near(below) && ix.roles.slots[g.role].rights.Has(probe) {
				return true
			}
		}
	}
	return false
}

// HasAnyGrant tells whether the subject holds at least one effective grant on
// the site (at the place, above it or below it) or one data action at one of
// the ARM scopes: what CONNECT asks of those who are no device (docs/spec/semantics.md 3.3).
func (ix *Index) HasAnyGrant(s *model.Subject, under space.Path, armScopes ...string) bool {
	if !ix.loaded {
		return false
	}
	for i := range s.Identities {
		held := ix.held(&s.Identities[i])
		for j := range held {
			g := &held[j]
			if g.path.Near(under) && !ix.roles.slots[g.role].rights.Empty() {
				return true
			}
		}
	}
	for _, scope := range armScopes {
		for _, action := range ix.azure.known {
			if ix.DecideAction(s, action, scope).Allowed {
				return true
			}
		}
	}
	return false
}
