package management

import (
	"cmp"
	"maps"
	"slices"

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
		return q, err == nil // it parses, because the depth was checked before
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
	devices.touchMoved(t, old, moved)
	sensors.touchMoved(t, old, moved)
	functions.touchMoved(t, old, moved)
	users.touchMoved(t, old, moved)
	keyStores.touchMoved(t, old, moved)
	for _, v := range assignments.below(t, from) {
		a := *v
		a.Path, _ = moved(v.Path)
		t.putAssignment(&a)
	}
	for _, v := range authorities.below(t, from) {
		ca := *v
		ca.Path, _ = moved(v.Path)
		authorities.put(t, &ca)
	}
}

// removeSubtree takes away everything at and below a path.
func (t *tx) removeSubtree(at space.Path) {
	t.removeDevices(devices.below(t, at)...)
	t.removeFunctions(functions.below(t, at)...)
	for _, v := range users.below(t, at) {
		users.drop(t, v)
	}
	for _, v := range keyStores.below(t, at) {
		keyStores.drop(t, v)
	}
	for _, v := range assignments.below(t, at) {
		t.removeAssignment(v)
	}
	for _, v := range authorities.below(t, at) {
		authorities.drop(t, v)
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
