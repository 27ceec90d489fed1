package authz

import (
	"fmt"
	"maps"
	"slices"

	"github.com/gatehouse/gatehouse/authz/condition"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// defineRoles starts the list of roles with the system roles, replaced by the
// snapshot's definitions of the same id.
func (ix *Index) defineRoles(defined []model.Role) {
	ix.roles.byID = map[space.ID]uint32{}
	for _, r := range model.SystemRoles() {
		ix.roles.define(&ix.hash, r)
	}
	count := map[space.ID]int{}
	for _, r := range defined {
		count[r.ID]++
	}
	for _, r := range defined {
		if count[r.ID] == 1 {
			ix.roles.define(&ix.hash, r)
			continue
		}
		n := ix.roles.slot(r.ID)
		ix.roles.slots[n] = refusedRole(model.Role{ID: r.ID}, fmt.Errorf("%w role: its id is used twice", model.ErrInvalid))
	}
}

// slot returns the number of the role, adding an undefined one if it is new.
// The roles must be owned by the caller.
func (r *roles) slot(id space.ID) uint32 {
	n, ok := r.byID[id]
	if !ok {
		n = uint32(len(r.slots))
		r.byID[id] = n
		r.slots = append(r.slots, &roleSlot{role: model.Role{ID: id}})
	}
	return n
}

// define compiles the role into its slot and tells whether decisions may differ
// because of it.
func (r *roles) define(h *hasher, role model.Role) (n uint32, changed bool) {
	n = r.slot(role.ID)
	before := r.slots[n].sum
	rights, err := condition.Role(&role)
	if err != nil {
		r.slots[n] = refusedRole(role, err)
	} else {
		r.slots[n] = &roleSlot{rights: rights, sum: h.rights(&rights), role: role, defined: true}
	}
	return n, before != r.slots[n].sum
}

// remove undefines the role, or returns a system role to its built-in form.
func (r *roles) remove(h *hasher, id space.ID) (n uint32, changed bool) {
	for _, builtIn := range model.SystemRoles() {
		if builtIn.ID == id {
			return r.define(h, builtIn)
		}
	}
	n = r.slot(id)
	before := r.slots[n].sum
	r.slots[n] = &roleSlot{role: model.Role{ID: id}}
	return n, before != 0
}

// refusedSum stands for "refused", as the zero sum stands for "not defined".
const refusedSum = 1

func refusedRole(role model.Role, err error) *roleSlot {
	return &roleSlot{sum: refusedSum, role: role, defined: true, err: err}
}

// clone is a copy to be edited; after the last edit turn must be called.
func (r *roles) clone() roles {
	return roles{slots: slices.Clone(r.slots), byID: maps.Clone(r.byID)}
}

// Problems lists what of the policy grants nothing because it cannot be used.
// It looks at every assignment when a role is missing.
func (ix *Index) Problems() []Problem {
	var out []Problem
	missing := map[uint32]int{}
	for n, r := range ix.roles.slots {
		switch {
		case !r.defined:
			missing[uint32(n)] = 0
		case r.err != nil:
			out = append(out, Problem{Kind: RefusedRole, ID: r.role.ID, Name: r.role.Name, Detail: r.err.Error()})
		}
	}
	if len(missing) > 0 {
		ix.each(func(c *cell) {
			for i := range c.held {
				if n, ok := missing[c.held[i].role]; ok {
					missing[c.held[i].role] = n + 1
				}
			}
		})
	}
	for n, count := range missing {
		if count > 0 {
			out = append(out, Problem{Kind: UnknownRole, ID: ix.roles.slots[n].role.ID,
				Detail: fmt.Sprintf("assigned %d times, but there is no such role", count)})
		}
	}
	out = slices.AppendSeq(out, maps.Values(ix.refused))
	return sortProblems(append(out, ix.azure.problems()...))
}
