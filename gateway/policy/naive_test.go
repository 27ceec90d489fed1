package policy_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/generation"
)

// naiveStore is a Store over plain lists. It is the model of what survives a restart.
type naiveStore struct {
	held  generation.Full
	dirty bool
	fail  error // of the next write; nil: it succeeds
}

func (s *naiveStore) WriteGeneration(ctx context.Context, g generation.Full) error {
	if err := errors.Join(ctx.Err(), s.fail); err != nil {
		return err
	}
	s.held, s.dirty = g, false
	return nil
}

func (s *naiveStore) WriteDelta(ctx context.Context, d generation.Delta) error {
	switch {
	case s.held.Version != d.Policy.From:
		return generation.ErrVersion
	case errors.Join(ctx.Err(), s.fail) != nil:
		return errors.Join(ctx.Err(), s.fail)
	}
	p, c := &s.held.Policy, &d.Policy
	s.held.Version, s.held.Taken, p.Version = c.To, d.Taken, c.To
	p.Roles = edited(p.Roles, c.PutRoles, c.RemoveRoles)
	p.Assignments = edited(p.Assignments, c.PutAssignments, c.RemoveAssigns)
	p.AzureRoles = edited(p.AzureRoles, c.PutAzureRoles, c.RemoveAzureRoles)
	p.AzureAssignments = edited(p.AzureAssignments, c.PutAzureAssignments, c.RemoveAzureAssigns)
	p.AzureDenies = edited(p.AzureDenies, c.PutAzureDenies, c.RemoveAzureDenies)
	r, rc := &s.held.Registry, &d.Registry
	r.Spaces = edited(r.Spaces, rc.PutSpaces, rc.RemoveSpaces)
	r.Devices = edited(r.Devices, rc.PutDevices, rc.RemoveDevices)
	r.Sensors = edited(r.Sensors, rc.PutSensors, rc.RemoveSensors)
	return nil
}

func (s *naiveStore) MarkDirty(string) error {
	s.dirty = true
	return nil
}

func (s *naiveStore) ClearDirty() error {
	s.dirty = false
	return nil
}

// idOf is the ID field of a record.
func idOf[T any](record T) space.ID {
	return reflect.ValueOf(record).FieldByName("ID").Interface().(space.ID)
}

// edited is the list without what is removed or replaced, and with what is put.
func edited[T any](list, put []T, remove []space.ID) []T {
	out := slices.DeleteFunc(slices.Clone(list), func(old T) bool {
		return slices.Contains(remove, idOf(old)) || slices.ContainsFunc(put, func(v T) bool { return idOf(v) == idOf(old) })
	})
	return append(out, put...)
}

// difference is what edited needs to make next of list.
func difference[T any](list, next []T) (put []T, remove []space.ID) {
	for _, v := range next {
		if !slices.ContainsFunc(list, func(old T) bool { return reflect.DeepEqual(old, v) }) {
			put = append(put, v)
		}
	}
	for _, old := range list {
		if !slices.ContainsFunc(next, func(v T) bool { return idOf(v) == idOf(old) }) {
			remove = append(remove, idOf(old))
		}
	}
	return put, remove
}

// changes lead from one generation to the policy and registry of a later one.
func changes(from *generation.Full, to model.Version, p *model.Snapshot, r *device.Data) (model.ChangeSet, device.Changes) {
	c := model.ChangeSet{From: from.Version, To: to}
	c.PutRoles, c.RemoveRoles = difference(from.Policy.Roles, p.Roles)
	c.PutAssignments, c.RemoveAssigns = difference(from.Policy.Assignments, p.Assignments)
	c.PutAzureRoles, c.RemoveAzureRoles = difference(from.Policy.AzureRoles, p.AzureRoles)
	c.PutAzureAssignments, c.RemoveAzureAssigns = difference(from.Policy.AzureAssignments, p.AzureAssignments)
	c.PutAzureDenies, c.RemoveAzureDenies = difference(from.Policy.AzureDenies, p.AzureDenies)
	var d device.Changes
	d.PutSpaces, d.RemoveSpaces = difference(from.Registry.Spaces, r.Spaces)
	d.PutDevices, d.RemoveDevices = difference(from.Registry.Devices, r.Devices)
	d.PutSensors, d.RemoveSensors = difference(from.Registry.Sensors, r.Sensors)
	return c, d
}

// The records of the random registry: few, so that names collide, gateways
// are named and devices move.
func numbered(kind byte, n int) space.ID { return space.ID{0: kind, 15: byte(n + 1)} }

const (
	spaces  = 3
	devices = 4
	sensors = 3
)

// randomRegistry is a registry of some of the records, each in a random state.
func randomRegistry(r *rand.Rand) (d device.Data) {
	names := []string{"a", "b", "c", "d"}
	where := func() space.ID { return numbered('s', r.IntN(spaces)) }
	secret := func() device.Secret { return device.Secret(names[r.IntN(3)]) }
	for n := range spaces {
		s := device.Space{ID: numbered('s', n)}
		if n > 0 {
			s.Parent = numbered('s', r.IntN(n))
		}
		d.Spaces = append(d.Spaces, s)
	}
	for n := range devices {
		if r.IntN(5) == 0 {
			continue
		}
		record := device.Device{
			ID:         numbered('d', n),
			HubID:      names[n],
			HardwareID: names[n],
			Space:      where(),
			Status:     device.Active,
			Auth:       device.Auth{Kind: device.AuthSAS, Primary: secret(), Secondary: secret()},
		}
		switch r.IntN(8) {
		case 0:
			record.Status = device.Disabled
		case 1:
			record.HubID = names[r.IntN(len(names))]
		case 2, 3:
			record.GatewayID = names[r.IntN(len(names))]
		}
		d.Devices = append(d.Devices, record)
	}
	for n := range sensors {
		if r.IntN(5) > 0 {
			d.Sensors = append(d.Sensors, device.Sensor{
				ID:         numbered('n', n),
				HardwareID: fmt.Sprint("s", n),
				Device:     numbered('d', r.IntN(devices)),
				Space:      where(),
			})
		}
	}
	return d
}

// facts are the sentences that a registry makes true and by which something may
// be done: who is active, where, proved by what, acting for whom.
func facts(t *device.Topology) map[string]bool {
	out := map[string]bool{}
	for n := range devices {
		id := numbered('d', n)
		d, ok := t.Device(id)
		if !ok || d.Status != device.Active {
			continue
		}
		out[fmt.Sprintf("device %d is active", n)] = true
		if at := t.DevicePath(d); !at.IsZero() {
			out[fmt.Sprintf("device %d is at %s", n, at)] = true
		}
		for _, key := range []device.Secret{d.Auth.Primary, d.Auth.Secondary} {
			if len(key) > 0 {
				out[fmt.Sprintf("device %d is proved by %q", n, []byte(key))] = true
			}
		}
		if named, ok := t.DeviceByHubID(d.HubID); ok && named.ID == id {
			out[fmt.Sprintf("device %d is called %s", n, d.HubID)] = true
		}
		for m := range devices {
			if t.ActsFor(numbered('d', m), d) {
				out[fmt.Sprintf("device %d acts for device %d", m, n)] = true
			}
		}
	}
	for n := range sensors {
		s, ok := t.Sensor(numbered('n', n))
		if !ok || s.Device.IsZero() {
			continue
		}
		out[fmt.Sprintf("sensor %d is of %s", n, s.Device)] = true
		if at := t.SensorPath(s); !at.IsZero() {
			out[fmt.Sprintf("sensor %d is at %s", n, at)] = true
		}
	}
	return out
}

// departures are the names that the one registry has and the other lacks, as
// "name of record".
func departures(before, after *device.Data) map[string]bool {
	out := map[string]bool{}
	for _, d := range before.Devices {
		if !slices.ContainsFunc(after.Devices, func(now device.Device) bool { return now.ID == d.ID && now.HubID == d.HubID }) {
			out[d.HubID+" of "+d.ID.String()] = true
		}
	}
	return out
}
