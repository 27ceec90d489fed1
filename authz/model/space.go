// Package model holds the values that both sides of a decision share: who
// asks (Subject), what is asked (Operation, an Azure data action), what was
// granted (Role, Assignment and their Azure counterparts), and the versioned
// Snapshot and ChangeSet in which grants arrive. Pure values: no I/O, no
// clock, no decision.
package model

import "github.com/gatehouse/gatehouse/device/space"

// Access is a set of access types of the space model; a single access type is
// a set of one.
type Access uint8

// The four access types (docs/spec/management-api.md 1.1).
const (
	Create Access = 1 << iota
	Read
	Update
	Delete

	AllAccess = Create | Read | Update | Delete
)

// ResourceType is a type of object that the space model protects.
type ResourceType uint8

// The resource types (docs/spec/management-api.md 1.1 and 1.5). The order
// is internal; only names travel.
const (
	NoResource ResourceType = iota
	Device
	DeviceBlobMetadata
	DeviceExtendedProperty
	Sensor
	SensorBlobMetadata
	SensorExtendedProperty
	Space
	SpaceBlobMetadata
	SpaceExtendedProperty
	SpaceResource
	SpaceRoleAssignment
	ExtendedPropertyKey
	ExtendedType
	Matcher
	UserDefinedFunction
	User
	UserBlobMetadata
	UserExtendedProperty
	KeyStore
	Endpoint
	Ontology
	Report
	RoleDefinition
	System

	ResourceTypes // how many there are, NoResource included
)

// Category is what `@Resource.Category` can be; NoCategory means that the
// attribute does not exist on the resource.
type Category uint8

// The categories (docs/spec/management-api.md 2).
const (
	NoCategory Category = iota
	WithoutSpecifiedRbacResourceTypes
	DeviceSubtype
	DeviceType
	DeviceBlobSubtype
	DeviceBlobType
	SensorBlobSubtype
	SensorBlobType
	SensorDataSubtype
	SensorDataType
	SensorDataUnitType
	SensorPortType
	SensorType
	SpaceBlobSubtype
	SpaceBlobType
	SpaceResourceType
	SpaceStatus
	SpaceSubtype
	SpaceType
	UserBlobSubtype
	UserBlobType

	Categories // how many there are, NoCategory included
)

// Operation is what a principal asks to do in the space model. Access holds
// exactly one access type. A Space operation without a category is read as
// WithoutSpecifiedRbacResourceTypes.
type Operation struct {
	Access   Access
	Type     ResourceType
	Category Category
}

// IdentityKind is the objectIdType of a role assignment.
type IdentityKind uint8

// The six kinds of identity (digital-twins-role-assignments, "Supported object identifier types").
const (
	NoIdentity IdentityKind = iota
	UserID
	DeviceID
	DomainName
	TenantID
	ServicePrincipalID
	UserDefinedFunctionID
)

// Identity is one thing that an assignment can name. Comparable; equal means
// the same. Object is set for every kind but DomainName; Domain ("@example.com",
// lower case) only for DomainName. Tenant is set for UserID, ServicePrincipalID
// and DomainName, never for the others.
type Identity struct {
	Kind   IdentityKind
	Object space.ID
	Tenant space.ID
	Domain string
}

// Subject is everything about a principal that a decision may look at. It is
// immutable once it has been handed out.
type Subject struct {
	// Identities are the space-model identities that the principal matches
	// (docs/spec/semantics.md 1.1).
	Identities []Identity
	own        [1]Identity // see Is; a decision reads it from the cache line that holds Identities
	// Object is the Entra object id for the Azure model; zero for devices,
	// modules and functions, which hold nothing there.
	Object space.ID
	// Groups are the Entra groups of Object; they count only when
	// GroupsKnown. Unknown groups grant nothing, and a deny assignment for
	// any group then applies.
	Groups      []space.ID
	GroupsKnown bool
}

// Is sets Identities. A single identity, as devices and services have, is
// stored within the subject, where a decision finds it without following a
// pointer.
func (s *Subject) Is(ids ...Identity) {
	if s.Identities = ids; len(ids) == 1 {
		s.own[0] = ids[0]
		s.Identities = s.own[:]
	}
}

// Role is a role definition of the space model.
type Role struct {
	ID          space.ID
	Name        string
	Permissions []Permission
}

// Permission is one clause of a Role: granted when the access type is in
// Actions, not in NotActions, and Condition holds. An empty condition always holds.
type Permission struct {
	Actions    Access
	NotActions Access
	Condition  string
}

// Assignment gives the role to the identity at the path and below.
type Assignment struct {
	ID   space.ID
	Role space.ID
	Who  Identity
	Path space.Path
}
