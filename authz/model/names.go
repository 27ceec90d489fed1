package model

import (
	"fmt"
	"math/bits"
	"strings"
	"unicode/utf8"

	"github.com/gatehouse/gatehouse/device/space"
)

// ErrSyntax is what every parse error of this package wraps.
var ErrSyntax = space.ErrSyntax

// Names as they travel (docs/spec/management-api.md 1.1, 1.5, 2 and 3.1).
// Reading them ignores case and surrounding blanks, as the .NET service did;
// condition literals are the exception and are compared exactly.
var (
	accessNames = [...]string{"Create", "Read", "Update", "Delete"}

	typeNames = [ResourceTypes]string{
		Device:                 "Device",
		DeviceBlobMetadata:     "DeviceBlobMetadata",
		DeviceExtendedProperty: "DeviceExtendedProperty",
		Sensor:                 "Sensor",
		SensorBlobMetadata:     "SensorBlobMetadata",
		SensorExtendedProperty: "SensorExtendedProperty",
		Space:                  "Space",
		SpaceBlobMetadata:      "SpaceBlobMetadata",
		SpaceExtendedProperty:  "SpaceExtendedProperty",
		SpaceResource:          "SpaceResource",
		SpaceRoleAssignment:    "SpaceRoleAssignment",
		ExtendedPropertyKey:    "ExtendedPropertyKey",
		ExtendedType:           "ExtendedType",
		Matcher:                "Matcher",
		UserDefinedFunction:    "UserDefinedFunction",
		User:                   "User",
		UserBlobMetadata:       "UserBlobMetadata",
		UserExtendedProperty:   "UserExtendedProperty",
		KeyStore:               "KeyStore",
		Endpoint:               "Endpoint",
		Ontology:               "Ontology",
		Report:                 "Report",
		RoleDefinition:         "RoleDefinition",
		System:                 "System",
	}

	categoryNames = [Categories]string{
		WithoutSpecifiedRbacResourceTypes: "WithoutSpecifiedRbacResourceTypes",
		DeviceSubtype:                     "DeviceSubtype",
		DeviceType:                        "DeviceType",
		DeviceBlobSubtype:                 "DeviceBlobSubtype",
		DeviceBlobType:                    "DeviceBlobType",
		SensorBlobSubtype:                 "SensorBlobSubtype",
		SensorBlobType:                    "SensorBlobType",
		SensorDataSubtype:                 "SensorDataSubtype",
		SensorDataType:                    "SensorDataType",
		SensorDataUnitType:                "SensorDataUnitType",
		SensorPortType:                    "SensorPortType",
		SensorType:                        "SensorType",
		SpaceBlobSubtype:                  "SpaceBlobSubtype",
		SpaceBlobType:                     "SpaceBlobType",
		SpaceResourceType:                 "SpaceResourceType",
		SpaceStatus:                       "SpaceStatus",
		SpaceSubtype:                      "SpaceSubtype",
		SpaceType:                         "SpaceType",
		UserBlobSubtype:                   "UserBlobSubtype",
		UserBlobType:                      "UserBlobType",
	}

	kindNames = [...]string{
		UserID:                "UserId",
		DeviceID:              "DeviceId",
		DomainName:            "DomainName",
		TenantID:              "TenantId",
		ServicePrincipalID:    "ServicePrincipalId",
		UserDefinedFunctionID: "UserDefinedFunctionId",
	}

	principalTypeNames = [...]string{
		AzureUser: "User", AzureGroup: "Group", AzureServicePrincipal: "ServicePrincipal", AzureEveryone: "SystemDefined",
	}
)

// typoAlias is how the published page spells UserDefinedFunction in the
// parameters of roleassignments/check; it is accepted and never written.
const typoAlias = "UerDefinedFunction"

// lookup finds s among the names, 0 being "none" and never found.
func lookup(names []string, s string) (int, bool) {
	s = strings.TrimSpace(s)
	for i := range names {
		if names[i] != "" && strings.EqualFold(names[i], s) {
			return i, true
		}
	}
	return 0, false
}

func name(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return ""
}

func unknown(what, got string, names []string) error {
	if len(got) > 64 {
		cut := 64
		for cut > 0 && !utf8.RuneStart(got[cut]) {
			cut--
		}
		got = got[:cut] + "…"
	}
	known := make([]string, 0, len(names))
	for _, n := range names {
		if n != "" {
			known = append(known, n)
		}
	}
	return fmt.Errorf("%w %s %q: want one of %s", ErrSyntax, what, got, strings.Join(known, ", "))
}

// Single tells whether a holds exactly one access type.
func (a Access) Single() bool { return a&^AllAccess == 0 && bits.OnesCount8(uint8(a)) == 1 }

// String lists the access types of the set, "Create,Read"; "" for the empty set.
func (a Access) String() string {
	var parts []string
	for i, n := range accessNames {
		if a&(1<<i) != 0 {
			parts = append(parts, n)
		}
	}
	return strings.Join(parts, ",")
}

// ParseAccess reads one access type or a set separated by commas.
func ParseAccess(s string) (Access, error) {
	if strings.TrimSpace(s) == "" {
		return 0, nil
	}
	var a Access
	for part := range strings.SplitSeq(s, ",") {
		i, ok := lookup(accessNames[:], part)
		if !ok {
			return 0, unknown("access type", part, accessNames[:])
		}
		a |= 1 << i
	}
	return a, nil
}

// MarshalText is String.
func (a Access) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText is ParseAccess.
func (a *Access) UnmarshalText(b []byte) (err error) { *a, err = ParseAccess(string(b)); return err }

// String is the name as it travels; "" for NoResource.
func (t ResourceType) String() string { return name(typeNames[:], int(t)) }

// ParseResourceType reads the name of a resource type; `UerDefinedFunction`
// is read as UserDefinedFunction.
func ParseResourceType(s string) (ResourceType, error) {
	if strings.EqualFold(strings.TrimSpace(s), typoAlias) {
		return UserDefinedFunction, nil
	}
	i, ok := lookup(typeNames[:], s)
	if !ok {
		return NoResource, unknown("resource type", s, typeNames[:])
	}
	return ResourceType(i), nil
}

// MarshalText is String.
func (t ResourceType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText is ParseResourceType; the empty text is NoResource.
func (t *ResourceType) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*t = NoResource
		return nil
	}
	*t, err = ParseResourceType(string(b))
	return err
}

// String is the name as it travels; "" for NoCategory.
func (c Category) String() string { return name(categoryNames[:], int(c)) }

// ParseCategory reads the name of a category; "" is NoCategory.
func ParseCategory(s string) (Category, error) {
	if strings.TrimSpace(s) == "" {
		return NoCategory, nil
	}
	i, ok := lookup(categoryNames[:], s)
	if !ok {
		return NoCategory, unknown("category", s, categoryNames[:])
	}
	return Category(i), nil
}

// MarshalText is String.
func (c Category) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is ParseCategory.
func (c *Category) UnmarshalText(b []byte) (err error) {
	*c, err = ParseCategory(string(b))
	return err
}

// String is the objectIdType as it travels; "" for NoIdentity.
func (k IdentityKind) String() string { return name(kindNames[:], int(k)) }

// ParseIdentityKind reads an objectIdType.
func ParseIdentityKind(s string) (IdentityKind, error) {
	i, ok := lookup(kindNames[:], s)
	if !ok {
		return NoIdentity, unknown("objectIdType", s, kindNames[:])
	}
	return IdentityKind(i), nil
}

// MarshalText is String.
func (k IdentityKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is ParseIdentityKind; the empty text is NoIdentity.
func (k *IdentityKind) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*k = NoIdentity
		return nil
	}
	*k, err = ParseIdentityKind(string(b))
	return err
}

// String is the principalType as ARM writes it; "" for UnknownPrincipal.
func (t AzurePrincipalType) String() string { return name(principalTypeNames[:], int(t)) }

// ParseAzurePrincipalType reads a principalType. Whatever is not known
// (ForeignGroup, Device, what ARM may invent) is UnknownPrincipal, which
// grants nothing and denies everybody; hence no error.
func ParseAzurePrincipalType(s string) AzurePrincipalType {
	i, _ := lookup(principalTypeNames[:], s)
	return AzurePrincipalType(i)
}

// MarshalText is String.
func (t AzurePrincipalType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText is ParseAzurePrincipalType and never fails.
func (t *AzurePrincipalType) UnmarshalText(b []byte) error {
	*t = ParseAzurePrincipalType(string(b))
	return nil
}
