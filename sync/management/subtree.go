package management

import (
	"cmp"
	"maps"
	"slices"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

func (t *tx) putSpace(w *wire.Space) {
	before := t.paths[w.ID]
	after := t.path(w.ParentSpaceID).Join(w.ID)
	if before != after {
		t.setPath(w.ID, after)
	}
	write(t, &t.draft.spaces, wire.TypeSpace, w.ID, w, before, after)
}

// move rewrites the place of a subtree: the space's own record, the paths of
// all spaces below, and every assignment and certificate authority that is
// bound to one of those paths, in one transaction. Objects whose record does
// not say where the space is are still named in the feed: a gateway that sees
// one side of the move only gains or loses them.
func (t *tx) move(w *wire.Space, from, to space.Path) {
	moved := func(p space.Path) (space.Path, bool) {
		if !from.Covers(p) {
			return space.Path{}, false
		}
		if p == from {
			return to, true
		}
		q, err := space.ParsePath(to.String() + p.String()[len(from.String()):])
		return q, err == nil // the depth was checked: it parses
	}
	old := maps.Clone(t.paths)
	for id, p := range old {
		if q, ok := moved(p); ok {
			t.setPath(id, q)
		}
	}
	write(t, &t.draft.spaces, wire.TypeSpace, w.ID, w, from, to)
	for id := range t.draft.spaces.all() {
		if q, ok := moved(old[id]); ok && id != w.ID {
			t.touch(wire.TypeSpace, id, old[id], q)
		}
	}
	touchMoved(t, t.draft.devices.table, wire.TypeDevice, moved, func(v *wire.Device) space.Path { return old[v.SpaceID] })
	touchMoved(t, t.draft.sensors.table, wire.TypeSensor, moved, func(v *wire.Sensor) space.Path { return old[v.SpaceID] })
	touchMoved(t, t.draft.functions.table, wire.TypeFunction, moved, func(v *wire.Function) space.Path { return old[v.SpaceID] })
	touchMoved(t, t.draft.users.table, wire.TypeUser, moved, func(v *wire.User) space.Path { return old[v.SpaceID] })
	touchMoved(t, t.draft.keystores.table, wire.TypeKeyStore, moved, func(v *wire.KeyStore) space.Path { return old[v.SpaceID] })
	for _, v := range below(t.draft.assignments.table, from, func(v *model.Assignment) space.Path { return v.Path }) {
		a := *v
		a.Path, _ = moved(v.Path)
		t.putAssignment(&a)
	}
	for _, v := range below(t.draft.cas.table, from, func(v *device.CA) space.Path { return v.Path }) {
		ca := *v
		ca.Path, _ = moved(v.Path)
		t.putCA(&ca)
	}
}

func touchMoved[T any](t *tx, rows table[T], kind string, moved func(space.Path) (space.Path, bool), at func(*T) space.Path) {
	for id, v := range rows.all() {
		before := at(v)
		if after, ok := moved(before); ok {
			t.touch(kind, id, before, after)
		}
	}
}

// below collects the rows at or below a path, for a caller that will write.
func below[T any](rows table[T], from space.Path, at func(*T) space.Path) []*T {
	var list []*T
	for _, v := range rows.all() {
		if from.Covers(at(v)) {
			list = append(list, v)
		}
	}
	return list
}

// removeSubtree takes away everything at and below a path.
func (t *tx) removeSubtree(at space.Path) {
	for _, v := range below(t.draft.devices.table, at, func(v *wire.Device) space.Path { return t.path(v.SpaceID) }) {
		t.removeDevice(v)
	}
	for _, v := range below(t.draft.functions.table, at, func(v *wire.Function) space.Path { return t.path(v.SpaceID) }) {
		t.removeFunction(v)
	}
	for _, v := range below(t.draft.users.table, at, func(v *wire.User) space.Path { return t.path(v.SpaceID) }) {
		t.removeUser(v)
	}
	for _, v := range below(t.draft.keystores.table, at, func(v *wire.KeyStore) space.Path { return t.path(v.SpaceID) }) {
		t.removeKeyStore(v)
	}
	for _, v := range below(t.draft.assignments.table, at, func(v *model.Assignment) space.Path { return v.Path }) {
		t.removeAssignment(v)
	}
	for _, v := range below(t.draft.cas.table, at, func(v *device.CA) space.Path { return v.Path }) {
		t.removeCA(v)
	}
	var ids []space.ID
	for id, p := range t.paths {
		if at.Covers(p) {
			ids = append(ids, id)
		}
	}
	// Deepest first, so that a reader of the feed never holds an orphan.
	slices.SortFunc(ids, func(a, b space.ID) int {
		return cmp.Or(cmp.Compare(t.paths[b].Depth(), t.paths[a].Depth()), compareID(a, b))
	})
	for _, id := range ids {
		write[wire.Space](t, &t.draft.spaces, wire.TypeSpace, id, nil, t.paths[id], space.Path{})
		t.setPath(id, space.Path{})
	}
}
