package client

import (
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// overlay applies the changes that were made while the collections were read. A change has
// the whole new state of its object, so that one which a collection already shows does no harm.
func overlay(f *wire.Full, d *wire.Delta) {
	p, c := &f.Policy, &d.Policy
	p.Roles = merge(p.Roles, c.RemoveRoles, c.PutRoles, func(v *model.Role) space.ID { return v.ID })
	p.Assignments = merge(p.Assignments, c.RemoveAssigns, c.PutAssignments, func(v *model.Assignment) space.ID { return v.ID })
	p.AzureRoles = merge(p.AzureRoles, c.RemoveAzureRoles, c.PutAzureRoles, func(v *model.AzureRole) space.ID { return v.ID })
	p.AzureAssignments = merge(p.AzureAssignments, c.RemoveAzureAssigns, c.PutAzureAssignments,
		func(v *model.AzureAssignment) space.ID { return v.ID })
	p.AzureDenies = merge(p.AzureDenies, c.RemoveAzureDenies, c.PutAzureDenies, func(v *model.AzureDeny) space.ID { return v.ID })
	overlayData(&f.Data, &d.Data)
	f.Problems = append(f.Problems, d.Problems...)
}

func merge[T any](have []T, remove []space.ID, put []T, id func(*T) space.ID) []T {
	if len(remove)+len(put) == 0 {
		return have
	}
	gone := make(map[space.ID]bool, len(remove)+len(put))
	for _, r := range remove {
		gone[r] = true
	}
	for i := range put {
		gone[id(&put[i])] = true
	}
	out := make([]T, 0, len(have)+len(put))
	for i := range have {
		if !gone[id(&have[i])] {
			out = append(out, have[i])
		}
	}
	return append(out, put...)
}

func overlayData(f *device.Data, c *device.Changes) {
	f.Spaces = merge(f.Spaces, c.RemoveSpaces, c.PutSpaces, func(v *device.Space) space.ID { return v.ID })
	f.Devices = merge(f.Devices, c.RemoveDevices, c.PutDevices, func(v *device.Device) space.ID { return v.ID })
	f.Sensors = merge(f.Sensors, c.RemoveSensors, c.PutSensors, func(v *device.Sensor) space.ID { return v.ID })
	f.Functions = merge(f.Functions, c.RemoveFunctions, c.PutFunctions, func(v *device.Function) space.ID { return v.ID })
	f.CAs = merge(f.CAs, c.RemoveCAs, c.PutCAs, func(v *device.CA) space.ID { return v.ID })
}
