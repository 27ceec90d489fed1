// Package authztest is what the engine is measured against: an oracle that
// answers the same questions as slowly and plainly as the reference states
// them, generators of policies, questions and changes, and (as its tests)
// scenario files, which are the readable specification.
//
// The oracle shares nothing with the engine but the model's values: it scans
// every assignment for every question and builds nothing. It is for tests; it
// is not safe against hostile sizes, nor for concurrent use.
package authztest

import (
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/authz/abac"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// Oracle decides by scanning a policy.
type Oracle struct {
	Policy model.Snapshot
	// Conditions says what the texts of Azure conditions mean; a text that is
	// not in it cannot be evaluated.
	Conditions map[string]func(abac.Query) abac.Truth

	meanings map[meaning]verdict
}

// meaning is a condition asked of one resource; the oracle remembers its
// verdicts, since reading a condition its way is slow.
type meaning struct{ condition, typ, category string }

type verdict struct{ holds, ok bool }

func (o *Oracle) evaluate(condition, typ, category string) (holds, ok bool) {
	m := meaning{condition, typ, category}
	v, known := o.meanings[m]
	if !known {
		v.holds, v.ok = evaluate(condition, typ, category)
		if o.meanings == nil {
			o.meanings = map[meaning]verdict{}
		}
		o.meanings[m] = v
	}
	return v.holds, v.ok
}

// Decide is authz.Index.Decide, by docs/spec/semantics.md 2.3: an assignment covers its
// path and everything below by whole segments; assignments add up; a role
// grants if any permission has the access type in actions, not in notActions,
// and its condition holds.
func (o *Oracle) Decide(s *model.Subject, op model.Operation, at space.Path) bool {
	if op.Validate() != nil || at.IsZero() {
		return false
	}
	typ, category := op.Type.String(), op.Category.String()
	if typ == "Space" && category == "" {
		category = "WithoutSpecifiedRbacResourceTypes"
	}
	for _, a := range o.Policy.Assignments {
		if a.Validate() != nil || !slices.Contains(s.Identities, a.Who) || !below(at.String(), a.Path.String()) {
			continue
		}
		role, ok := o.role(a.Role)
		if ok && o.allows(&role, op.Access, typ, category) {
			return true
		}
	}
	return false
}

// The built-in definitions, read once: they are constants.
var (
	systemRoles = model.SystemRoles()
	azureRoles  = model.AzureBuiltInRoles()
)

func below(path, root string) bool {
	return root == "/" || path == root || strings.HasPrefix(path, root+"/")
}

// role finds a definition: the policy's, or else the built-in one. An id that
// is defined twice defines nothing.
func (o *Oracle) role(id space.ID) (model.Role, bool) {
	var found []model.Role
	for _, r := range o.Policy.Roles {
		if r.ID == id {
			found = append(found, r)
		}
	}
	if len(found) == 0 {
		for _, r := range systemRoles {
			if r.ID == id {
				return r, true
			}
		}
		return model.Role{}, false
	}
	return found[0], len(found) == 1
}

func (o *Oracle) allows(r *model.Role, access model.Access, typ, category string) bool {
	granted := false
	for _, p := range r.Permissions {
		holds, ok := o.evaluate(p.Condition, typ, category)
		if !ok {
			return false // one clause that is not understood refuses the role
		}
		if p.Actions&access != 0 && p.NotActions&access == 0 && holds {
			granted = true
		}
	}
	return granted
}

// DecideAction is authz.Index.DecideRequest, by docs/spec/semantics.md 2.2.
func (o *Oracle) DecideAction(s *model.Subject, q abac.Query) bool {
	if s.Object.IsZero() || strings.Contains(q.Action, "*") {
		return false
	}
	for i := range o.Policy.AzureDenies {
		if o.denies(&o.Policy.AzureDenies[i], s, q) {
			return false
		}
	}
	for i := range o.Policy.AzureAssignments {
		if o.grants(&o.Policy.AzureAssignments[i], s, q) {
			return true
		}
	}
	return false
}

func (o *Oracle) grants(a *model.AzureAssignment, s *model.Subject, q abac.Query) bool {
	switch a.Who.Type {
	case model.AzureUser, model.AzureServicePrincipal:
		if a.Who.ID != s.Object {
			return false
		}
	case model.AzureGroup:
		byToken := s.GroupsKnown && slices.Contains(s.Groups, a.Who.ID)
		if !byToken && !slices.Contains(a.Members, s.Object) {
			return false
		}
	default:
		return false
	}
	if listed(a.Scope) {
		if !slices.ContainsFunc(a.AtScopes, func(at string) bool { return strings.EqualFold(at, q.Scope) }) {
			return false
		}
	} else if !armBelow(q.Scope, a.Scope) {
		return false
	}
	role, ok := o.azureRole(a.Role)
	return ok && anyGlob(role.DataActions, q.Action) && !anyGlob(role.NotDataActions, q.Action) &&
		o.condition(a.Condition, q) == abac.True
}

func (o *Oracle) azureRole(id space.ID) (model.AzureRole, bool) {
	for _, r := range slices.Concat(o.Policy.AzureRoles, azureRoles) {
		if r.ID == id {
			return r, true
		}
	}
	return model.AzureRole{}, false
}

func (o *Oracle) condition(text string, q abac.Query) abac.Truth {
	if text == "" {
		return abac.True
	}
	if f, ok := o.Conditions[text]; ok {
		return f(q)
	}
	return abac.Unknown
}

func (o *Oracle) denies(d *model.AzureDeny, s *model.Subject, q abac.Query) bool {
	if d.DoNotApplyToChildScopes {
		if !strings.EqualFold(d.Scope, q.Scope) {
			return false
		}
	} else if listed(d.Scope) {
		if !slices.ContainsFunc(d.AtScopes, func(at string) bool { return armBelow(q.Scope, at) }) {
			return false
		}
	} else if !armBelow(q.Scope, d.Scope) {
		return false
	}
	if !anyGlob(d.DataActions, q.Action) || anyGlob(d.NotDataActions, q.Action) {
		return false
	}
	for _, p := range d.ExcludePrincipals { // counts only if proven
		switch p.Type {
		case model.AzureUser, model.AzureServicePrincipal:
			if p.ID == s.Object {
				return false
			}
		case model.AzureGroup:
			if s.GroupsKnown && slices.Contains(s.Groups, p.ID) {
				return false
			}
		}
	}
	named := false
	for _, p := range d.Principals {
		switch p.Type {
		case model.AzureUser, model.AzureServicePrincipal:
			named = named || p.ID == s.Object
		case model.AzureGroup:
			named = named || !s.GroupsKnown || slices.Contains(s.Groups, p.ID)
		default: // everyone, or a type that is not known
			named = true
		}
	}
	return named && o.condition(d.Condition, q) != abac.False
}

func listed(scope string) bool {
	return scope == "/" || strings.HasPrefix(strings.ToLower(scope), "/providers/microsoft.management/managementgroups/")
}

func armBelow(scope, root string) bool {
	return below(strings.ToLower(scope), strings.ToLower(root))
}

func anyGlob(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return globs(strings.ToLower(p), strings.ToLower(s)) })
}

// globs tries every length for each star.
func globs(p, s string) bool {
	head, rest, star := strings.Cut(p, "*")
	if !strings.HasPrefix(s, head) {
		return false
	}
	s = s[len(head):]
	if !star {
		return s == ""
	}
	for i := 0; i <= len(s); i++ {
		if globs(rest, s[i:]) {
			return true
		}
	}
	return false
}
