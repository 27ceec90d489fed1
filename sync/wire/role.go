package wire

import (
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// Role is a role definition as GET system/roles shows it (docs/spec/management-api.md 1.1).
type Role struct {
	ID                space.ID     `json:"id"`
	Name              string       `json:"name"`
	Permissions       []Permission `json:"permissions"`
	AccessControlPath string       `json:"accessControlPath,omitempty"`
	FriendlyPath      string       `json:"friendlyPath,omitempty"`
	AccessControlType string       `json:"accessControlType,omitempty"`
}

// Permission is one clause of a Role.
type Permission struct {
	NotActions []string `json:"notActions"`
	Actions    []string `json:"actions"`
	Condition  string   `json:"condition,omitempty"`
}

// FromRole is the API's form of r.
func FromRole(r model.Role) Role {
	w := Role{
		ID:                r.ID,
		Name:              r.Name,
		Permissions:       []Permission{},
		AccessControlPath: "/system",
		FriendlyPath:      "/system",
		AccessControlType: "System",
	}
	for _, p := range r.Permissions {
		w.Permissions = append(w.Permissions, Permission{
			NotActions: AccessNames(p.NotActions), Actions: AccessNames(p.Actions), Condition: p.Condition,
		})
	}
	return w
}

// ParseRole reads a role definition. An unknown action grants nothing. A permission with an
// unknown notAction is dropped as a whole, because it would otherwise grant what it excludes.
func ParseRole(o Object) (model.Role, error) {
	var r model.Role
	var err error
	if r.ID, err = o.RequiredID("id"); err != nil {
		return model.Role{}, err
	}
	if r.Name, err = o.String("name", 256); err != nil {
		return model.Role{}, err
	}
	clauses, err := o.List("permissions")
	if err != nil {
		return model.Role{}, err
	}
	if len(clauses) > 64 {
		return model.Role{}, invalid("permissions", "more than 64 clauses")
	}
	for _, c := range clauses {
		p, known, err := parsePermission(c)
		if err != nil {
			return model.Role{}, err
		}
		if known {
			r.Permissions = append(r.Permissions, p)
		}
	}
	return r, nil
}

func parsePermission(o Object) (p model.Permission, known bool, err error) {
	actions, err := o.Strings("actions", 16, 64)
	if err != nil {
		return p, false, err
	}
	except, err := o.Strings("notActions", 16, 64)
	if err != nil {
		return p, false, err
	}
	if p.Condition, err = o.String("condition", 16<<10); err != nil {
		return p, false, err
	}
	for _, s := range actions {
		if a, ok := ParseAccess(s); ok {
			p.Actions |= a
		}
	}
	known = true
	for _, s := range except {
		a, ok := ParseAccess(s)
		p.NotActions |= a
		known = known && ok
	}
	return p, known, nil
}
