package device

import (
	"fmt"
	"slices"

	"github.com/gatehouse/gatehouse/device/space"
)

// judge decides again about every record that a change may have brought into
// a collision or out of one.
func (d *draft) judge() {
	d.claims.mark(d.devIDs)
	d.labels.mark(d.senIDs)
	for id := range d.devIDs {
		e, ok := d.devices.get(id)
		if !ok {
			continue
		}
		d.forget("Device", id)
		problems := d.deviceProblems(e)
		refused := false
		for _, p := range problems {
			refused = refused || p.Type == "Device" && p.Refuses()
			d.note(p)
		}
		if refused != e.refused {
			next := *e
			next.refused = refused
			d.devices.set(id, &next)
		}
	}
	for id := range d.senIDs {
		e, ok := d.sensors.get(id)
		if !ok {
			continue
		}
		d.forget("Sensor", id)
		problems := d.sensorProblems(e)
		for _, p := range problems {
			d.note(p)
		}
		if refused := len(problems) > 0; refused != e.refused {
			next := *e
			next.refused = refused
			d.sensors.set(id, &next)
		}
	}
}

func (d *draft) deviceProblems(e *deviceEntry) []Problem {
	var found []Problem
	add := func(reason, detail string, with []space.ID) {
		found = append(found, Problem{Type: "Device", ID: e.ID, Reason: reason, Detail: detail, With: with})
	}
	if err := CheckID(e.HubID); err != nil {
		add(BadID, "hub device "+err.Error(), nil)
	}
	if e.HardwareID != "" {
		if err := CheckID(e.HardwareID); err != nil {
			add(BadID, "hardware "+err.Error(), nil)
		}
	}
	for _, c := range claimsOf(&e.Device) {
		ids, _ := d.claims.get(c)
		if len(ids) < 2 {
			continue
		}
		with := others(ids, e.ID)
		switch c.kind {
		case claimHubID:
			add(DuplicateHubID, fmt.Sprintf("%q", c.text), with)
		case claimHardwareID:
			add(DuplicateHardwareID, fmt.Sprintf("%q", c.text), with)
		default:
			add(DuplicateThumbprint, fmt.Sprintf("%X", c.text), with)
		}
	}
	// A broken module does not make its device unusable: Device.Module just
	// does not find it.
	for i, m := range e.Modules {
		p := Problem{Type: "Module", ID: e.ID}
		if err := CheckID(m.ID); err != nil {
			p.Reason, p.Detail = BadID, fmt.Sprintf("module %d: %s", i+1, err)
		} else if slices.ContainsFunc(e.Modules[:i], func(o Module) bool { return o.ID == m.ID }) {
			p.Reason, p.Detail = DuplicateModule, fmt.Sprintf("%q", m.ID)
		} else {
			continue
		}
		found = append(found, p)
	}
	return found
}

func (d *draft) sensorProblems(e *sensorEntry) []Problem {
	if err := CheckID(e.HardwareID); err != nil {
		return []Problem{{Type: "Sensor", ID: e.ID, Reason: BadID, Detail: "hardware " + err.Error()}}
	}
	ids, _ := d.labels.get(claim{claimHardwareID, e.HardwareID})
	if len(ids) < 2 {
		return nil
	}
	return []Problem{
		{Type: "Sensor", ID: e.ID, Reason: DuplicateHardwareID, Detail: fmt.Sprintf("%q", e.HardwareID), With: others(ids, e.ID)},
	}
}

// maxWith bounds how many of the other records of a collision a Problem names.
const maxWith = 16

func others(ids []space.ID, not space.ID) []space.ID {
	var out []space.ID
	for i, id := range ids {
		if id != not && (i == 0 || id != ids[i-1]) {
			out = append(out, id)
		}
		if len(out) == maxWith {
			break
		}
	}
	return out
}

// place finds the path of every space. If the parent of a space is in the
// registry, its path decides; only a space whose parent is elsewhere keeps the
// path of its own record. A space in a cycle, or deeper than a path may be, has
// no path.
func (d *draft) place() *shardedMap[space.ID, space.Path] {
	next := edited(&shardedMap[space.ID, space.Path]{slot: slotOfID})
	done := make(map[space.ID]bool)
	var walk func(id space.ID, level int) space.Path
	walk = func(id space.ID, level int) space.Path {
		if done[id] {
			p, _ := next.get(id)
			return p
		}
		s, _ := d.spaces.get(id)
		var p space.Path
		if s.Parent.IsZero() {
			p = space.Root.Join(id)
		} else if _, ok := d.spaces.get(s.Parent); ok {
			if level < space.MaxDepth {
				p = walk(s.Parent, level+1).Join(id)
			}
		} else if s.Path.Space() == id {
			if up, ok := s.Path.Parent(); ok && up.Space() == s.Parent {
				p = s.Path
			}
		}
		if p.Depth() > space.MaxDepth {
			p = space.Path{}
		}
		// A walk that a cycle or the maximal depth has ended is final only for
		// the space that it began with: for the others, the result depends on
		// where it began.
		if !p.IsZero() || level == 0 {
			done[id] = true
			if !p.IsZero() {
				next.set(id, p)
			}
		}
		return p
	}
	for id := range d.spaces.next.all() {
		d.forget("Space", id)
		if walk(id, 0).IsZero() {
			d.note(Problem{Type: "Space", ID: id, Reason: NoPath, Detail: "parent unknown, in a cycle, or too deep"})
		}
	}
	return share(d.old.paths, next.next)
}

// share keeps the shards of old that hold the same paths, or all of old if
// all do.
func share(old, next *shardedMap[space.ID, space.Path]) *shardedMap[space.ID, space.Path] {
	shared := 0
	for i, m := range next.shard {
		same := len(m) == len(old.shard[i])
		for id, p := range m {
			if !same {
				break
			}
			same = old.shard[i][id] == p
		}
		if same {
			next.shard[i] = old.shard[i]
			shared++
		}
	}
	if shared == shards {
		return old
	}
	return next
}

func (d *draft) note(p Problem) {
	ps, _ := d.problems.get(p.ID)
	if slices.ContainsFunc(ps, func(q Problem) bool { return q.Type == p.Type && q.Reason == p.Reason && q.Detail == p.Detail }) {
		return
	}
	d.problems.set(p.ID, append(slices.Clone(ps), p))
}

// forget drops what was noted about one record; a device's problems include
// those of its modules.
func (d *draft) forget(typ string, id space.ID) {
	ps, ok := d.problems.get(id)
	if !ok {
		return
	}
	left := slices.DeleteFunc(slices.Clone(ps), func(p Problem) bool {
		return p.Type == typ || (typ == "Device" && p.Type == "Module")
	})
	if len(left) == 0 {
		d.problems.drop(id)
		return
	}
	d.problems.set(id, left)
}
