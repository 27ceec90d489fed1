package management

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// tx is one transaction: the draft of the next snapshot, what it writes to the
// store, what it says in the feed, and what it does to the policy. It reads
// its own writes. Used by one goroutine, under the server's write lock.
type tx struct {
	base   *state
	draft  draft
	paths  paths
	moved  bool // paths is our own copy
	ops    []Op
	log    []event
	policy model.ChangeSet
}

func begin(base *state) *tx {
	return &tx{base: base, draft: thaw(base.frozen), paths: base.paths}
}

func (t *tx) path(id space.ID) space.Path { return t.paths.path(id) }

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
	assignments.put(t, a)
	t.log[len(t.log)-1].Who = a.Who
	t.policy.PutAssignments = append(t.policy.PutAssignments, *a)
}

func (t *tx) removeAssignment(a *model.Assignment) {
	assignments.drop(t, a)
	t.log[len(t.log)-1].Who = a.Who
	t.policy.RemoveAssigns = append(t.policy.RemoveAssigns, a.ID)
}

// removeAssignmentsOf takes away what was granted to objects that are gone.
func (t *tx) removeAssignmentsOf(who map[model.Identity]bool) {
	var gone []*model.Assignment
	for _, a := range t.draft.assignments.all() {
		if who[a.Who] {
			gone = append(gone, a)
		}
	}
	for _, a := range gone {
		t.removeAssignment(a)
	}
}

// removeDevices takes devices, their sensors and what was granted to them. All
// sensors and assignments are looked at once, however many devices go.
func (t *tx) removeDevices(list ...*wire.Device) {
	ids, who := map[space.ID]bool{}, map[model.Identity]bool{}
	for _, d := range list {
		ids[d.ID], who[model.Identity{Kind: model.DeviceID, Object: d.ID}] = true, true
	}
	for _, n := range t.sensorsOf(ids) {
		sensors.drop(t, n)
	}
	t.removeAssignmentsOf(who)
	for _, d := range list {
		devices.drop(t, d)
	}
}

func (t *tx) sensorsOf(devices map[space.ID]bool) []*wire.Sensor {
	var list []*wire.Sensor
	for _, n := range t.draft.sensors.all() {
		if devices[n.DeviceID] {
			list = append(list, n)
		}
	}
	return list
}

// removeFunctions takes functions and what was granted to them.
func (t *tx) removeFunctions(list ...*wire.Function) {
	who := map[model.Identity]bool{}
	for _, f := range list {
		who[model.Identity{Kind: model.UserDefinedFunctionID, Object: f.ID}] = true
	}
	t.removeAssignmentsOf(who)
	for _, f := range list {
		functions.drop(t, f)
	}
}

// seal builds the successor of the base and everything that Commit must write.
func (t *tx) seal(limit int) (*state, []Op) {
	version := t.base.version
	version.Number++
	for i := range t.log {
		t.log[i].Number = version.Number
	}
	version.History = t.history(version)
	t.policy.From, t.policy.To = t.base.version, version
	feed, ops := t.base.feed.add(t.log, version, limit)
	next := &state{
		frozen:  freeze(&t.draft),
		version: version,
		paths:   t.paths,
		hub:     t.base.hub,
		feed:    feed,
		changed: make(chan struct{}),
	}
	ops = append(t.ops, ops...)
	return next, append(ops, metaOp(version, feed))
}

// history chains what the transaction writes to the history of its base: two
// servers have the same history if, and only if, they made the same changes.
func (t *tx) history(v model.Version) string {
	h := sha256.New()
	part := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		_, _ = h.Write(n[:]) // a hash never fails
		_, _ = h.Write(b)
	}
	part([]byte(t.base.version.History))
	part([]byte(model.Version{Epoch: v.Epoch, Number: v.Number}.String()))
	for _, o := range t.ops {
		part([]byte(o.Key))
		part(o.Value)
	}
	part(encodeRow(t.log))
	return hex.EncodeToString(h.Sum(nil)[:16])
}
