package management

import (
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// allRows is everything that the server knows, at one version: the rows of each
// kind, or, in a draft, the edits of them.
type allRows[A, S, D, N, F, U, K, C, AA, AR, AD any] struct {
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
	frozen = allRows[rows[model.Assignment], rows[wire.Space], rows[wire.Device], rows[wire.Sensor],
		rows[wire.Function], rows[wire.User], rows[wire.KeyStore], rows[device.CA],
		rows[model.AzureAssignment], rows[model.AzureRole], rows[model.AzureDeny]]
	draft = allRows[edit[model.Assignment], edit[wire.Space], edit[wire.Device], edit[wire.Sensor],
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

func values[T any](t rows[T]) []T {
	list := make([]T, 0, t.len())
	for _, v := range t.all() {
		list = append(list, *v)
	}
	return list
}

// thaw makes a draft of the rows of all kinds, and freeze makes a snapshot of the
// draft.
func thaw(f frozen) draft {
	return draft{
		assignments:      open(f.assignments),
		spaces:           open(f.spaces),
		devices:          open(f.devices),
		sensors:          open(f.sensors),
		functions:        open(f.functions),
		users:            open(f.users),
		keystores:        open(f.keystores),
		cas:              open(f.cas),
		azureAssignments: open(f.azureAssignments),
		azureRoles:       open(f.azureRoles),
		azureDenies:      open(f.azureDenies),
	}
}

func freeze(d *draft) frozen {
	return frozen{
		assignments:      d.assignments.rows,
		spaces:           d.spaces.rows,
		devices:          d.devices.rows,
		sensors:          d.sensors.rows,
		functions:        d.functions.rows,
		users:            d.users.rows,
		keystores:        d.keystores.rows,
		cas:              d.cas.rows,
		azureAssignments: d.azureAssignments.rows,
		azureRoles:       d.azureRoles.rows,
		azureDenies:      d.azureDenies.rows,
	}
}

func open[T any](r rows[T]) edit[T] { return edit[T]{rows: r} }
