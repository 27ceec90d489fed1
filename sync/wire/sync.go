package wire

import (
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
)

// Full is everything that the server has for a site at one version.
type Full struct {
	Version  model.Version
	Policy   model.Snapshot
	Data     device.Data
	Problems []Problem // elements that were left out
	// Unnumbered: the server has no versions, and Version is the time of reading.
	Unnumbered bool
}

// Delta is the change from version From to version To. It applies to nothing but From.
type Delta struct {
	From, To model.Version
	Policy   model.ChangeSet
	Data     device.Changes
	Problems []Problem
	Created  Tally // how many of the objects that are put are new
}

// Tally counts the objects of a site by type. Keys counts the devices and functions
// that came with a symmetric key.
type Tally struct {
	Assignments, Spaces, Devices, Sensors, Functions, Keys int
	Roles, CAs, AzureRoles, AzureAssignments, AzureDenies  int
}

func (t *Tally) count(kind string) {
	switch kind {
	case TypeAssignment:
		t.Assignments++
	case TypeSpace:
		t.Spaces++
	case TypeDevice:
		t.Devices++
	case TypeSensor:
		t.Sensors++
	case TypeFunction:
		t.Functions++
	case TypeRole:
		t.Roles++
	case TypeCA:
		t.CAs++
	case TypeAzureRole:
		t.AzureRoles++
	case TypeAzureAssignment:
		t.AzureAssignments++
	case TypeAzureDeny:
		t.AzureDenies++
	}
}

// Empty reports whether the delta changes nothing but the version.
func (d *Delta) Empty() bool {
	c := &d.Data
	return d.Policy.Empty() &&
		len(c.PutSpaces)+len(c.PutDevices)+len(c.PutSensors)+len(c.PutFunctions)+len(c.PutCAs)+
			len(c.RemoveSpaces)+len(c.RemoveDevices)+len(c.RemoveSensors)+len(c.RemoveFunctions)+len(c.RemoveCAs) == 0
}

// ToDelta converts a feed to the changes that registry and authorization engine apply. An object
// that cannot be understood is removed, even if an earlier state of it was known, and named in
// Problems. A deny assignment that cannot be understood denies everything to everybody instead,
// because its removal would grant rights.
func ToDelta(f ParsedFeed, home space.ID) (Delta, error) {
	d := Delta{From: f.From, To: f.To}
	d.Policy.From, d.Policy.To = f.From, f.To
	for _, c := range f.Changes {
		if err := d.add(c, home); err != nil {
			d.Problems = append(d.Problems, Problem{Type: c.Type, ID: c.ID.String(), Reason: err.Error()})
			if c.Type == TypeAzureDeny {
				d.Policy.PutAzureDenies = append(d.Policy.PutAzureDenies, unreadDeny(c.ID))
			} else if c.Access = model.Delete; d.add(c, home) != nil {
				return Delta{}, err
			}
		}
		if c.Access == model.Create {
			d.Created.count(c.Type)
			if in, ok, _ := c.Object.Object("authentication"); ok && in.Present("symmetricKey") {
				d.Created.Keys++
			}
		}
	}
	return d, nil
}

func (d *Delta) add(c ParsedChange, home space.ID) error {
	p, r := &d.Policy, &d.Data
	switch c.Type {
	case TypeRole:
		return step(c, &p.PutRoles, &p.RemoveRoles, ParseRole, func(v model.Role) space.ID { return v.ID })
	case TypeAssignment:
		parse := func(o Object) (model.Assignment, error) { return ParseAssignment(o, home) }
		return step(c, &p.PutAssignments, &p.RemoveAssigns, parse, func(v model.Assignment) space.ID { return v.ID })
	case TypeAzureAssignment:
		return step(c, &p.PutAzureAssignments, &p.RemoveAzureAssigns, ParseAzureAssignment,
			func(v model.AzureAssignment) space.ID { return v.ID })
	case TypeAzureRole:
		return step(c, &p.PutAzureRoles, &p.RemoveAzureRoles, ParseAzureRole,
			func(v model.AzureRole) space.ID { return v.ID })
	case TypeAzureDeny:
		return step(c, &p.PutAzureDenies, &p.RemoveAzureDenies, ParseAzureDeny,
			func(v model.AzureDeny) space.ID { return v.ID })
	case TypeSpace:
		return step(c, &r.PutSpaces, &r.RemoveSpaces, SpaceRecord, func(v device.Space) space.ID { return v.ID })
	case TypeDevice:
		return step(c, &r.PutDevices, &r.RemoveDevices, DeviceRecord, func(v device.Device) space.ID { return v.ID })
	case TypeSensor:
		return step(c, &r.PutSensors, &r.RemoveSensors, SensorRecord, func(v device.Sensor) space.ID { return v.ID })
	case TypeFunction:
		return step(c, &r.PutFunctions, &r.RemoveFunctions, FunctionRecord,
			func(v device.Function) space.ID { return v.ID })
	case TypeCA:
		return step(c, &r.PutCAs, &r.RemoveCAs, ParseCA, func(v device.CA) space.ID { return v.ID })
	}
	return nil // users, key stores, and types of later servers: a gateway keeps none of these
}

// step adds one change to the puts or the removals of its type.
func step[T any](c ParsedChange, puts *[]T, removes *[]space.ID, parse func(Object) (T, error), id func(T) space.ID) error {
	if c.Access == model.Delete {
		*removes = append(*removes, c.ID)
		return nil
	}
	v, err := parse(c.Object)
	if err != nil {
		return err
	}
	if id(v) != c.ID {
		return invalid("id", "the change names %s, its object %s", c.ID, id(v))
	}
	*puts = append(*puts, v)
	return nil
}

// SpaceRecord converts a space of the API to the registry's form.
func SpaceRecord(o Object) (device.Space, error) {
	w, err := ParseSpace(o)
	if err != nil {
		return device.Space{}, err
	}
	return w.Record()
}

// DeviceRecord converts a device of the API to the registry's form.
func DeviceRecord(o Object) (device.Device, error) {
	w, err := ParseDevice(o)
	if err != nil {
		return device.Device{}, err
	}
	return w.Record()
}

// SensorRecord converts a sensor of the API to the registry's form.
func SensorRecord(o Object) (device.Sensor, error) {
	w, err := ParseSensor(o)
	if err != nil {
		return device.Sensor{}, err
	}
	return w.Record()
}

// FunctionRecord converts a function of the API to the registry's form.
func FunctionRecord(o Object) (device.Function, error) {
	w, err := ParseFunction(o)
	if err != nil {
		return device.Function{}, err
	}
	return w.Record()
}

// Rights says which types of object the gateway's own identity may read at its site.
type Rights struct {
	Assignments bool `json:"assignments"`
	Spaces      bool `json:"spaces"`
	Devices     bool `json:"devices"`
	Sensors     bool `json:"sensors"`
	Functions   bool `json:"functions"`
	Keys        bool `json:"keys"`
}

// ParseRights reads an answer of GET gateway/rights.
func ParseRights(data []byte) (Rights, error) {
	o, err := ParseObject(data)
	if err != nil {
		return Rights{}, err
	}
	var r Rights
	err = readAll(o, truth("assignments", &r.Assignments), truth("spaces", &r.Spaces), truth("devices", &r.Devices),
		truth("sensors", &r.Sensors), truth("functions", &r.Functions), truth("keys", &r.Keys))
	return r, err
}
