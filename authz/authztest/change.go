package authztest

import (
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Change makes a random change to the world's policy and returns the change
// set that leads to it.
func (w *World) Change() model.ChangeSet {
	from := w.Policy.Version
	w.Policy.Version.Number += 1 + uint64(w.rand.IntN(2))
	c := model.ChangeSet{From: from, To: w.Policy.Version}
	p := &w.Policy
	c.RemoveAssigns = remove(w.rand, &p.Assignments, w.rand.IntN(4), func(a *model.Assignment) space.ID { return a.ID })
	for range w.rand.IntN(4) {
		a := w.Assignment()
		if w.chance(30) && len(p.Assignments) > 0 {
			a.ID = pick(w.rand, p.Assignments).ID // replaced
		}
		put(&p.Assignments, &c.PutAssignments, a, func(a *model.Assignment) space.ID { return a.ID })
	}
	if w.chance(20) && len(p.Roles) > 0 {
		put(&p.Roles, &c.PutRoles, w.Role(pick(w.rand, p.Roles).ID), func(r *model.Role) space.ID { return r.ID })
	}
	if w.chance(10) {
		id := func(r *model.Role) space.ID { return r.ID }
		c.RemoveRoles = slices.DeleteFunc(remove(w.rand, &p.Roles, 1, id), func(x space.ID) bool {
			return slices.ContainsFunc(c.PutRoles, func(r model.Role) bool { return r.ID == x })
		})
		c.PutRoles = slices.DeleteFunc(c.PutRoles, func(r model.Role) bool {
			return !slices.ContainsFunc(p.Roles, func(q model.Role) bool { return q.ID == r.ID })
		})
		w.restore(&c)
	}
	w.changeAzure(&c)
	return c
}

// restore keeps policy and change set in step where a role was put and then
// removed: it is removed.
func (w *World) restore(c *model.ChangeSet) {
	for _, id := range w.roles {
		defined := slices.ContainsFunc(w.Policy.Roles, func(r model.Role) bool { return r.ID == id })
		put := slices.ContainsFunc(c.PutRoles, func(r model.Role) bool { return r.ID == id })
		if !defined && !put && !slices.Contains(c.RemoveRoles, id) {
			c.RemoveRoles = append(c.RemoveRoles, id)
		}
	}
}

func (w *World) changeAzure(c *model.ChangeSet) {
	p := &w.Policy
	if w.chance(40) {
		id := func(a *model.AzureAssignment) space.ID { return a.ID }
		c.RemoveAzureAssigns = remove(w.rand, &p.AzureAssignments, w.rand.IntN(3), id)
		for range w.rand.IntN(3) {
			a := w.AzureAssignment()
			if w.chance(30) && len(p.AzureAssignments) > 0 {
				a.ID = pick(w.rand, p.AzureAssignments).ID // replaced
			}
			put(&p.AzureAssignments, &c.PutAzureAssignments, a, id)
		}
	}
	if w.chance(20) {
		id := func(d *model.AzureDeny) space.ID { return d.ID }
		c.RemoveAzureDenies = remove(w.rand, &p.AzureDenies, w.rand.IntN(2), id)
		if w.chance(50) {
			d := w.AzureDeny()
			if w.chance(30) && len(p.AzureDenies) > 0 {
				d.ID = pick(w.rand, p.AzureDenies).ID // replaced
			}
			put(&p.AzureDenies, &c.PutAzureDenies, d, id)
		}
	}
	if w.chance(10) && len(p.AzureRoles) > 0 {
		put(&p.AzureRoles, &c.PutAzureRoles, w.AzureRole(pick(w.rand, p.AzureRoles).ID), func(r *model.AzureRole) space.ID { return r.ID })
	}
}

// remove takes n random values out of the list and returns their ids.
func remove[T any](r *rand.Rand, list *[]T, n int, id func(*T) space.ID) []space.ID {
	var out []space.ID
	*list = slices.Clone(*list)
	for range min(n, len(*list)) {
		i := r.IntN(len(*list))
		out = append(out, id(&(*list)[i]))
		*list = slices.Delete(*list, i, i+1)
	}
	return out
}

// put adds v to the list and to the change set, replacing what has its id.
func put[T any](list, set *[]T, v T, id func(*T) space.ID) {
	same := func(o T) bool { return id(&o) == id(&v) }
	*list = append(slices.DeleteFunc(slices.Clone(*list), same), v)
	*set = append(slices.DeleteFunc(*set, same), v)
}
