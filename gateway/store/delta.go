package store

import (
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/generation"
)

type removal struct {
	kind kind
	ids  []space.ID
}

// removals lists the ids of what a delta removes, by kind of record.
func removals(d *generation.Delta) []removal {
	p, r := &d.Policy, &d.Registry
	return []removal{
		{kindRole, p.RemoveRoles}, {kindAssignment, p.RemoveAssigns}, {kindAzureRole, p.RemoveAzureRoles},
		{kindAzureAssignment, p.RemoveAzureAssigns}, {kindAzureDeny, p.RemoveAzureDenies},
		{kindSpace, r.RemoveSpaces}, {kindDevice, r.RemoveDevices}, {kindSensor, r.RemoveSensors},
		{kindFunction, r.RemoveFunctions}, {kindCA, r.RemoveCAs},
	}
}

// puts lists the records that a delta writes.
func puts(d *generation.Delta) []item {
	p, r := &d.Policy, &d.Registry
	return items(&model.Snapshot{
		Roles: p.PutRoles, Assignments: p.PutAssignments, AzureRoles: p.PutAzureRoles,
		AzureAssignments: p.PutAzureAssignments, AzureDenies: p.PutAzureDenies,
	}, &device.Data{
		Spaces: r.PutSpaces, Devices: r.PutDevices, Sensors: r.PutSensors, Functions: r.PutFunctions, CAs: r.PutCAs,
	})
}
