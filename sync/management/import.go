package management

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// Content is a whole building, ids included.
type Content struct {
	Spaces           []wire.Space // parents before children
	Devices          []wire.Device
	Sensors          []wire.Sensor
	Functions        []wire.Function
	Users            []wire.User
	KeyStores        []wire.KeyStore
	Assignments      []model.Assignment
	CAs              []device.CA
	AzureAssignments []model.AzureAssignment
	AzureRoles       []model.AzureRole
	AzureDenies      []model.AzureDeny
}

// Import puts content into the server as one transaction, replacing what has the same
// id. It is for the process that runs the server and checks no rights, but the content must
// be consistent, like everything that comes in over the API. An error changes nothing.
func (s *Server) Import(c Content) error {
	return s.update(func(t *tx) error {
		if err := t.importTree(&c); err != nil {
			return fmt.Errorf("management: import: %w", err)
		}
		if err := t.importGrants(&c); err != nil {
			return fmt.Errorf("management: import: %w", err)
		}
		return nil
	})
}

func (t *tx) importTree(c *Content) error {
	for i := range c.Spaces {
		w := &c.Spaces[i]
		if up := t.path(w.ParentSpaceID); w.ID.IsZero() || up.IsZero() || up.Depth() >= space.MaxDepth {
			return fmt.Errorf("space %s %q: no id, no parent, or too deep", w.ID, w.Name)
		}
		if old, ok := t.paths[w.ID]; ok && old != t.path(w.ParentSpaceID).Join(w.ID) {
			return fmt.Errorf("space %s %q: lives elsewhere already", w.ID, w.Name)
		}
		t.putSpace(w)
	}
	// The names that are taken are collected once, instead of searched for each
	// object.
	hardware, hub, onSensors := map[string]space.ID{}, map[string]space.ID{}, map[string]space.ID{}
	for id, d := range t.draft.devices.all() {
		hardware[strings.ToLower(d.HardwareID)], hub[d.DeviceID] = id, id
	}
	for id, n := range t.draft.sensors.all() {
		onSensors[strings.ToLower(n.HardwareID)] = id
	}
	for _, w := range byID(c.Devices, func(w *wire.Device) space.ID { return w.ID }) {
		if _, err := w.Record(); err != nil || t.path(w.SpaceID).IsZero() {
			return fmt.Errorf("device %s %q: no space, or %w", w.ID, w.Name, orInvalid(err))
		}
		if !claim(hardware, strings.ToLower(w.HardwareID), w.ID) || w.DeviceID != "" && !claim(hub, w.DeviceID, w.ID) {
			return fmt.Errorf("device %s %q: another device has its hardwareId or deviceId", w.ID, w.Name)
		}
		devices.put(t, w)
	}
	for _, w := range byID(c.Sensors, func(w *wire.Sensor) space.ID { return w.ID }) {
		if _, err := w.Record(); err != nil || t.path(w.SpaceID).IsZero() {
			return fmt.Errorf("sensor %s: no space, or %w", w.ID, orInvalid(err))
		}
		if _, ok := t.draft.devices.get(w.DeviceID); !ok {
			return fmt.Errorf("sensor %s: there is no device %s", w.ID, w.DeviceID)
		}
		if !claim(onSensors, strings.ToLower(w.HardwareID), w.ID) {
			return fmt.Errorf("sensor %s: another sensor has its hardwareId", w.ID)
		}
		sensors.put(t, w)
	}
	for i := range c.Functions {
		w := &c.Functions[i]
		if _, err := w.Record(); err != nil || t.path(w.SpaceID).IsZero() {
			return fmt.Errorf("function %s %q: no space, or %w", w.ID, w.Name, orInvalid(err))
		}
		functions.put(t, w)
	}
	for i := range c.Users {
		if w := &c.Users[i]; w.ID.IsZero() || t.path(w.SpaceID).IsZero() {
			return fmt.Errorf("user %s %q: no id or no space", w.ID, w.UPN)
		}
		users.put(t, &c.Users[i])
	}
	for i := range c.KeyStores {
		if w := &c.KeyStores[i]; w.ID.IsZero() || w.SpaceID.IsZero() || t.path(w.SpaceID).IsZero() {
			return fmt.Errorf("key store %s %q: no id or no space", w.ID, w.Name)
		}
		keyStores.put(t, &c.KeyStores[i])
	}
	return nil
}

func (t *tx) importGrants(c *Content) error {
	known := make(map[granted]bool, len(c.Assignments))
	for _, a := range t.draft.assignments.all() {
		known[grantOf(a)] = true
	}
	for _, a := range byID(c.Assignments, func(a *model.Assignment) space.ID { return a.ID }) {
		if err := a.Validate(); err != nil {
			return err
		}
		if old, again := t.draft.assignments.get(a.ID); again {
			delete(known, grantOf(old))
		} else if err := t.checkAssignment(a); err != nil {
			return fmt.Errorf("assignment %s: %w", a.ID, err)
		} else if known[grantOf(a)] {
			return fmt.Errorf("assignment %s: %w", a.ID, errGrantExists)
		}
		known[grantOf(a)] = true
		t.putAssignment(a)
	}
	for i := range c.CAs {
		if ca := &c.CAs[i]; ca.ID.IsZero() || !ca.Path.IsRoot() && t.paths[ca.Path.Space()] != ca.Path {
			return fmt.Errorf("certificate authority %s: no id, or no such path", ca.ID)
		}
		authorities.put(t, &c.CAs[i])
	}
	for i := range c.AzureRoles {
		t.putAzureRole(&c.AzureRoles[i])
	}
	for i := range c.AzureAssignments {
		if err := c.AzureAssignments[i].Validate(); err != nil {
			return err
		}
		t.putAzureAssignment(&c.AzureAssignments[i])
	}
	for i := range c.AzureDenies {
		t.putAzureDeny(&c.AzureDenies[i])
	}
	return nil
}

// byID sorts what is imported in the order of the rows, so that in an empty store each of
// thousands is appended instead of inserted between others.
func byID[T any](list []T, id func(*T) space.ID) []*T {
	sorted := make([]*T, len(list))
	for i := range list {
		sorted[i] = &list[i]
	}
	slices.SortStableFunc(sorted, func(a, b *T) int { return compareID(id(a), id(b)) })
	return sorted
}

// claim takes a name for an object; false: another one has it.
func claim(taken map[string]space.ID, name string, id space.ID) bool {
	if other, ok := taken[name]; ok && other != id {
		return false
	}
	taken[name] = id
	return true
}

func orInvalid(err error) error {
	if err == nil {
		return wire.ErrInvalid
	}
	return err
}
