package wire

import (
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
)

// resourceNames holds the published spelling of every resource type, by value.
func resourceNames() [model.ResourceTypes]string {
	return [model.ResourceTypes]string{
		model.NoResource:             "None",
		model.Device:                 "Device",
		model.DeviceBlobMetadata:     "DeviceBlobMetadata",
		model.DeviceExtendedProperty: "DeviceExtendedProperty",
		model.Sensor:                 "Sensor",
		model.SensorBlobMetadata:     "SensorBlobMetadata",
		model.SensorExtendedProperty: "SensorExtendedProperty",
		model.Space:                  "Space",
		model.SpaceBlobMetadata:      "SpaceBlobMetadata",
		model.SpaceExtendedProperty:  "SpaceExtendedProperty",
		model.SpaceResource:          "SpaceResource",
		model.SpaceRoleAssignment:    "SpaceRoleAssignment",
		model.ExtendedPropertyKey:    "ExtendedPropertyKey",
		model.ExtendedType:           "ExtendedType",
		model.Matcher:                "Matcher",
		model.UserDefinedFunction:    "UserDefinedFunction",
		model.User:                   "User",
		model.UserBlobMetadata:       "UserBlobMetadata",
		model.UserExtendedProperty:   "UserExtendedProperty",
		model.KeyStore:               "KeyStore",
		model.Endpoint:               "Endpoint",
		model.Ontology:               "Ontology",
		model.Report:                 "Report",
		model.RoleDefinition:         "RoleDefinition",
		model.System:                 "System",
	}
}

// ResourceName is the published name of a resource type; "" for an unknown value.
func ResourceName(t model.ResourceType) string {
	if t >= model.ResourceTypes {
		return ""
	}
	return resourceNames()[t]
}

// ParseResource reads a resource type, in any case. "UerDefinedFunction", the
// documentation's own misprint, means UserDefinedFunction (semantics.md 2).
func ParseResource(s string) (model.ResourceType, bool) {
	s = strings.TrimSpace(s)
	if strings.EqualFold(s, "UerDefinedFunction") {
		return model.UserDefinedFunction, true
	}
	for t, name := range resourceNames() {
		if t != int(model.NoResource) && strings.EqualFold(s, name) {
			return model.ResourceType(t), true
		}
	}
	return model.NoResource, false
}

type accessName struct {
	access model.Access
	name   string
}

// accessNames is in the order in which the published roles list their actions.
func accessNames() [4]accessName {
	return [4]accessName{
		{model.Read, "Read"}, {model.Create, "Create"},
		{model.Update, "Update"}, {model.Delete, "Delete"},
	}
}

// AccessNames spells a set of access types: Read, Create, Update, Delete.
func AccessNames(a model.Access) []string {
	names := []string{}
	for _, e := range accessNames() {
		if a&e.access != 0 {
			names = append(names, e.name)
		}
	}
	return names
}

// ParseAccess reads one access type, in any case.
func ParseAccess(s string) (model.Access, bool) {
	s = strings.TrimSpace(s)
	for _, e := range accessNames() {
		if strings.EqualFold(s, e.name) {
			return e.access, true
		}
	}
	return 0, false
}

func kindNames() [7]string {
	return [7]string{
		model.UserID:                "UserId",
		model.DeviceID:              "DeviceId",
		model.DomainName:            "DomainName",
		model.TenantID:              "TenantId",
		model.ServicePrincipalID:    "ServicePrincipalId",
		model.UserDefinedFunctionID: "UserDefinedFunctionId",
	}
}

// KindName is the objectIdType of a kind of identity; "" for none.
func KindName(k model.IdentityKind) string {
	names := kindNames()
	if int(k) >= len(names) {
		return ""
	}
	return names[k]
}

// ParseKind reads an objectIdType, in any case.
func ParseKind(s string) (model.IdentityKind, bool) {
	s = strings.TrimSpace(s)
	for k, name := range kindNames() {
		if name != "" && strings.EqualFold(s, name) {
			return model.IdentityKind(k), true
		}
	}
	return model.NoIdentity, false
}
