package management

import (
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// tables is everything that the server knows, at one version.
type tables[A, S, D, N, F, U, K, C, AA, AR, AD any] struct {
	assignments      A
	spaces           S
	devices          D
	sensors          N
	functions        F
	users            U
	keystores        K
	cas              C
	azureAssignments AA
	azureRoles       AR
	azureDenies      AD
}

type (
	frozen = tables[table[model.Assignment], table[wire.Space], table[wire.Device], table[wire.Sensor],
		table[wire.Function], table[wire.User], table[wire.KeyStore], table[device.CA],
		table[model.AzureAssignment], table[model.AzureRole], table[model.AzureDeny]]
	draft = tables[edit[model.Assignment], edit[wire.Space], edit[wire.Device], edit[wire.Sensor],
		edit[wire.Function], edit[wire.User], edit[wire.KeyStore], edit[device.CA],
		edit[model.AzureAssignment], edit[model.AzureRole], edit[model.AzureDeny]]
)

// state is one immutable snapshot. changed is closed when its successor is
// published: that is what long polls wait for.
type state struct {
	frozen
	version model.Version
	paths   paths
	policy  policy
	hub     string // the IoT Hub host name of connection strings
	feed    ring
	changed chan struct{}
}

func newState(epoch uint64) *state {
	return &state{
		version: model.Version{Epoch: epoch},
		paths:   paths{},
		changed: make(chan struct{}),
	}
}

// paths holds the path of every space.
type paths map[space.ID]space.Path

// path is the place of a space; "/" for the zero id, the zero path for an
// unknown one.
func (p paths) path(id space.ID) space.Path {
	if id.IsZero() {
		return space.Root
	}
	return p[id]
}

func (s *state) path(id space.ID) space.Path { return s.paths.path(id) }

// exists tells whether p is a place of this tree.
func (s *state) exists(p space.Path) bool {
	return p.IsRoot() || !p.IsZero() && s.paths[p.Space()] == p
}

// snapshot is the policy part of the state.
func (s *state) snapshot() model.Snapshot {
	return model.Snapshot{
		Version:          s.version,
		Roles:            model.SystemRoles(),
		Assignments:      values(s.assignments),
		AzureRoles:       values(s.azureRoles),
		AzureAssignments: values(s.azureAssignments),
		AzureDenies:      values(s.azureDenies),
	}
}

func values[T any](t table[T]) []T {
	list := make([]T, 0, t.len())
	for _, v := range t.all() {
		list = append(list, *v)
	}
	return list
}

// thaw opens all tables for writing, freeze closes them.
func thaw(f frozen) draft {
	return draft{
		assignments: open(f.assignments), spaces: open(f.spaces), devices: open(f.devices), sensors: open(f.sensors),
		functions: open(f.functions), users: open(f.users), keystores: open(f.keystores), cas: open(f.cas),
		azureAssignments: open(f.azureAssignments), azureRoles: open(f.azureRoles), azureDenies: open(f.azureDenies),
	}
}

func freeze(d *draft) frozen {
	return frozen{
		assignments: d.assignments.table, spaces: d.spaces.table, devices: d.devices.table, sensors: d.sensors.table,
		functions: d.functions.table, users: d.users.table, keystores: d.keystores.table, cas: d.cas.table,
		azureAssignments: d.azureAssignments.table, azureRoles: d.azureRoles.table, azureDenies: d.azureDenies.table,
	}
}

func open[T any](t table[T]) edit[T] { return edit[T]{table: t} }
