package wire

import (
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// The types of Microsoft.Authorization, as Azure Resource Manager (ARM) shows them. Of role
// definitions and deny assignments only the data actions are read and written.
const (
	azureAssignmentType = "Microsoft.Authorization/roleAssignments"
	azureRoleType       = "Microsoft.Authorization/roleDefinitions"
	azureDenyType       = "Microsoft.Authorization/denyAssignments"
)

// AzureItem is one item: {id, name, type, properties}.
type AzureItem[P any] struct {
	ID         string   `json:"id"`
	Name       space.ID `json:"name"`
	Type       string   `json:"type"`
	Properties P        `json:"properties"`
}

// AzureAssignmentProperties are the properties of a roleAssignment. AtScopes is not ARM's, but
// an addition.
type AzureAssignmentProperties struct {
	RoleDefinitionID string   `json:"roleDefinitionId"`
	PrincipalID      space.ID `json:"principalId"`
	PrincipalType    string   `json:"principalType"`
	Scope            string   `json:"scope"`
	Condition        string   `json:"condition,omitempty"`
	AtScopes         []string `json:"atScopes,omitempty"`
}

// AzureRoleProperties are those of a roleDefinition.
type AzureRoleProperties struct {
	RoleName    string            `json:"roleName"`
	Permissions []AzurePermission `json:"permissions"`
}

// AzurePermission has the data actions of one permission.
type AzurePermission struct {
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
}

// AzureDenyProperties are the properties of a denyAssignment. AtScopes is not ARM's, but an
// addition.
type AzureDenyProperties struct {
	Name                    string               `json:"denyAssignmentName"`
	Permissions             []AzurePermission    `json:"permissions"`
	Scope                   string               `json:"scope"`
	DoNotApplyToChildScopes bool                 `json:"doNotApplyToChildScopes"`
	Principals              []AzureItemPrincipal `json:"principals"`
	ExcludePrincipals       []AzureItemPrincipal `json:"excludePrincipals"`
	Condition               string               `json:"condition,omitempty"`
	AtScopes                []string             `json:"atScopes,omitempty"`
}

// AzureItemPrincipal is one principal of a deny assignment.
type AzureItemPrincipal struct {
	ID   space.ID `json:"id"`
	Type string   `json:"type"`
}

// azureKindName is ARM's name of a principal type. It is "Unknown" for the types that are not
// told apart here.
func azureKindName(k model.AzurePrincipalType) string {
	if s := k.String(); s != "" {
		return s
	}
	return "Unknown"
}

func azureID(scope, kind string, id space.ID) string {
	return strings.TrimSuffix(scope, "/") + "/providers/" + kind + "/" + id.String()
}

// FromAzureAssignment is ARM's form of a.
func FromAzureAssignment(a model.AzureAssignment) AzureItem[AzureAssignmentProperties] {
	return AzureItem[AzureAssignmentProperties]{
		ID: azureID(a.Scope, azureAssignmentType, a.ID), Name: a.ID, Type: azureAssignmentType,
		Properties: AzureAssignmentProperties{
			RoleDefinitionID: azureID("", azureRoleType, a.Role),
			PrincipalID:      a.Who.ID,
			PrincipalType:    azureKindName(a.Who.Type),
			Scope:            a.Scope,
			Condition:        a.Condition,
			AtScopes:         a.AtScopes,
		},
	}
}

// ParseAzureAssignment reads a roleAssignment.
func ParseAzureAssignment(o Object) (model.AzureAssignment, error) {
	var a model.AzureAssignment
	p, err := azureItem(o, &a.ID)
	if err != nil {
		return model.AzureAssignment{}, err
	}
	role, err := p.String("roleDefinitionId", 2048)
	if err != nil {
		return model.AzureAssignment{}, err
	}
	if a.Role, err = space.ParseID(role[strings.LastIndexByte(role, '/')+1:]); err != nil {
		return model.AzureAssignment{}, invalid("roleDefinitionId", "must end in a GUID")
	}
	if a.Who.ID, err = p.RequiredID("principalId"); err != nil {
		return model.AzureAssignment{}, err
	}
	kind, err := p.String("principalType", 64)
	if err != nil {
		return model.AzureAssignment{}, err
	}
	a.Who.Type = model.ParseAzurePrincipalType(kind)
	if a.Scope, err = scopeOf(p); err != nil {
		return model.AzureAssignment{}, err
	}
	if a.Condition, err = p.String("condition", 16<<10); err != nil {
		return model.AzureAssignment{}, err
	}
	a.AtScopes, err = p.Strings("atScopes", 64, 2048)
	return a, err
}

// FromAzureRole is ARM's form of r.
func FromAzureRole(r model.AzureRole) AzureItem[AzureRoleProperties] {
	return AzureItem[AzureRoleProperties]{
		ID: azureID("", azureRoleType, r.ID), Name: r.ID, Type: azureRoleType,
		Properties: AzureRoleProperties{RoleName: r.Name, Permissions: []AzurePermission{
			{DataActions: list(r.DataActions), NotDataActions: list(r.NotDataActions)},
		}},
	}
}

// ParseAzureRole reads a roleDefinition. Several permissions are combined into one. It has the
// notDataActions of all of them, so that it grants no more than they do together.
func ParseAzureRole(o Object) (model.AzureRole, error) {
	var r model.AzureRole
	p, err := azureItem(o, &r.ID)
	if err != nil {
		return model.AzureRole{}, err
	}
	if r.Name, err = p.String("roleName", 512); err != nil {
		return model.AzureRole{}, err
	}
	clauses, err := azurePermissions(p)
	for _, c := range clauses {
		r.DataActions = append(r.DataActions, c.DataActions...)
		r.NotDataActions = append(r.NotDataActions, c.NotDataActions...)
	}
	return r, err
}

// FromAzureDeny is ARM's form of d.
func FromAzureDeny(d model.AzureDeny) AzureItem[AzureDenyProperties] {
	return AzureItem[AzureDenyProperties]{
		ID: azureID(d.Scope, azureDenyType, d.ID), Name: d.ID, Type: azureDenyType,
		Properties: AzureDenyProperties{
			Name:                    d.Name,
			Scope:                   d.Scope,
			DoNotApplyToChildScopes: d.DoNotApplyToChildScopes,
			Permissions:             []AzurePermission{{DataActions: list(d.DataActions), NotDataActions: list(d.NotDataActions)}},
			Principals:              fromPrincipals(d.Principals),
			ExcludePrincipals:       fromPrincipals(d.ExcludePrincipals),
			Condition:               d.Condition,
			AtScopes:                d.AtScopes,
		},
	}
}

// ParseAzureDeny reads a denyAssignment. Several permissions are combined into one, which then
// has no notDataActions, so that it denies no less than they do together.
func ParseAzureDeny(o Object) (model.AzureDeny, error) {
	var d model.AzureDeny
	p, err := azureItem(o, &d.ID)
	if err != nil {
		return model.AzureDeny{}, err
	}
	err = readAll(p, text("denyAssignmentName", 512, &d.Name),
		truth("doNotApplyToChildScopes", &d.DoNotApplyToChildScopes), text("condition", 16<<10, &d.Condition))
	if err != nil {
		return model.AzureDeny{}, err
	}
	if d.Scope, err = scopeOf(p); err != nil {
		return model.AzureDeny{}, err
	}
	clauses, err := azurePermissions(p)
	if err != nil {
		return model.AzureDeny{}, err
	}
	for _, c := range clauses {
		d.DataActions = append(d.DataActions, c.DataActions...)
		if len(clauses) == 1 {
			d.NotDataActions = c.NotDataActions
		}
	}
	if d.Principals, err = principals(p, "principals"); err != nil {
		return model.AzureDeny{}, err
	}
	if d.ExcludePrincipals, err = principals(p, "excludePrincipals"); err != nil {
		return model.AzureDeny{}, err
	}
	d.AtScopes, err = p.Strings("atScopes", 64, 2048)
	return d, err
}

// HeldAzureDeny reads a deny assignment of a server's answer. If it cannot be understood, d
// denies everything to everybody, and why says what is wrong. Leaving it out would grant
// rights, and refusing the whole answer would keep the rights that others in the answer take
// away. An error means that not even its id can be read.
func HeldAzureDeny(o Object) (d model.AzureDeny, why, err error) {
	if d, why = ParseAzureDeny(o); why == nil {
		return d, nil, nil
	}
	var id space.ID
	if _, err := azureItem(o, &id); id.IsZero() {
		return model.AzureDeny{}, nil, err
	}
	return unreadDeny(id), why, nil
}

func unreadDeny(id space.ID) model.AzureDeny {
	return model.AzureDeny{ID: id, Name: "cannot be read", DataActions: []string{"*"}} // without a scope it applies everywhere
}

// azureItem reads the id of an item from its name, or from the end of its resource id, and returns
// its properties.
func azureItem(o Object, id *space.ID) (Object, error) {
	name, err := o.String("name", 64)
	if err != nil {
		return Object{}, err
	}
	if name == "" {
		full, err := o.String("id", 4096)
		if err != nil {
			return Object{}, err
		}
		name = full[strings.LastIndexByte(full, '/')+1:]
	}
	if *id, err = space.ParseID(name); err != nil || id.IsZero() {
		return Object{}, invalid("name", "must be a GUID")
	}
	p, ok, err := o.Object("properties")
	if err == nil && !ok {
		err = invalid("properties", "required")
	}
	return p, err
}

func scopeOf(p Object) (string, error) {
	s, err := p.String("scope", 2048)
	if err == nil && !strings.HasPrefix(s, "/") {
		err = invalid("scope", "want an ARM id that begins with /")
	}
	return s, err
}

func azurePermissions(p Object) ([]AzurePermission, error) {
	clauses, err := p.List("permissions")
	if err != nil {
		return nil, err
	}
	if len(clauses) > 64 {
		return nil, invalid("permissions", "more than 64 clauses")
	}
	var out []AzurePermission
	for _, c := range clauses {
		var w AzurePermission
		if w.DataActions, err = c.Strings("dataActions", 1024, 256); err != nil {
			return nil, err
		}
		if w.NotDataActions, err = c.Strings("notDataActions", 1024, 256); err != nil {
			return nil, err
		}
		out = append(out, w)
	}
	return out, nil
}

func principals(p Object, name string) ([]model.AzurePrincipal, error) {
	items, err := p.List(name)
	if err != nil {
		return nil, err
	}
	if len(items) > 4096 {
		return nil, invalid(name, "more than 4096")
	}
	var out []model.AzurePrincipal
	for _, in := range items {
		id, err := in.ID("id") // the zero GUID is everyone
		if err != nil {
			return nil, err
		}
		kind, err := in.String("type", 64)
		if err != nil {
			return nil, err
		}
		out = append(out, model.AzurePrincipal{ID: id, Type: model.ParseAzurePrincipalType(kind)})
	}
	return out, nil
}

func fromPrincipals(list []model.AzurePrincipal) []AzureItemPrincipal {
	out := []AzureItemPrincipal{}
	for _, p := range list {
		out = append(out, AzureItemPrincipal{ID: p.ID, Type: azureKindName(p.Type)})
	}
	return out
}

func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
