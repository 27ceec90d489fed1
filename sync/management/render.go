package management

import (
	"strings"

	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// includes are the tokens of includes=, in lower case.
type includes map[string]bool

func parseIncludes(s string) includes {
	in := includes{}
	for _, token := range splitList(s) {
		in[strings.ToLower(token)] = true
	}
	return in
}

// everything is what the feed and a gateway's full read show.
func everything() includes {
	return includes{"fullpath": true, "connectionstring": true, "types": true}
}

// object is the form in which the feed shows an object of s.
func (s *state) object(v *view, kind string, id space.ID) any {
	switch kind {
	case wire.TypeAssignment:
		return render(s.assignments, id, wire.FromAssignment)
	case wire.TypeSpace:
		return render(s.spaces, id, func(w wire.Space) wire.Space { return s.showSpace(v, &w, everything()) })
	case wire.TypeDevice:
		return render(s.devices, id, func(w wire.Device) wire.Device { return s.showDevice(v, &w, everything()) })
	case wire.TypeSensor:
		return render(s.sensors, id, func(w wire.Sensor) wire.Sensor { return s.showSensor(&w, everything()) })
	case wire.TypeFunction:
		return render(s.functions, id, func(w wire.Function) wire.Function { return s.showFunction(v, &w, everything()) })
	case wire.TypeUser:
		return render(s.users, id, func(w wire.User) wire.User { return s.showUser(&w, everything()) })
	case wire.TypeKeyStore:
		return render(s.keystores, id, func(w wire.KeyStore) wire.KeyStore { return s.showKeyStore(&w, includes{}) })
	case wire.TypeCA:
		return render(s.cas, id, wire.FromCA)
	case wire.TypeAzureAssignment:
		return render(s.azureAssignments, id, wire.FromAzureAssignment)
	case wire.TypeAzureRole:
		return render(s.azureRoles, id, wire.FromAzureRole)
	case wire.TypeAzureDeny:
		return render(s.azureDenies, id, wire.FromAzureDeny)
	}
	return nil
}

func render[T, W any](t table[T], id space.ID, show func(T) W) any {
	v, ok := t.get(id)
	if !ok {
		return nil
	}
	return show(*v)
}

// place is what includes=FullPath adds. A space has exactly one path.
func (s *state) place(id space.ID, in includes) wire.Place {
	if !in["fullpath"] {
		return wire.Place{}
	}
	p := s.path(id)
	if p.IsZero() {
		return wire.Place{}
	}
	var names []string
	for q := p; !q.IsRoot(); q, _ = q.Parent() {
		if sp, ok := s.spaces.get(q.Space()); ok {
			names = append([]string{sp.Name}, names...)
		}
	}
	return wire.Place{FullName: strings.Join(names, "/"), SpacePaths: []space.Path{p}}
}

func (s *state) showSpace(v *view, row *wire.Space, in includes) wire.Space {
	w := *row
	w.Place = s.place(w.ID, in)
	if !in["types"] {
		w.Type = ""
	}
	if in["devices"] {
		for _, d := range s.devices.all() {
			if d.SpaceID == w.ID && v.sees(wire.TypeDevice, s.path(d.SpaceID)) {
				w.Devices = append(w.Devices, s.showDevice(v, d, includes{}))
			}
		}
	}
	if in["sensors"] {
		for _, n := range s.sensors.all() {
			if n.SpaceID == w.ID && v.sees(wire.TypeSensor, s.path(n.SpaceID)) {
				w.Sensors = append(w.Sensors, s.showSensor(n, includes{}))
			}
		}
	}
	return w
}

func (s *state) showDevice(v *view, row *wire.Device, in includes) wire.Device {
	w := *row
	w.Place = s.place(w.SpaceID, in)
	if !in["types"] {
		w.Type, w.Subtype = "", ""
	}
	if !in["connectionstring"] {
		w.DeviceID, w.Authentication, w.Modules = "", nil, nil
	} else {
		keys := v.keys(s.path(w.SpaceID))
		w.ConnectionString = s.connectionString(&w, keys)
		w.Authentication = withoutKeys(w.Authentication, keys)
		w.Modules = append([]wire.Module(nil), w.Modules...)
		for i := range w.Modules {
			w.Modules[i].Authentication = withoutKeys(w.Modules[i].Authentication, keys)
		}
	}
	if in["sensors"] {
		for _, n := range s.sensors.all() {
			if n.DeviceID == w.ID && v.sees(wire.TypeSensor, s.path(n.SpaceID)) {
				w.Sensors = append(w.Sensors, s.showSensor(n, includes{"types": in["sensorstypes"]}))
			}
		}
	}
	return w
}

// withoutKeys leaves the kind of credential, and public thumbprints, visible.
func withoutKeys(a *wire.Authentication, keys bool) *wire.Authentication {
	if a == nil || keys || a.SymmetricKey == nil {
		return a
	}
	hidden := *a
	hidden.SymmetricKey = nil
	return &hidden
}

func (s *state) connectionString(d *wire.Device, keys bool) string {
	if !keys || d.DeviceID == "" || d.Authentication == nil {
		return ""
	}
	text := "HostName=" + s.hub + ";DeviceId=" + d.DeviceID
	if k := d.Authentication.SymmetricKey; k != nil {
		return text + ";SharedAccessKey=" + k.PrimaryKey
	}
	return text + ";x509=true"
}

func (s *state) showSensor(row *wire.Sensor, in includes) wire.Sensor {
	w := *row
	w.Place = s.place(w.SpaceID, in)
	if !in["types"] {
		w.Type, w.DataType = "", ""
	}
	return w
}

func (s *state) showFunction(v *view, row *wire.Function, in includes) wire.Function {
	w := *row
	w.Place = s.place(w.SpaceID, in)
	if in["connectionstring"] {
		w.Authentication = withoutKeys(w.Authentication, v.keys(s.path(w.SpaceID)))
	} else {
		w.Authentication = nil
	}
	return w
}

func (s *state) showUser(row *wire.User, in includes) wire.User {
	w := *row
	w.Place = s.place(w.SpaceID, in)
	return w
}

func (s *state) showKeyStore(row *wire.KeyStore, in includes) wire.KeyStore {
	w := *row
	w.Place = s.place(w.SpaceID, in)
	if !in["keys"] {
		w.Keys = nil
	}
	return w
}
