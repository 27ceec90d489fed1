package management

import (
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
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

// object is the form in which the feed shows an object of s; nil if there is
// no such object.
func (s *state) object(v *view, kind string, id space.ID) any {
	k, ok := kinds[kind]
	if !ok {
		return nil
	}
	in := everything()
	if kind == wire.TypeKeyStore {
		in = includes{} // the feed shows neither the keys of a store nor its path
	}
	return k.object(s, v, id, in)
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
		keys := v.keys(s.path(w.SpaceID)) || v.is(model.Identity{Kind: model.DeviceID, Object: w.ID})
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
