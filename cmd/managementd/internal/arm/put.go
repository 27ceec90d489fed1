package arm

import (
	"maps"
	"net/http"
	"strings"
)

func (r *rows) clone() rows {
	return rows{maps.Clone(r.Assignments), maps.Clone(r.Definitions), maps.Clone(r.Denials)}
}

// putAssignment makes or updates an assignment. Condition and description are all that can be changed.
func putAssignment(c *call) *fault {
	a := &assignment{}
	if f := c.body(a); f != nil {
		return f
	}
	a.ID, a.Scope = c.id, "/"+strings.Trim(c.scope, "/")
	if a.PrincipalType == "" {
		a.PrincipalType = "User"
	}
	switch {
	case a.PrincipalID.IsZero() || a.role().IsZero():
		return refuse(http.StatusBadRequest, "InvalidRequestContent", "roleDefinitionId and principalId are required.")
	case c.definition(a.role()) == nil:
		return refuse(http.StatusNotFound, "RoleDefinitionDoesNotExist", "The specified role definition %q does not exist.", a.role())
	case a.Condition != nil && *a.Condition != "" && (a.ConditionVersion == nil || *a.ConditionVersion != "2.0"):
		return refuse(http.StatusBadRequest, "InvalidConditionVersion", "The conditionVersion must be 2.0.")
	}
	was, status := c.rows.Assignments[c.id], http.StatusCreated
	a.UpdatedOn, a.UpdatedBy = stamp(c.o.Now()), c.caller.Object.String()
	a.CreatedOn, a.CreatedBy = a.UpdatedOn, a.UpdatedBy
	if was != nil {
		if was.PrincipalID != a.PrincipalID || was.role() != a.role() || norm(was.Scope) != norm(a.Scope) {
			return refuse(http.StatusBadRequest, "RoleAssignmentUpdateNotPermitted",
				"Tenant ID, application ID, principal ID, and scope are not allowed to be updated.")
		}
		a.CreatedOn, a.CreatedBy, status = was.CreatedOn, was.CreatedBy, http.StatusOK
	}
	for id, other := range c.rows.Assignments {
		if id != c.id && other.PrincipalID == a.PrincipalID && other.role() == a.role() && norm(other.Scope) == norm(a.Scope) {
			return refuse(http.StatusConflict, "RoleAssignmentExists", "The role assignment already exists.")
		}
	}
	k := kindsOfRow["roleassignments"]
	return c.commit(func(next *rows) { next.Assignments[c.id] = a }, status, k.shown(c.id, row{scope: a.Scope, properties: a}))
}

// putDefinition makes or replaces a custom role. Azure answers 201 also when one is replaced.
func putDefinition(c *call) *fault {
	d := &definition{}
	if f := c.body(d); f != nil {
		return f
	}
	if d.RoleName == "" || builtins()[c.id] != nil {
		return refuse(http.StatusBadRequest, "InvalidRoleDefinition", "A custom role has a roleName, and an id of its own.")
	}
	d.ID, d.Type = c.id, "CustomRole"
	if len(d.AssignableScopes) == 0 {
		d.AssignableScopes = []string{"/" + strings.Trim(c.scope, "/")}
	}
	k := kindsOfRow["roledefinitions"]
	return c.commit(func(next *rows) { next.Definitions[c.id] = d }, http.StatusCreated, k.shown(c.id, row{properties: d}))
}

// putDenial makes or replaces a deny assignment. Azure has no such request.
func putDenial(c *call) *fault {
	d := &denial{}
	if f := c.body(d); f != nil {
		return f
	}
	d.ID, d.Scope = c.id, "/"+strings.Trim(c.scope, "/")
	if d.Principals == nil {
		d.Principals = []who{}
	}
	if d.ExcludePrincipals == nil {
		d.ExcludePrincipals = []who{}
	}
	k := kindsOfRow["denyassignments"]
	return c.commit(func(next *rows) { next.Denials[c.id] = d }, http.StatusCreated, k.shown(c.id, row{scope: d.Scope, properties: d}))
}
