package device

import "github.com/gatehouse/gatehouse/device/space"

// spread marks the devices about which an answer may differ between the old
// topology and next: the changed ones, all that name one of them as their gateway
// (and those below), and the gateways of all these. Names are followed even where
// they resolve to nobody, because that may be what changed.
func (d *draft) spread(next *Topology) *shardedMap[space.ID, uint64] {
	for id := range d.senIDs {
		if e, ok := next.sensors.get(id); ok {
			d.near[e.Device] = true
		}
	}
	marked := make(map[space.ID]bool)
	for _, t := range []*Topology{d.old, next} {
		for id := range d.devIDs {
			t.markBelow(id, marked)
		}
	}
	for id := range d.near {
		marked[id] = true
	}
	all := make(map[space.ID]bool, len(marked))
	for _, t := range []*Topology{d.old, next} {
		seen := make(map[space.ID]bool)
		for id := range marked {
			t.markAbove(id, seen)
		}
		for id := range seen {
			all[id] = true
		}
	}
	if len(all) == 0 {
		return d.old.touched
	}
	out := edited(d.old.touched)
	// A device that is gone is marked too, because its version must not seem to
	// go back if it returns. The mark stays until the registry is next built as
	// a whole.
	for id := range all {
		out.set(id, next.version)
	}
	return out.next
}

// markBelow marks id and everything whose chain of gateways may lead to it.
func (t *Topology) markBelow(id space.ID, marked map[space.ID]bool) {
	seen := map[space.ID]bool{id: true}
	for todo := []space.ID{id}; len(todo) > 0; {
		at := todo[0]
		todo = todo[1:]
		marked[at] = true
		e, ok := t.devices.get(at)
		if !ok {
			continue
		}
		for _, c := range names(e) {
			ids, _ := t.named.get(c)
			for _, child := range ids {
				if !seen[child] {
					seen[child] = true
					todo = append(todo, child)
				}
			}
		}
	}
}

// markAbove marks id and the gateways on its chain.
func (t *Topology) markAbove(id space.ID, seen map[space.ID]bool) {
	for e, ok := t.devices.get(id); !seen[id]; {
		seen[id] = true
		if !ok {
			return
		}
		if e = t.gatewayOf(e); e == nil {
			return
		}
		id = e.ID
	}
}
