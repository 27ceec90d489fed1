package model

import "github.com/gatehouse/gatehouse/device/space"

// AzureRole is an Azure role definition; only the data-plane part decides here.
type AzureRole struct {
	ID             space.ID // trailing GUID of the role definition id
	Name           string
	DataActions    []string // `*` matches any substring, case-insensitive
	NotDataActions []string
}

// AzurePrincipalType says what an Azure assignment names.
type AzurePrincipalType uint8

// The principal types of Microsoft.Authorization. Everyone is the zero GUID
// with type SystemDefined in deny assignments.
const (
	UnknownPrincipal AzurePrincipalType = iota
	AzureUser
	AzureGroup
	AzureServicePrincipal
	AzureEveryone
)

// AzurePrincipal is one principal of an Azure assignment.
type AzurePrincipal struct {
	ID   space.ID
	Type AzurePrincipalType
}

// AzureAssignment is a roleAssignment of Microsoft.Authorization.
type AzureAssignment struct {
	ID        space.ID
	Role      space.ID
	Who       AzurePrincipal
	Scope     string // ARM id as given; compared without regard to case, by whole segments
	Condition string // empty: none
	// AtScopes are the ARM ids at which ARM listed an assignment of a management
	// group or of "/": such a scope covers a resource only when listed there.
	AtScopes []string
	// Members are principals of which ARM itself said that an assignment to a group
	// reaches them, directly or through nested groups. It counts only for a group.
	Members []space.ID `json:",omitempty"`
}

// AzureDeny is a denyAssignment of Microsoft.Authorization.
type AzureDeny struct {
	ID                      space.ID
	Name                    string
	DataActions             []string
	NotDataActions          []string
	Scope                   string
	DoNotApplyToChildScopes bool
	Principals              []AzurePrincipal
	ExcludePrincipals       []AzurePrincipal
	Condition               string
	AtScopes                []string // as AzureAssignment.AtScopes
}
