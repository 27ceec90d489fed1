package authz

import (
	"strings"

	"github.com/gatehouse/gatehouse/authz/condition"
	"github.com/gatehouse/gatehouse/authz/model"
)

// Operations says in words what a grant allows where it applies. A reviewer
// needs it beside the name of the role, which only claims what the role allows.
// Deny assignments are not subtracted.
func (ix *Index) Operations(g *Grant) string {
	if g.Scope != "" {
		return ix.azure.operations(g)
	}
	n, ok := ix.roles.byID[g.Role]
	if !ok {
		return "nothing: the role is not defined"
	}
	switch r := ix.roles.slots[n]; {
	case r.err != nil:
		return "nothing: the role was refused"
	case !r.defined:
		return "nothing: the role is not defined"
	case r.rights.Empty():
		return "nothing"
	default:
		return allowed(&r.rights)
	}
}

func (z *azure) operations(g *Grant) string {
	r := z.roles[g.Role]
	if r == nil {
		return "nothing: the role is not defined"
	}
	out := strings.Join(r.role.DataActions, ", ")
	if len(r.role.NotDataActions) > 0 {
		out += " except " + strings.Join(r.role.NotDataActions, ", ")
	}
	if a := z.assignments[g.Assignment]; a != nil && a.when.err != nil {
		return "nothing: its condition cannot be evaluated"
	} else if a != nil && a.Condition != "" {
		out += " if " + a.Condition
	}
	return out
}

// allowed groups the resource types by the access types that are allowed on
// all of each, and names single categories only where they differ.
func allowed(r *condition.Rights) string {
	var order []model.Access
	types := map[model.Access][]string{}
	put := func(a model.Access, name string) {
		if a == 0 {
			return
		}
		if _, ok := types[a]; !ok {
			order = append(order, a)
		}
		types[a] = append(types[a], name)
	}
	for t := model.NoResource + 1; t < model.ResourceTypes; t++ {
		whole := model.AllAccess
		// Only these two are asked about with a category.
		categories := model.NoCategory + 1
		if t == model.Space || t == model.ExtendedType {
			categories = model.Categories
		}
		for c := model.NoCategory; c < categories; c++ {
			if t != model.Space || c != model.NoCategory {
				whole &= accessOf(r, t, c)
			}
		}
		put(whole, t.String())
		for c := model.NoCategory; c < categories; c++ {
			if rest := accessOf(r, t, c) &^ whole; rest != 0 {
				name := t.String()
				if c != model.NoCategory {
					name += "/" + c.String()
				}
				put(rest, name)
			}
		}
	}
	if len(order) == 0 {
		return "nothing"
	}
	if len(order) == 1 && order[0] == model.AllAccess && len(types[model.AllAccess]) == int(model.ResourceTypes)-1 {
		return "everything"
	}
	groups := make([]string, len(order))
	for i, a := range order {
		groups[i] = a.String() + " " + strings.Join(types[a], ", ")
	}
	return strings.Join(groups, "; ")
}

func accessOf(r *condition.Rights, t model.ResourceType, c model.Category) (out model.Access) {
	for a := model.Create; a <= model.Delete; a <<= 1 {
		if r.Allows(model.Operation{Access: a, Type: t, Category: c}) {
			out |= a
		}
	}
	return out
}
