package inspect

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/admin"
)

// Assignments lists the stored role assignments, which are those in force. For one that
// grants nothing, Problem says why.
func (n *Inspector) Assignments(ctx context.Context, q admin.AssignmentQuery) ([]admin.Assignment, error) {
	at := space.Root
	if q.Path != "" {
		p, err := n.placeNamed(n.topology(), q.Path)
		if err != nil {
			return nil, err
		}
		at = p
	}
	policy, err := n.o.Stored(ctx)
	if err != nil {
		return nil, &admin.Error{
			Status: http.StatusServiceUnavailable,
			What:   "no policy is stored",
			Where:  "cache",
			Next:   "gatehousectl sync; gatehousectl health says why none came",
		}
	}
	roles := roleNames(policy)
	problems := map[space.ID]string{}
	for _, p := range n.index().Problems() {
		problems[p.ID] = p.Detail
	}
	list := []admin.Assignment{}
	for _, a := range policy.Assignments {
		below := q.Down || q.Path == ""
		if !at.Covers(a.Path) || a.Path != at && !below {
			continue
		}
		row := admin.Assignment{
			ID:       a.ID.String(),
			Model:    "space",
			Role:     roles[a.Role],
			RoleID:   a.Role.String(),
			Identity: n.label(a.Who),
			Scope:    a.Path.String(),
			Problem:  cmp.Or(problems[a.ID], problems[a.Role]),
		}
		if !a.Who.Tenant.IsZero() {
			row.Tenant = a.Who.Tenant.String()
		}
		list = append(list, row)
	}
	if q.Path == "" {
		list = append(list, azureRows(policy, roles, problems)...)
	}
	if q.Principal != "" {
		text := strings.ToLower(q.Principal)
		list = slices.DeleteFunc(list, func(a admin.Assignment) bool { return !strings.Contains(strings.ToLower(a.Identity), text) })
	}
	return list, nil
}

// azureRows lists the role assignments at ARM scopes. No space path covers them.
func azureRows(policy *model.Snapshot, roles, problems map[space.ID]string) []admin.Assignment {
	rows := make([]admin.Assignment, 0, len(policy.AzureAssignments))
	for _, a := range policy.AzureAssignments {
		rows = append(rows, admin.Assignment{
			ID:       a.ID.String(),
			Model:    "azure",
			Role:     roles[a.Role],
			RoleID:   a.Role.String(),
			Identity: a.Who.ID.String(),
			Scope:    a.Scope,
			Problem:  problems[a.ID],
		})
	}
	return rows
}

// roleNames returns the names of all roles by their ids: built-in and custom roles, of the space
// model and of Azure RBAC.
func roleNames(policy *model.Snapshot) map[space.ID]string {
	names := map[space.ID]string{}
	for _, r := range append(model.SystemRoles(), policy.Roles...) {
		names[r.ID] = r.Name
	}
	for _, r := range append(model.AzureBuiltInRoles(), policy.AzureRoles...) {
		names[r.ID] = r.Name
	}
	return names
}
