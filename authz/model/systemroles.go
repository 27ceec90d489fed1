package model

import "github.com/gatehouse/gatehouse/device/space"

// The ids of the nine system roles: the same in every instance
// (digital-twins-role-assignments, "Supported role definition identifiers").
const (
	SpaceAdministratorRole  = "98e44ad7-28d4-4007-853b-b9968ad132d1"
	UserAdministratorRole   = "dfaac54c-f583-4dd2-b45d-8d4bbc0aa1ac"
	DeviceAdministratorRole = "3cdfde07-bc16-40d9-bed3-66d49a8f52ae"
	KeyAdministratorRole    = "5a0b1afc-e118-4068-969f-b50efb8e5da6"
	TokenAdministratorRole  = "38a3bb21-5424-43b4-b0bf-78ee228840c3"
	UserRole                = "b1ffdb77-c635-4e7e-ad25-948237d85b30"
	SupportSpecialistRole   = "6e46958b-dc62-4e7c-990c-c3da2e030969"
	DeviceInstallerRole     = "b16dd9fe-4efe-467b-8c8c-720e2ff8817c"
	GatewayDeviceRole       = "d4c69766-e9bd-4e61-bfc1-d8b6e686c7a8"
)

// The clauses that several roles share. DeviceAdministrator's two are as
// published; the other roles' are derived from the published prose
// (docs/spec/management-api.md 1.4).
const (
	readSpaces = "@Resource.Type == 'Space' && @Resource.Category == 'WithoutSpecifiedRbacResourceTypes' || " +
		"@Resource.Type Any_of {'ExtendedPropertyKey', 'SpaceExtendedProperty', 'SpaceBlobMetadata', " +
		"'SpaceResource', 'Matcher'}"

	devicesAndSensors = "@Resource.Type Any_of {'Device', 'DeviceBlobMetadata', 'DeviceExtendedProperty', " +
		"'Sensor', 'SensorBlobMetadata', 'SensorExtendedProperty'}"

	deviceTypes = "@Resource.Type == 'ExtendedType' && (!Exists @Resource.Category || " +
		"@Resource.Category Any_of { 'DeviceSubtype', 'DeviceType', 'DeviceBlobType', 'DeviceBlobSubtype', " +
		"'SensorBlobSubtype', 'SensorBlobType', 'SensorDataSubtype', 'SensorDataType', 'SensorDataUnitType', " +
		"'SensorPortType', 'SensorType' } )"

	usersAndTypes = "@Resource.Type Any_of {'User', 'UserBlobMetadata', 'UserExtendedProperty'} || " +
		"( @Resource.Type == 'ExtendedType' && (!Exists @Resource.Category || " +
		"@Resource.Category Any_of { 'UserBlobType', 'UserBlobSubtype' } ) )"

	sensorsUsersAndTypes = "@Resource.Type Any_of {'Sensor', 'SensorBlobMetadata', 'SensorExtendedProperty', " +
		"'User', 'UserBlobMetadata', 'UserExtendedProperty'} || " +
		"( @Resource.Type == 'ExtendedType' && (!Exists @Resource.Category || " +
		"@Resource.Category Any_of { 'SensorBlobSubtype', 'SensorBlobType', 'SensorDataSubtype', " +
		"'SensorDataType', 'SensorDataUnitType', 'SensorPortType', 'SensorType', 'SpaceBlobSubtype', " +
		"'SpaceBlobType', 'SpaceStatus', 'SpaceSubtype', 'SpaceType', 'UserBlobSubtype', 'UserBlobType' } ) )"

	everythingButKeys = "@Resource.Type Any_of {'Device', 'DeviceBlobMetadata', 'DeviceExtendedProperty', " +
		"'ExtendedPropertyKey', 'ExtendedType', 'Endpoint', 'Matcher', 'Ontology', 'Report', 'RoleDefinition', " +
		"'Sensor', 'SensorBlobMetadata', 'SensorExtendedProperty', 'Space', 'SpaceBlobMetadata', " +
		"'SpaceExtendedProperty', 'SpaceResource', 'SpaceRoleAssignment', 'System', 'UserDefinedFunction', " +
		"'User', 'UserBlobMetadata', 'UserExtendedProperty'}"

	keys = "@Resource.Type == 'KeyStore'"
)

// SystemRoles are the nine roles of GET /system/roles, in its order. The
// caller owns the slice.
func SystemRoles() []Role {
	role := func(id, name string, permissions ...Permission) Role {
		return Role{ID: space.MustID(id), Name: name, Permissions: permissions}
	}
	may := func(a Access, condition string) Permission { return Permission{Actions: a, Condition: condition} }
	return []Role{
		role(SpaceAdministratorRole, "SpaceAdministrator", may(AllAccess, "")),
		role(UserAdministratorRole, "UserAdministrator", may(AllAccess, usersAndTypes), may(Read, readSpaces)),
		role(DeviceAdministratorRole, "DeviceAdministrator",
			may(AllAccess, devicesAndSensors+" || ( "+deviceTypes+" )"), may(Read, readSpaces)),
		role(KeyAdministratorRole, "KeyAdministrator", may(AllAccess, keys), may(Read, readSpaces)),
		role(TokenAdministratorRole, "TokenAdministrator", may(Read|Update, keys), may(Read, readSpaces)),
		role(UserRole, "User", may(Read, sensorsUsersAndTypes), may(Read, readSpaces)),
		role(SupportSpecialistRole, "SupportSpecialist", may(Read, everythingButKeys)),
		role(DeviceInstallerRole, "DeviceInstaller",
			may(Read|Update, devicesAndSensors), may(Read, deviceTypes), may(Read, readSpaces)),
		role(GatewayDeviceRole, "GatewayDevice",
			may(Create, "@Resource.Type == 'Sensor'"), may(Read, devicesAndSensors+" || ( "+deviceTypes+" )")),
	}
}
