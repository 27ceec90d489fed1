package authz

import (
	"slices"

	"github.com/gatehouse/gatehouse/authz/condition"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// Losses is the change set that takes from the policy from everything that to
// does not allow, and gives nothing. It is for a gateway that cannot store to:
// it may take rights away, but must not give any that a restart would forget.
// After it, from grants nothing that to denies, and nothing that from itself
// denied before; its version stays that of from. It may take more than it must,
// never less: a role that allows less in to than in from, in whatever respect,
// allows nothing.
//
// Both should descend from one index (by Apply or Replace), so that their
// fingerprints compare; otherwise every Azure assignment is taken. The cost is
// one look at every identity, and one at each assignment of those whose
// fingerprints differ.
func Losses(from, to *Index) model.ChangeSet {
	c := model.ChangeSet{From: from.version, To: from.version}
	from.each(func(held *cell) {
		who := from.identity(held)
		now := to.find(&who)
		if now != nil && now.sum == held.sum {
			return
		}
		for i := range held.held {
			if g := &held.held[i]; !from.heldBy(g, now, to) {
				c.RemoveAssigns = append(c.RemoveAssigns, g.id)
			}
		}
	})
	for _, was := range from.roles.slots {
		if !was.rights.Within(to.roles.rightsOf(was.role.ID)) {
			c.PutRoles = append(c.PutRoles, emptied(was.role.ID))
		}
	}
	from.azure.losses(&to.azure, &c)
	return c
}

// heldBy tells whether the cell, of the index to, holds the grant of ix as well:
// the same assignment of the same role at the same path. now may be nil.
func (ix *Index) heldBy(g *grant, now *cell, to *Index) bool {
	if now == nil {
		return false
	}
	i, found := slices.BinarySearchFunc(now.held, g, func(x grant, y *grant) int { return compareGrants(&x, y) })
	return found && to.roles.slots[now.held[i].role].role.ID == ix.roles.slots[g.role].role.ID
}

// rightsOf is what the role allows; nothing if there is no such role.
func (r *roles) rightsOf(id space.ID) condition.Rights {
	if n, ok := r.byID[id]; ok {
		return r.slots[n].rights
	}
	return condition.Rights{}
}

// losses adds to c what z grants and next does not.
func (z *azure) losses(next *azure, c *model.ChangeSet) {
	for id, a := range z.assignments {
		if now, ok := next.assignments[id]; !ok || now.sum != a.sum {
			c.RemoveAzureAssigns = append(c.RemoveAzureAssigns, id)
		}
	}
	for id, r := range z.roles {
		if now, ok := next.roles[id]; !ok || now.sum != r.sum && !r.within(now) {
			c.PutAzureRoles = append(c.PutAzureRoles, emptiedAzure(id))
		}
	}
	known := make(map[uint64]bool, len(z.denies))
	for _, d := range z.denies {
		known[d.sum] = true
	}
	var added []model.AzureDeny
	for _, d := range next.denies {
		if !known[d.sum] {
			added = append(added, d.AzureDeny)
		}
	}
	c.PutAzureDenies = z.beside(added)
}

// within tells whether the role allows nothing that o does not: o has its
// patterns too, and excludes nothing that it does not exclude.
func (r *azureRole) within(o *azureRole) bool {
	return containsAll(o.actions, r.actions) && containsAll(r.exclude, o.exclude)
}

func containsAll(list, wanted []string) bool {
	return !slices.ContainsFunc(wanted, func(s string) bool {
		_, found := slices.BinarySearch(list, s)
		return !found
	})
}

// beside returns the deny assignments to put: added, together with those of z
// that have the same ids. A deny assignment that is put replaces the ones with
// its id, and may deny less than they do; putting the old ones again keeps them
// in force.
func (z *azure) beside(added []model.AzureDeny) []model.AzureDeny {
	ids := make(map[space.ID]bool, len(added))
	for i := range added {
		ids[added[i].ID] = true
	}
	var out []model.AzureDeny
	for _, d := range z.denies {
		if ids[d.ID] {
			out = append(out, d.AzureDeny)
		}
	}
	return append(out, added...)
}

// LossesOf is Losses from ix to the index that the change set would lead to, at
// the cost of the change set alone. It takes more: what the change set puts may
// give less than what it replaces, and is therefore taken away as a whole.
func (ix *Index) LossesOf(c *model.ChangeSet) model.ChangeSet {
	l := model.ChangeSet{
		From:               c.From,
		To:                 c.From,
		RemoveRoles:        slices.Clone(c.RemoveRoles),
		RemoveAssigns:      slices.Clone(c.RemoveAssigns),
		RemoveAzureRoles:   slices.Clone(c.RemoveAzureRoles),
		RemoveAzureAssigns: slices.Clone(c.RemoveAzureAssigns),
		PutAzureDenies:     ix.azure.beside(c.PutAzureDenies),
	}
	for i := range c.PutRoles {
		l.RemoveRoles = append(l.RemoveRoles, c.PutRoles[i].ID)
	}
	for i := range c.PutAssignments {
		l.RemoveAssigns = append(l.RemoveAssigns, c.PutAssignments[i].ID)
	}
	for i := range c.PutAzureRoles {
		l.RemoveAzureRoles = append(l.RemoveAzureRoles, c.PutAzureRoles[i].ID)
	}
	for i := range c.PutAzureAssignments {
		l.RemoveAzureAssigns = append(l.RemoveAzureAssigns, c.PutAzureAssignments[i].ID)
	}
	for _, id := range l.RemoveRoles {
		l.PutRoles = append(l.PutRoles, emptied(id))
	}
	for _, id := range l.RemoveAzureRoles {
		l.PutAzureRoles = append(l.PutAzureRoles, emptiedAzure(id))
	}
	return l
}

// emptied is a role that allows nothing. Removing the role would not do: a
// system role returns to its built-in form, which may allow more than the
// definition that is to be lost.
func emptied(id space.ID) model.Role { return model.Role{ID: id} }

// emptiedAzure is emptied for the Azure model.
func emptiedAzure(id space.ID) model.AzureRole { return model.AzureRole{ID: id} }
