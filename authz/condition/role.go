package condition

import (
	"fmt"
	"math/bits"

	"github.com/gatehouse/gatehouse/authz/model"
)

// accessTypes is how many access types there are.
const accessTypes = 4

// Rights is what a role allows: for each access type the resources on which
// it is allowed. The zero Rights allow nothing. Comparable: equal means that
// every decision is the same.
type Rights [accessTypes]Set

// Allows tells whether the operation is in the rights. The operation must be
// resolved (model.Operation.Resolved) and is refused when it is not valid.
func (r *Rights) Allows(o model.Operation) bool {
	n := bits.TrailingZeros8(uint8(o.Access))
	return n < accessTypes && o.Access == 1<<n && r[n].Has(o.Type, o.Category)
}

// Empty tells whether nothing is allowed.
func (r *Rights) Empty() bool { return *r == Rights{} }

// Union is what r or o allows.
func (r Rights) Union(o *Rights) Rights {
	for n := range r {
		r[n] = r[n].union(o[n])
	}
	return r
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
		effective := p.Actions &^ p.NotActions
		for n := range accessTypes {
			if effective&(1<<n) != 0 {
				out[n] = out[n].union(set)
			}
		}
	}
	return out, nil
}
