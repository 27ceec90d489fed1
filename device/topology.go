package device

import (
	"bytes"
	"cmp"
	"iter"
	"slices"

	"github.com/gatehouse/gatehouse/device/space"
)

// MaxActsForDepth bounds Options.ActsForDepth (docs/spec/semantics.md 3.2).
const MaxActsForDepth = 5

// Options of a Topology. They are kept by Apply.
type Options struct {
	// ActsForDepth is how many gateways may stand between an actor and the
	// device that it acts for, counting the actor: 1 (also for 0) means the
	// device's own gateway only; more than MaxActsForDepth is cut to it.
	ActsForDepth int
	// Version is the first version; 0 means 1. A rebuild that replaces a
	// topology passes a higher one than it had, because caches compare versions.
	Version uint64
}

// Topology is the registry at one version: immutable, safe for any number of
// readers, and indexed for the questions of the hot path, which allocate
// nothing. Apply derives the next one and shares whatever did not change.
//
// A record that collides with another (hub device id, hardware id) is refused
// together with all that it collides with: no lookup finds any of them, until
// the collision ends. They stay in Data. Collisions are judged over all records
// as they were given, refused ones included, so that the outcome does not depend
// on the order of arrival. Records that hold the same thumbprint are named in the
// problems and used (Problem.Refuses).
//
// Records handed in belong to the topology from then on; records handed out
// are shared and must not be changed.
type Topology struct {
	version uint64
	depth   int

	spaces    *shardedMap[space.ID, Space]
	paths     *shardedMap[space.ID, space.Path] // only spaces whose place is known
	devices   *shardedMap[space.ID, *deviceEntry]
	claims    *shardedMap[claim, []space.ID] // who claims a hub id, hardware id or thumbprint
	named     *shardedMap[claim, []space.ID] // which devices name this text or GUID as their gateway
	sensors   *shardedMap[space.ID, *sensorEntry]
	labels    *shardedMap[claim, []space.ID] // sensors by hardware id
	mounted   *shardedMap[space.ID, []space.ID]
	functions *shardedMap[space.ID, *Function]
	cas       []CA
	problems  *shardedMap[space.ID, []Problem]

	placed  uint64 // version at which a space last came, went or moved
	touched *shardedMap[space.ID, uint64]
}

// A claim is something that at most one record should have, or (in named) a way
// to name a gateway.
type claim struct {
	kind claimKind
	text string
}

type claimKind uint8

const (
	claimHubID claimKind = iota
	claimHardwareID
	claimThumbprint
	nameText
	nameGUID
)

type deviceEntry struct {
	Device
	refused bool
	gateway string   // GatewayID without blanks around it
	guid    space.ID // GatewayID as a GUID, zero if it is none
}

type sensorEntry struct {
	Sensor
	refused bool
}

// NewTopology indexes d. The problems name every record that is not used.
func NewTopology(d Data, o Options) (*Topology, []Problem) {
	t := &Topology{
		version:   max(o.Version, 1) - 1,
		depth:     min(max(o.ActsForDepth, 1), MaxActsForDepth),
		spaces:    &shardedMap[space.ID, Space]{slot: slotOfID},
		paths:     &shardedMap[space.ID, space.Path]{slot: slotOfID},
		devices:   &shardedMap[space.ID, *deviceEntry]{slot: slotOfID},
		claims:    &shardedMap[claim, []space.ID]{slot: slotOfClaim},
		named:     &shardedMap[claim, []space.ID]{slot: slotOfClaim},
		sensors:   &shardedMap[space.ID, *sensorEntry]{slot: slotOfID},
		labels:    &shardedMap[claim, []space.ID]{slot: slotOfClaim},
		mounted:   &shardedMap[space.ID, []space.ID]{slot: slotOfID},
		functions: &shardedMap[space.ID, *Function]{slot: slotOfID},
		problems:  &shardedMap[space.ID, []Problem]{slot: slotOfID},
		touched:   &shardedMap[space.ID, uint64]{slot: slotOfID},
	}
	return t.Apply(Changes{
		PutSpaces: d.Spaces, PutDevices: d.Devices, PutSensors: d.Sensors,
		PutFunctions: d.Functions, PutCAs: d.CAs,
	})
}

// Version rises by one with each Apply.
func (t *Topology) Version() uint64 { return t.version }

// NodeVersion is the version at which an answer about the device with that id
// last may have changed: its record, its sensors, its path, whom it acts for,
// or who acts for it. While it stays the same, a cached answer about the device
// holds, whatever happened to other devices.
func (t *Topology) NodeVersion(id space.ID) uint64 {
	v, _ := t.touched.get(id)
	return max(v, t.placed)
}

// Problems lists what is refused now, ordered by id.
func (t *Topology) Problems() []Problem {
	var all []Problem
	for _, ps := range t.problems.all() {
		all = append(all, ps...)
	}
	slices.SortFunc(all, func(a, b Problem) int {
		return cmp.Or(compareID(a.ID, b.ID), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Detail, b.Detail))
	})
	return all
}

// Device finds a device by its topology GUID.
func (t *Topology) Device(id space.ID) (*Device, bool) {
	e, ok := t.devices.get(id)
	if !ok || e.refused {
		return nil, false
	}
	return &e.Device, true
}

// DeviceByHubID finds a device by its IoT Hub device id, exact bytes.
func (t *Topology) DeviceByHubID(id string) (*Device, bool) {
	return t.deviceBy(claim{claimHubID, id})
}

// DeviceByHardwareID finds a device by its hardware id, exact bytes.
func (t *Topology) DeviceByHardwareID(id string) (*Device, bool) {
	return t.deviceBy(claim{claimHardwareID, id})
}

// ClaimsOf lists the devices that hold the thumbprint, for themselves or for a
// module, refused records included. It is for health: a thumbprint proves only
// the record that the client id names. Shared: not to be changed.
func (t *Topology) ClaimsOf(p Thumbprint) []space.ID {
	ids, _ := t.claims.get(claim{claimThumbprint, string(p[:])})
	return ids
}

// HubIDClaimed tells whether any record, a refused one included, has that hub
// device id: whoever is not that device must not go by its name.
func (t *Topology) HubIDClaimed(id string) bool {
	_, ok := t.claims.get(claim{claimHubID, id})
	return ok
}

func (t *Topology) deviceBy(c claim) (*Device, bool) {
	ids, _ := t.claims.get(c)
	if len(ids) != 1 {
		return nil, false
	}
	return t.Device(ids[0])
}

// Module finds a module of a device. A module whose id is malformed or given
// twice is not found.
func (d *Device) Module(id string) (*Module, bool) {
	var found *Module
	for i := range d.Modules {
		if d.Modules[i].ID != id {
			continue
		}
		if found != nil {
			return nil, false
		}
		found = &d.Modules[i]
	}
	if found == nil || CheckID(id) != nil {
		return nil, false
	}
	return found, true
}

// Sensor finds a sensor by its topology GUID.
func (t *Topology) Sensor(id space.ID) (*Sensor, bool) {
	e, ok := t.sensors.get(id)
	if !ok || e.refused {
		return nil, false
	}
	return &e.Sensor, true
}

// SensorByHardwareID finds the one sensor with that hardware id, exact bytes.
func (t *Topology) SensorByHardwareID(id string) (*Sensor, bool) {
	ids, _ := t.labels.get(claim{claimHardwareID, id})
	if len(ids) != 1 {
		return nil, false
	}
	return t.Sensor(ids[0])
}

// Sensors lists the usable sensors of a device, ordered by id.
func (t *Topology) Sensors(device space.ID) iter.Seq[*Sensor] {
	ids, _ := t.mounted.get(device)
	return func(yield func(*Sensor) bool) {
		for _, id := range ids {
			if s, ok := t.Sensor(id); ok && !yield(s) {
				return
			}
		}
	}
}

// Function finds a user-defined function.
func (t *Topology) Function(id space.ID) (*Function, bool) { return t.functions.get(id) }

// Space finds a space. Its Path is the one that counts (SpacePath), whatever
// the record said.
func (t *Topology) Space(id space.ID) (*Space, bool) {
	s, ok := t.spaces.get(id)
	if !ok {
		return nil, false
	}
	s.Path = t.SpacePath(id)
	return &s, true
}

// SpacePath is where a space lies: below its parent, if the registry holds
// the parent, else where its own record says (a gateway holds only its site).
// Zero, which no assignment covers, when neither is known.
func (t *Topology) SpacePath(id space.ID) space.Path {
	p, _ := t.paths.get(id)
	return p
}

// DevicePath is the path of the device's space; zero if that is unknown.
func (t *Topology) DevicePath(d *Device) space.Path { return t.SpacePath(d.Space) }

// SensorPath is the path of the sensor's own space, which need not be its
// device's; zero if that is unknown.
func (t *Topology) SensorPath(s *Sensor) space.Path { return t.SpacePath(s.Space) }

// FunctionPath is the path of the function's space; zero if that is unknown.
func (t *Topology) FunctionPath(f *Function) space.Path { return t.SpacePath(f.Space) }

// CAs lists the certificate authorities, ordered by id. Shared: not to be changed.
func (t *Topology) CAs() []CA { return t.cas }

// Spaces lists the spaces, in no order, each as Space finds it.
func (t *Topology) Spaces() iter.Seq[*Space] {
	return func(yield func(*Space) bool) {
		for id, s := range t.spaces.all() {
			if s.Path = t.SpacePath(id); !yield(&s) {
				return
			}
		}
	}
}

// Devices lists the usable devices, in no order.
func (t *Topology) Devices() iter.Seq[*Device] {
	return func(yield func(*Device) bool) {
		for _, e := range t.devices.all() {
			if !e.refused && !yield(&e.Device) {
				return
			}
		}
	}
}

// Data is the registry as it was given, refused records included, ordered by id.
func (t *Topology) Data() Data {
	var d Data
	for _, s := range t.spaces.all() {
		d.Spaces = append(d.Spaces, s)
	}
	for _, e := range t.devices.all() {
		d.Devices = append(d.Devices, e.Device)
	}
	for _, e := range t.sensors.all() {
		d.Sensors = append(d.Sensors, e.Sensor)
	}
	for _, f := range t.functions.all() {
		d.Functions = append(d.Functions, *f)
	}
	d.CAs = slices.Clone(t.cas)
	slices.SortFunc(d.Spaces, func(a, b Space) int { return compareID(a.ID, b.ID) })
	slices.SortFunc(d.Devices, func(a, b Device) int { return compareID(a.ID, b.ID) })
	slices.SortFunc(d.Sensors, func(a, b Sensor) int { return compareID(a.ID, b.ID) })
	slices.SortFunc(d.Functions, func(a, b Function) int { return compareID(a.ID, b.ID) })
	return d
}

func compareID(a, b space.ID) int { return bytes.Compare(a[:], b[:]) }
