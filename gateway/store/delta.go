package store

import (
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
)

// Delta leads from the stored generation, at Policy.From, to Policy.To.
type Delta struct {
	Taken    time.Time
	Policy   model.ChangeSet
	Registry device.Changes
}

type removal struct {
	kind kind
	ids  []space.ID
}

func (d *Delta) removals() []removal {
	p, r := &d.Policy, &d.Registry
	return []removal{
		{kindRole, p.RemoveRoles}, {kindAssignment, p.RemoveAssigns}, {kindAzureRole, p.RemoveAzureRoles},
		{kindAzureAssignment, p.RemoveAzureAssigns}, {kindAzureDeny, p.RemoveAzureDenies},
		{kindSpace, r.RemoveSpaces}, {kindDevice, r.RemoveDevices}, {kindSensor, r.RemoveSensors},
		{kindFunction, r.RemoveFunctions}, {kindCA, r.RemoveCAs},
	}
}

func (d *Delta) puts() []item {
	p, r := &d.Policy, &d.Registry
	return items(&model.Snapshot{
		Roles: p.PutRoles, Assignments: p.PutAssignments, AzureRoles: p.PutAzureRoles,
		AzureAssignments: p.PutAzureAssignments, AzureDenies: p.PutAzureDenies,
	}, &device.Data{
		Spaces: r.PutSpaces, Devices: r.PutDevices, Sensors: r.PutSensors, Functions: r.PutFunctions, CAs: r.PutCAs,
	})
}
