package management

import (
	"maps"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// tx is one transaction: the draft of the next snapshot, what it writes to the
// store, what it says in the feed, and what it does to the policy. It reads
// its own writes. Used by one goroutine, under the server's write lock.
type tx struct {
	base   *state
	draft  draft
	paths  map[space.ID]space.Path
	moved  bool // paths is our own copy
	ops    []Op
	log    []event
	policy model.ChangeSet
}

func begin(base *state) *tx {
	return &tx{base: base, draft: thaw(base.frozen), paths: base.paths}
}

func (t *tx) path(id space.ID) space.Path {
	if id.IsZero() {
		return space.Root
	}
	return t.paths[id]
}

func (t *tx) setPath(id space.ID, p space.Path) {
	if !t.moved {
		t.paths, t.moved = maps.Clone(t.paths), true
	}
	if p.IsZero() {
		delete(t.paths, id)
	} else {
		t.paths[id] = p
	}
}

// write stores one row (v nil: deletes it) and logs what became of it.
func write[T any](t *tx, e *edit[T], kind string, id space.ID, v *T, before, after space.Path) {
	if v == nil {
		e.remove(id)
		t.ops = append(t.ops, Op{Key: rowKey(kind, id)})
		after = space.Path{}
	} else {
		e.put(id, v)
		t.ops = append(t.ops, Op{Key: rowKey(kind, id), Value: encodeRow(v)})
	}
	t.log = append(t.log, event{Type: kind, ID: id, Before: before, After: after})
}

// touch logs an object whose place changed while its record did not.
func (t *tx) touch(kind string, id space.ID, before, after space.Path) {
	t.log = append(t.log, event{Type: kind, ID: id, Before: before, After: after})
}

func (t *tx) putAssignment(a *model.Assignment) {
	var before space.Path
	if old, ok := t.draft.assignments.get(a.ID); ok {
		before = old.Path
	}
	write(t, &t.draft.assignments, wire.TypeAssignment, a.ID, a, before, a.Path)
	t.log[len(t.log)-1].Who = a.Who
	t.policy.PutAssignments = append(t.policy.PutAssignments, *a)
}

func (t *tx) removeAssignment(a *model.Assignment) {
	write(t, &t.draft.assignments, wire.TypeAssignment, a.ID, nil, a.Path, space.Path{})
	t.log[len(t.log)-1].Who = a.Who
	t.policy.RemoveAssigns = append(t.policy.RemoveAssigns, a.ID)
}

// removeAssignmentsOf takes away what was granted to an object that is gone.
func (t *tx) removeAssignmentsOf(who model.Identity) {
	var gone []*model.Assignment
	for _, a := range t.draft.assignments.all() {
		if a.Who == who {
			gone = append(gone, a)
		}
	}
	for _, a := range gone {
		t.removeAssignment(a)
	}
}

func (t *tx) putDevice(d *wire.Device) {
	var before space.Path
	if old, ok := t.draft.devices.get(d.ID); ok {
		before = t.path(old.SpaceID)
	}
	write(t, &t.draft.devices, wire.TypeDevice, d.ID, d, before, t.path(d.SpaceID))
}

// removeDevice takes the device, its sensors and what was granted to it.
func (t *tx) removeDevice(d *wire.Device) {
	for _, n := range t.sensorsOf(d.ID) {
		t.removeSensor(n)
	}
	t.removeAssignmentsOf(model.Identity{Kind: model.DeviceID, Object: d.ID})
	write[wire.Device](t, &t.draft.devices, wire.TypeDevice, d.ID, nil, t.path(d.SpaceID), space.Path{})
}

func (t *tx) sensorsOf(id space.ID) []*wire.Sensor {
	var list []*wire.Sensor
	for _, n := range t.draft.sensors.all() {
		if n.DeviceID == id {
			list = append(list, n)
		}
	}
	return list
}

func (t *tx) putSensor(n *wire.Sensor) {
	var before space.Path
	if old, ok := t.draft.sensors.get(n.ID); ok {
		before = t.path(old.SpaceID)
	}
	write(t, &t.draft.sensors, wire.TypeSensor, n.ID, n, before, t.path(n.SpaceID))
}

func (t *tx) removeSensor(n *wire.Sensor) {
	write[wire.Sensor](t, &t.draft.sensors, wire.TypeSensor, n.ID, nil, t.path(n.SpaceID), space.Path{})
}

func (t *tx) putFunction(f *wire.Function) {
	var before space.Path
	if old, ok := t.draft.functions.get(f.ID); ok {
		before = t.path(old.SpaceID)
	}
	write(t, &t.draft.functions, wire.TypeFunction, f.ID, f, before, t.path(f.SpaceID))
}

func (t *tx) removeFunction(f *wire.Function) {
	t.removeAssignmentsOf(model.Identity{Kind: model.UserDefinedFunctionID, Object: f.ID})
	write[wire.Function](t, &t.draft.functions, wire.TypeFunction, f.ID, nil, t.path(f.SpaceID), space.Path{})
}

func (t *tx) putUser(u *wire.User) {
	var before space.Path
	if old, ok := t.draft.users.get(u.ID); ok {
		before = t.path(old.SpaceID)
	}
	write(t, &t.draft.users, wire.TypeUser, u.ID, u, before, t.path(u.SpaceID))
}

func (t *tx) removeUser(u *wire.User) {
	write[wire.User](t, &t.draft.users, wire.TypeUser, u.ID, nil, t.path(u.SpaceID), space.Path{})
}

func (t *tx) putKeyStore(k *wire.KeyStore) {
	var before space.Path
	if old, ok := t.draft.keystores.get(k.ID); ok {
		before = t.path(old.SpaceID)
	}
	write(t, &t.draft.keystores, wire.TypeKeyStore, k.ID, k, before, t.path(k.SpaceID))
}

func (t *tx) removeKeyStore(k *wire.KeyStore) {
	write[wire.KeyStore](t, &t.draft.keystores, wire.TypeKeyStore, k.ID, nil, t.path(k.SpaceID), space.Path{})
}

func (t *tx) putCA(c *device.CA) {
	var before space.Path
	if old, ok := t.draft.cas.get(c.ID); ok {
		before = old.Path
	}
	write(t, &t.draft.cas, wire.TypeCA, c.ID, c, before, c.Path)
}

func (t *tx) removeCA(c *device.CA) {
	write[device.CA](t, &t.draft.cas, wire.TypeCA, c.ID, nil, c.Path, space.Path{})
}

// seal builds the successor of the base and everything that Commit must write.
func (t *tx) seal(limit int) (*state, []Op) {
	version := t.base.version
	version.Number++
	t.policy.From, t.policy.To = t.base.version, version
	for i := range t.log {
		t.log[i].Number = version.Number
	}
	feed, ops := t.base.feed.add(t.log, version.Number, limit)
	next := &state{
		frozen: freeze(&t.draft), version: version, paths: t.paths,
		hub: t.base.hub, feed: feed, changed: make(chan struct{}),
	}
	ops = append(t.ops, ops...)
	return next, append(ops, metaOp(version, feed.floor))
}
