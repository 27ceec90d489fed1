package condition

import (
	"fmt"
	"math/bits"

	"github.com/gatehouse/gatehouse/authz/model"
)

// accessTypes is how many access types there are.
const accessTypes = 4

// Rights is what a role allows: for each access type the Set of resources on
// which it is allowed, one after the other. The zero Rights allow nothing.
// Comparable: equal means that every decision is the same.
type Rights [accessTypes * words]uint64

// Probe is the number of an operation, below Probes, and where it is in Rights.
// The zero Probe is in no Rights: it belongs to NoResource.
type Probe uint16

// Probes is how many different probes there may be.
const Probes = accessTypes * words * 64

// ProbeOf finds an operation, which must be resolved (model.Operation.Resolved);
// false when it is not valid.
func ProbeOf(o model.Operation) (Probe, bool) {
	access := uint(bits.TrailingZeros8(uint8(o.Access)))
	if access >= accessTypes || o.Access != 1<<access ||
		o.Type == model.NoResource || o.Type >= model.ResourceTypes || o.Category >= model.Categories {
		return 0, false
	}
	return Probe(access*uint(words)*64 + uint(o.Type)*uint(model.Categories) + uint(o.Category)), true
}

// Each visits the probes of all operations that are allowed.
func (r *Rights) Each(visit func(Probe)) {
	for w, rest := range r {
		for ; rest != 0; rest &= rest - 1 {
			visit(Probe(w*64 + bits.TrailingZeros64(rest)))
		}
	}
}

// Has tells whether the probed operation is allowed.
func (r *Rights) Has(p Probe) bool { return r[p/64]>>(p%64)&1 != 0 }

// Allows tells whether the operation, resolved, is allowed; false when it is
// not valid.
func (r *Rights) Allows(o model.Operation) bool {
	p, ok := ProbeOf(o)
	return ok && r.Has(p)
}

// Empty tells whether nothing is allowed.
func (r *Rights) Empty() bool { return *r == Rights{} }

// Union is what r or o allows.
func (r Rights) Union(o *Rights) Rights {
	for n := range r {
		r[n] |= o[n]
	}
	return r
}

// Within tells whether o allows everything that r allows.
func (r *Rights) Within(o Rights) bool {
	for n := range r {
		if r[n]&^o[n] != 0 {
			return false
		}
	}
	return true
}

// Role compiles the permissions of a role: an operation is allowed when some
// permission names its access type in Actions, not in NotActions, and its
// condition holds. One condition that does not compile refuses the whole role.
func Role(r *model.Role) (Rights, error) {
	if err := r.Validate(); err != nil {
		return Rights{}, err
	}
	var out Rights
	for i, p := range r.Permissions {
		set, err := Compile(p.Condition)
		if err != nil {
			return Rights{}, fmt.Errorf("permission %d: %w", i+1, err)
		}
		// A Space always has a category when it is asked about (model.Operation.Resolved):
		// rights that differ only there would be different without deciding differently.
		set.remove(model.Space, model.NoCategory)
		effective := p.Actions &^ p.NotActions
		for n := range accessTypes {
			if effective&(1<<n) != 0 {
				for w := range set {
					out[n*words+w] |= set[w]
				}
			}
		}
	}
	return out, nil
}
