package device

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/device/space"
)

// Apply derives the topology after c, one version on: removals first, then
// puts by id. A put that names an id twice within c is refused for that id.
// t is unchanged. The problems are all that exist afterwards, not only new ones.
func (t *Topology) Apply(c Changes) (*Topology, []Problem) {
	d := &draft{
		old:      t,
		spaces:   edited(t.spaces),
		devices:  edited(t.devices),
		claims:   listed(t.claims),
		named:    listed(t.named),
		sensors:  edited(t.sensors),
		labels:   listed(t.labels),
		mounted:  listed(t.mounted),
		funcs:    edited(t.functions),
		problems: edited(t.problems),
		devIDs:   make(map[space.ID]bool),
		senIDs:   make(map[space.ID]bool),
		near:     make(map[space.ID]bool),
	}
	d.apply(&c)
	d.judge()
	paths := t.paths
	if len(c.PutSpaces)+len(c.RemoveSpaces) > 0 {
		paths = d.place()
	}
	next := &Topology{
		version:   t.version + 1,
		depth:     t.depth,
		spaces:    d.spaces.next,
		paths:     paths,
		devices:   d.devices.next,
		claims:    d.claims.next,
		named:     d.named.next,
		sensors:   d.sensors.next,
		labels:    d.labels.next,
		mounted:   d.mounted.next,
		functions: d.funcs.next,
		cas:       d.authorities(&c),
		problems:  d.problems.next,
		placed:    t.placed,
		touched:   t.touched,
	}
	if paths != t.paths || t.placed == 0 {
		next.placed = next.version
	} else {
		next.touched = d.spread(next)
	}
	return next, next.Problems()
}

// draft is the next topology while it is built.
type draft struct {
	old      *Topology
	spaces   *edit[space.ID, Space]
	devices  *edit[space.ID, *deviceEntry]
	claims   *lists[claim]
	named    *lists[claim]
	sensors  *edit[space.ID, *sensorEntry]
	labels   *lists[claim]
	mounted  *lists[space.ID]
	funcs    *edit[space.ID, *Function]
	problems *edit[space.ID, []Problem]

	devIDs, senIDs map[space.ID]bool // records to be judged again
	near           map[space.ID]bool // devices whose sensors came or went
}

func (d *draft) apply(c *Changes) {
	for _, id := range c.RemoveSpaces {
		d.forget("Space", id)
		d.spaces.drop(id)
	}
	for _, id := range c.RemoveDevices {
		d.removeDevice(id)
	}
	for _, id := range c.RemoveSensors {
		d.removeSensor(id)
	}
	for _, id := range c.RemoveFunctions {
		d.forget("Function", id)
		d.funcs.drop(id)
	}
	for _, s := range once(d, "Space", c.PutSpaces, func(s *Space) space.ID { return s.ID }, d.spaces.drop) {
		d.spaces.set(s.ID, *s)
	}
	for _, v := range once(d, "Device", c.PutDevices, func(v *Device) space.ID { return v.ID }, d.removeDevice) {
		d.putDevice(v)
	}
	for _, s := range once(d, "Sensor", c.PutSensors, func(s *Sensor) space.ID { return s.ID }, d.removeSensor) {
		d.putSensor(s)
	}
	for _, f := range once(d, "Function", c.PutFunctions, func(f *Function) space.ID { return f.ID }, d.funcs.drop) {
		cp := *f
		d.funcs.set(f.ID, &cp)
	}
}

// once returns the puts whose record has an id of its own. An id that comes
// twice in a change, or a record without one, says nothing that could be
// trusted: what was known of the id before is removed, and a Problem says why.
func once[R any](d *draft, typ string, puts []R, id func(*R) space.ID, remove func(space.ID)) []*R {
	count := make(map[space.ID]int, len(puts))
	for i := range puts {
		count[id(&puts[i])]++
	}
	good := make([]*R, 0, len(puts))
	for i := range puts {
		switch n := count[id(&puts[i])]; {
		case id(&puts[i]).IsZero():
			d.note(Problem{Type: typ, Reason: BadID, Detail: "record without id"})
		case n > 1:
			remove(id(&puts[i]))
			d.forget(typ, id(&puts[i]))
			d.note(Problem{Type: typ, ID: id(&puts[i]), Reason: DuplicateRecord, Detail: fmt.Sprintf("%d records of one id", n)})
		default:
			d.forget(typ, id(&puts[i]))
			good = append(good, &puts[i])
		}
	}
	return good
}

func (d *draft) removeDevice(id space.ID) {
	d.forget("Device", id)
	e, ok := d.devices.get(id)
	if !ok {
		return
	}
	d.devIDs[id] = true
	for _, c := range claimsOf(&e.Device) {
		d.claims.unlink(c, id)
	}
	for _, c := range gatewayNames(e) {
		d.named.unlink(c, id)
	}
	d.devices.drop(id)
}

func (d *draft) putDevice(v *Device) {
	d.removeDevice(v.ID)
	e := &deviceEntry{Device: *v, gateway: strings.TrimSpace(v.GatewayID)}
	if len(e.gateway) == 36 {
		e.guid, _ = space.ParseID(e.gateway)
	}
	for _, c := range claimsOf(v) {
		d.claims.link(c, v.ID)
	}
	for _, c := range gatewayNames(e) {
		d.named.link(c, v.ID)
	}
	d.devices.set(v.ID, e)
	d.devIDs[v.ID] = true
}

func (d *draft) removeSensor(id space.ID) {
	d.forget("Sensor", id)
	e, ok := d.sensors.get(id)
	if !ok {
		return
	}
	d.labels.unlink(claim{claimHardwareID, e.HardwareID}, id)
	d.mounted.unlink(e.Device, id)
	d.near[e.Device] = true
	d.sensors.drop(id)
}

func (d *draft) putSensor(s *Sensor) {
	d.removeSensor(s.ID)
	d.labels.link(claim{claimHardwareID, s.HardwareID}, s.ID)
	d.mounted.link(s.Device, s.ID)
	d.near[s.Device] = true
	d.sensors.set(s.ID, &sensorEntry{Sensor: *s})
	d.senIDs[s.ID] = true
}

// claimsOf lists what a device should have for itself. A certificate that the
// record names twice in one place counts once; one that is registered for the device
// and for its module counts twice, because they are two principals.
func claimsOf(v *Device) []claim {
	all := []claim{{claimHubID, v.HubID}}
	if v.HardwareID != "" {
		all = append(all, claim{claimHardwareID, v.HardwareID})
	}
	add := func(a *Auth) {
		for i, p := range a.Thumbprints {
			if !slices.Contains(a.Thumbprints[:i], p) {
				all = append(all, claim{claimThumbprint, string(p[:])})
			}
		}
		for i, p := range a.ThumbprintsSHA1 {
			if !slices.Contains(a.ThumbprintsSHA1[:i], p) {
				all = append(all, claim{claimThumbprint, string(p[:])})
			}
		}
	}
	add(&v.Auth)
	for i := range v.Modules {
		add(&v.Modules[i].Auth)
	}
	return all
}

func gatewayNames(e *deviceEntry) []claim {
	if e.gateway == "" {
		return nil
	}
	all := []claim{{nameText, e.gateway}}
	if !e.guid.IsZero() {
		all = append(all, claim{nameGUID, e.guid.String()})
	}
	return all
}

// lists is a map under change from what records have in common (a hub id, a
// gateway's name) to the ids of those records, in order. A list may be very
// long: those of the base are never written, and each is copied once.
type lists[K comparable] struct {
	*edit[K, []space.ID]
	changed map[K]bool // keys whose list was copied, written or deleted
}

func listed[K comparable](base *shardedMap[K, []space.ID]) *lists[K] {
	return &lists[K]{edited(base), map[K]bool{}}
}

// own is a list that may be written to.
func (l *lists[K]) own(k K) []space.ID {
	ids, _ := l.get(k)
	if !l.changed[k] {
		l.changed[k] = true
		ids = slices.Clone(ids)
	}
	return ids
}

func (l *lists[K]) link(k K, id space.ID) {
	ids := l.own(k)
	i, _ := slices.BinarySearchFunc(ids, id, compareID)
	l.set(k, slices.Insert(ids, i, id))
}

func (l *lists[K]) unlink(k K, id space.ID) {
	ids := l.own(k)
	i, _ := slices.BinarySearchFunc(ids, id, compareID)
	n := i
	for n < len(ids) && ids[n] == id {
		n++
	}
	if ids = slices.Delete(ids, i, n); len(ids) == 0 {
		l.drop(k)
		return
	}
	l.set(k, ids)
}

// mark adds the ids in every list that changed: for those records a collision
// may begin or end.
func (l *lists[K]) mark(ids map[space.ID]bool) {
	for k := range l.changed {
		list, _ := l.get(k)
		for _, id := range list {
			ids[id] = true
		}
	}
}

// authorities merges the CAs, a handful: a plain sorted list.
func (d *draft) authorities(c *Changes) []CA {
	if len(c.PutCAs)+len(c.RemoveCAs) == 0 {
		return d.old.cas
	}
	puts := once(d, "CertificateAuthority", c.PutCAs, func(a *CA) space.ID { return a.ID }, func(space.ID) {})
	next := make([]CA, 0, len(d.old.cas)+len(puts))
	for _, a := range d.old.cas {
		replaced := slices.ContainsFunc(c.PutCAs, func(p CA) bool { return p.ID == a.ID })
		if !replaced && !slices.Contains(c.RemoveCAs, a.ID) {
			next = append(next, a)
		}
	}
	for _, id := range c.RemoveCAs {
		d.forget("CertificateAuthority", id)
	}
	for _, a := range puts {
		next = append(next, *a)
	}
	slices.SortFunc(next, func(a, b CA) int { return compareID(a.ID, b.ID) })
	return next
}
