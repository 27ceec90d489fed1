package authz

import (
	"cmp"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/authz/condition"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// WhoCan lists the assignments by which op is granted at the place, by
// identity. It looks at every assignment: a reviewer's question, not one for
// the path of a message.
func (ix *Index) WhoCan(op model.Operation, at space.Path) []Grant {
	probe, ok := condition.ProbeOf(op.Resolved())
	if !ix.loaded || !ok || at.IsZero() {
		return nil
	}
	var out []Grant
	ix.each(func(c *cell) {
		for i := range c.held {
			g := &c.held[i]
			if ix.roles.slots[g.role].rights.Has(probe) && g.path.Covers(at.Line()) {
				out = append(out, ix.grantOf(c, g))
			}
		}
	})
	slices.SortFunc(out, func(a, b Grant) int {
		return cmp.Or(compareIdentities(&a.Who, &b.Who), a.Path.Compare(b.Path), compareIDs(a.Assignment, b.Assignment))
	})
	return out
}

// WhoCanAction lists the Azure assignments that grant the data action at the
// scope, for principals to whom no deny assignment applies. The members of a
// group are not listed: the group is.
func (ix *Index) WhoCanAction(action, scope string) []Grant {
	var out []Grant
	for _, a := range ix.azure.assignments {
		s := model.Subject{Object: a.Who.ID, GroupsKnown: true}
		if a.Who.Type == model.AzureGroup {
			s.Groups = []space.ID{a.Who.ID}
		}
		x := ix.ExplainAction(&s, action, scope)
		if x.Allowed && slices.ContainsFunc(x.Granting, func(g Grant) bool { return g.Assignment == a.ID }) {
			out = append(out, ix.azure.grantOf(a))
		}
	}
	sortAzureGrants(out)
	return out
}

// WhatCan lists everything that the subject holds, in both models: the
// assignments of its identities by path, then its Azure assignments by scope.
func (ix *Index) WhatCan(s *model.Subject) []Grant {
	if !ix.loaded {
		return nil
	}
	var out []Grant
	for i := range s.Identities {
		c := ix.find(&s.Identities[i])
		if c == nil {
			continue
		}
		for j := range c.held {
			out = append(out, ix.grantOf(c, &c.held[j]))
		}
	}
	slices.SortFunc(out, func(a, b Grant) int {
		return cmp.Or(a.Path.Compare(b.Path), compareIDs(a.Assignment, b.Assignment))
	})
	if s.Object.IsZero() {
		return out
	}
	var azure []Grant
	for _, a := range ix.azure.concerning(s) {
		azure = append(azure, ix.azure.grantOf(a))
	}
	sortAzureGrants(azure)
	return append(out, azure...)
}

func sortAzureGrants(list []Grant) {
	slices.SortFunc(list, func(a, b Grant) int {
		return cmp.Or(strings.Compare(lowerASCII(a.Scope), lowerASCII(b.Scope)), compareIDs(a.Assignment, b.Assignment))
	})
}
