package model

import "github.com/gatehouse/gatehouse/device/space"

// The data actions of Device Update and IoT Hub that the gateway asks about
// (docs/spec/device-update.md 1.1, 1.3).
const (
	DeviceUpdateManagementRead   = "Microsoft.DeviceUpdate/accounts/instances/management/read"
	DeviceUpdateManagementWrite  = "Microsoft.DeviceUpdate/accounts/instances/management/write"
	DeviceUpdateManagementDelete = "Microsoft.DeviceUpdate/accounts/instances/management/delete"
	DeviceUpdateUpdatesRead      = "Microsoft.DeviceUpdate/accounts/instances/updates/read"
	DeviceUpdateUpdatesWrite     = "Microsoft.DeviceUpdate/accounts/instances/updates/write"
	DeviceUpdateUpdatesDelete    = "Microsoft.DeviceUpdate/accounts/instances/updates/delete"

	IotHubConfigurationsRead   = "Microsoft.Devices/IotHubs/configurations/read"
	IotHubConfigurationsWrite  = "Microsoft.Devices/IotHubs/configurations/write"
	IotHubConfigurationsDelete = "Microsoft.Devices/IotHubs/configurations/delete"
	IotHubTwinsRead            = "Microsoft.Devices/IotHubs/twins/read"
	IotHubTwinsWrite           = "Microsoft.Devices/IotHubs/twins/write"
)

// DataActions are all data actions of the two services, as published.
func DataActions() []string {
	return []string{
		DeviceUpdateManagementRead, DeviceUpdateManagementWrite, DeviceUpdateManagementDelete,
		DeviceUpdateUpdatesRead, DeviceUpdateUpdatesWrite, DeviceUpdateUpdatesDelete,
		"Microsoft.Devices/IotHubs/cloudToDeviceMessages/send/action",
		"Microsoft.Devices/IotHubs/cloudToDeviceMessages/feedback/action",
		"Microsoft.Devices/IotHubs/cloudToDeviceMessages/queue/purge/action",
		IotHubConfigurationsRead, IotHubConfigurationsWrite, IotHubConfigurationsDelete,
		"Microsoft.Devices/IotHubs/configurations/applyToEdgeDevice/action",
		"Microsoft.Devices/IotHubs/configurations/testQueries/action",
		"Microsoft.Devices/IotHubs/devices/read",
		"Microsoft.Devices/IotHubs/devices/write",
		"Microsoft.Devices/IotHubs/devices/delete",
		"Microsoft.Devices/IotHubs/directMethods/invoke/action",
		"Microsoft.Devices/IotHubs/fileUpload/notifications/action",
		"Microsoft.Devices/IotHubs/jobs/read",
		"Microsoft.Devices/IotHubs/jobs/write",
		"Microsoft.Devices/IotHubs/jobs/delete",
		"Microsoft.Devices/IotHubs/statistics/read",
		IotHubTwinsRead, IotHubTwinsWrite,
	}
}

// The ids of the built-in Azure roles.
const (
	DeviceUpdateAdministratorRole            = "02ca0879-e8e4-47a5-a61e-5c618b76e64a"
	DeviceUpdateReaderRole                   = "e9dba6fb-3d52-4cf0-bce3-f06ce71b9e0f"
	DeviceUpdateContentAdministratorRole     = "0378884a-3af5-44ab-8323-f5b22f9f3c98"
	DeviceUpdateContentReaderRole            = "d1ee9a80-8b14-47f0-bdc2-f4a351625a7b"
	DeviceUpdateDeploymentsAdministratorRole = "e4237640-0e3d-4a46-8fda-70bc94856432"
	DeviceUpdateDeploymentsReaderRole        = "49e2f5d2-7741-4835-8efa-19e1fe35e47f"
	IotHubDataContributorRole                = "4fc6c259-987e-4a07-842e-c321cc9d413f"
	IotHubDataReaderRole                     = "b447c946-2db7-41ec-983d-d8bf3b1c77e3"
	IotHubRegistryContributorRole            = "4ea46cd5-c1b2-4a8e-910b-273211f9ce47"
	IotHubTwinContributorRole                = "494bdba2-168f-4f31-a0a1-191d2f7c028c"
)

// AzureBuiltInRoles are the six Device Update roles and the four IoT Hub data
// roles with their published ids. The caller owns the slice.
func AzureBuiltInRoles() []AzureRole {
	role := func(id, name string, actions ...string) AzureRole {
		return AzureRole{ID: space.MustID(id), Name: name, DataActions: actions}
	}
	return []AzureRole{
		role(DeviceUpdateAdministratorRole, "Device Update Administrator",
			DeviceUpdateUpdatesRead, DeviceUpdateUpdatesWrite, DeviceUpdateUpdatesDelete,
			DeviceUpdateManagementRead, DeviceUpdateManagementWrite, DeviceUpdateManagementDelete),
		role(DeviceUpdateReaderRole, "Device Update Reader", DeviceUpdateUpdatesRead, DeviceUpdateManagementRead),
		role(DeviceUpdateContentAdministratorRole, "Device Update Content Administrator",
			DeviceUpdateUpdatesRead, DeviceUpdateUpdatesWrite, DeviceUpdateUpdatesDelete),
		role(DeviceUpdateContentReaderRole, "Device Update Content Reader", DeviceUpdateUpdatesRead),
		role(DeviceUpdateDeploymentsAdministratorRole, "Device Update Deployments Administrator",
			DeviceUpdateManagementRead, DeviceUpdateManagementWrite, DeviceUpdateManagementDelete, DeviceUpdateUpdatesRead),
		role(DeviceUpdateDeploymentsReaderRole, "Device Update Deployments Reader",
			DeviceUpdateManagementRead, DeviceUpdateUpdatesRead),
		role(IotHubDataContributorRole, "IoT Hub Data Contributor", "Microsoft.Devices/IotHubs/*"),
		role(IotHubDataReaderRole, "IoT Hub Data Reader",
			"Microsoft.Devices/IotHubs/*/read", "Microsoft.Devices/IotHubs/fileUpload/notifications/action"),
		role(IotHubRegistryContributorRole, "IoT Hub Registry Contributor", "Microsoft.Devices/IotHubs/devices/*"),
		role(IotHubTwinContributorRole, "IoT Hub Twin Contributor", "Microsoft.Devices/IotHubs/twins/*"),
	}
}
