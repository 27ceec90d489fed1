package device

import (
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/device/space"
)

func id(n byte) space.ID { return space.ID{15: n, 0: n, 6: 0x40, 8: 0x80} }

func dev(n byte, hub string, edit ...func(*Device)) Device {
	d := Device{ID: id(n), HubID: hub, Space: id(100), Status: Active}
	for _, f := range edit {
		f(&d)
	}
	return d
}

func gw(name string) func(*Device) { return func(d *Device) { d.GatewayID = name } }
func hw(name string) func(*Device) { return func(d *Device) { d.HardwareID = name } }
func status(s Status) func(*Device) {
	return func(d *Device) { d.Status = s }
}
func tp(b ...byte) func(*Device) {
	return func(d *Device) {
		d.Auth.Kind = AuthSelfSigned
		for _, x := range b {
			d.Auth.Thumbprints = append(d.Auth.Thumbprints, Thumbprint{x})
		}
	}
}

func build(t *testing.T, d Data, depth int) (*Topology, []Problem) {
	t.Helper()
	return NewTopology(d, Options{ActsForDepth: depth})
}

func reasons(ps []Problem) string {
	var s []string
	for _, p := range ps {
		s = append(s, p.Type+" "+p.Reason)
	}
	slices.Sort(s)
	return strings.Join(slices.Compact(s), ", ")
}

func TestCollisionsRefuseAllAndEnd(t *testing.T) {
	for _, c := range []struct {
		name    string
		devices []Device
		reasons string
		refused []byte
		good    []byte
		cure    Device // replaces a colliding record
	}{
		{"hub id", []Device{dev(1, "a"), dev(2, "a"), dev(3, "b")}, "Device duplicate-hub-id", []byte{1, 2}, []byte{3}, dev(2, "c")},
		{
			"hardware id", []Device{dev(1, "a", hw("x")), dev(2, "b", hw("x")), dev(3, "c", hw("y"))},
			"Device duplicate-hardware-id", []byte{1, 2}, []byte{3}, dev(2, "b"),
		},
		{
			"chain of collisions", []Device{dev(1, "a"), dev(2, "a", hw("x")), dev(3, "c", hw("x")), dev(4, "d")},
			"Device duplicate-hardware-id, Device duplicate-hub-id", []byte{1, 2, 3}, []byte{4}, dev(2, "e", hw("z")),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			top, ps := build(t, Data{Devices: c.devices}, 1)
			if got := reasons(ps); got != c.reasons {
				t.Errorf("problems %q, want %q", got, c.reasons)
			}
			for _, n := range c.refused {
				if _, ok := top.Device(id(n)); ok {
					t.Errorf("device %d is found although it collides", n)
				}
			}
			for _, d := range c.devices {
				by, ok := top.DeviceByHubID(d.HubID)
				if want := slices.Contains(c.good, d.ID[15]); ok != want || ok && by.ID != d.ID {
					t.Errorf("DeviceByHubID(%q) = %v, want found %v", d.HubID, by, want)
				}
			}
			if n := len(top.Data().Devices); n != len(c.devices) {
				t.Errorf("Data has %d devices, want %d: refused records stay", n, len(c.devices))
			}
			next, ps := top.Apply(Changes{PutDevices: []Device{c.cure}})
			if len(ps) > 0 {
				t.Errorf("after the collision: %v", ps)
			}
			for _, d := range c.devices {
				if _, ok := next.Device(d.ID); !ok {
					t.Errorf("device %v did not come back", d.ID)
				}
			}
			if _, ok := top.Device(id(c.refused[0])); ok {
				t.Error("Apply changed the topology that it started from")
			}
			back, ps := next.Apply(Changes{PutDevices: c.devices})
			if reasons(ps) != c.reasons {
				t.Errorf("collision again: %v", ps)
			}
			_, ps = back.Apply(Changes{RemoveDevices: []space.ID{c.cure.ID}})
			if len(ps) > 0 {
				t.Errorf("after removal: %v", ps)
			}
		})
	}
}

// Whoever may register a device could enter the thumbprint of any certificate. Each record that holds
// it is named, and all of them are used, so that nobody ends another's use.
func TestASharedThumbprintIsNamedAndRefusesNobody(t *testing.T) {
	module := func(d *Device) {
		d.Modules = []Module{{ID: "m", Auth: Auth{Kind: AuthSelfSigned, Thumbprints: []Thumbprint{{9}}}}}
	}
	for _, c := range []struct {
		name    string
		devices []Device
		named   []byte
		cure    Device // replaces a record that shares
	}{
		{"two devices", []Device{dev(1, "a", tp(9)), dev(2, "b", tp(8, 9)), dev(3, "c", tp(7, 7))}, []byte{1, 2}, dev(2, "b", tp(8))},
		{"another's module", []Device{dev(1, "a", tp(9)), dev(2, "b", module), dev(3, "c")}, []byte{1, 2}, dev(2, "b")},
		{"device and own module", []Device{dev(1, "a", tp(9), module)}, []byte{1}, dev(1, "a", tp(9))},
	} {
		t.Run(c.name, func(t *testing.T) {
			alone, _ := build(t, Data{Devices: []Device{c.cure}}, 1)
			atOnce, _ := build(t, Data{Devices: c.devices}, 1)
			byChange, _ := alone.Apply(Changes{PutDevices: c.devices})
			for _, top := range []*Topology{atOnce, byChange} {
				var named []byte
				for _, p := range top.Problems() {
					if p.Reason != DuplicateThumbprint || p.Refuses() {
						t.Errorf("problem %v", p)
					}
					named = append(named, p.ID[15])
				}
				if !slices.Equal(named, c.named) {
					t.Errorf("named %v, want %v", named, c.named)
				}
				for _, d := range c.devices {
					if _, ok := top.DeviceByHubID(d.HubID); !ok {
						t.Errorf("%s is refused", d.HubID)
					}
				}
				if after, ps := top.Apply(Changes{PutDevices: []Device{c.cure}}); len(ps) > 0 || len(after.ClaimsOf(Thumbprint{9})) > 1 {
					t.Errorf("afterwards: %v", ps)
				}
			}
		})
	}
}

func TestIDsThatCouldWidenAreRefused(t *testing.T) {
	for _, bad := range []string{"", "a+", "#", "a/#", "a/b", "+", "a\x00b", "a\nb", "\xc0\xaf", "a\xff", strings.Repeat("x", MaxID+1)} {
		if CheckID(bad) == nil {
			t.Errorf("CheckID(%q) accepts", bad)
		}
		top, ps := build(t, Data{
			Devices: []Device{dev(1, bad), dev(2, "ok", func(d *Device) { d.Modules = []Module{{ID: bad}, {ID: "m"}} })},
			Sensors: []Sensor{{ID: id(50), Device: id(2), HardwareID: bad}},
		}, 1)
		if got, want := reasons(ps), "Device bad-id, Module bad-id, Sensor bad-id"; got != want {
			t.Errorf("%q: problems %q, want %q", bad, got, want)
		}
		if _, ok := top.DeviceByHubID(bad); ok {
			t.Errorf("device %q is found", bad)
		}
		if _, ok := top.SensorByHardwareID(bad); ok {
			t.Errorf("sensor %q is found", bad)
		}
		d, ok := top.DeviceByHubID("ok")
		if !ok {
			t.Fatal("a broken module took its device along")
		}
		if _, ok := d.Module(bad); ok {
			t.Errorf("module %q is found", bad)
		}
		if _, ok := d.Module("m"); !ok {
			t.Error("a good module beside a broken one is not found")
		}
	}
	for _, good := range []string{"a", "dev 1", "A.b-c:d%25=@", "gerät", strings.Repeat("x", MaxID)} {
		if err := CheckID(good); err != nil {
			t.Errorf("CheckID(%q) = %v", good, err)
		}
	}
	twice := Device{Modules: []Module{{ID: "m"}, {ID: "m"}}}
	if _, ok := twice.Module("m"); ok {
		t.Error("a module given twice is found")
	}
}

func TestRecordsWithoutAnIDOfTheirOwn(t *testing.T) {
	top, ps := build(t, Data{
		Devices:   []Device{dev(1, "a"), dev(1, "b"), {HubID: "z", Status: Active}},
		Sensors:   []Sensor{{ID: id(2), HardwareID: "s"}, {ID: id(2), HardwareID: "t"}},
		Functions: []Function{{ID: id(3)}, {ID: id(3)}},
		CAs:       []CA{{ID: id(4)}, {ID: id(4)}},
	}, 1)
	want := "CertificateAuthority duplicate-record, Device bad-id, Device duplicate-record, " +
		"Function duplicate-record, Sensor duplicate-record"
	if got := reasons(ps); got != want {
		t.Errorf("problems %q, want %q", got, want)
	}
	if d := top.Data(); len(d.Devices)+len(d.Sensors)+len(d.Functions)+len(d.CAs) != 0 {
		t.Errorf("kept %+v", d)
	}
	if _, ps = top.Apply(Changes{PutDevices: []Device{dev(1, "a")}}); strings.Contains(reasons(ps), "Device duplicate-record") {
		t.Errorf("the problem outlived its cause: %v", ps)
	}
}

func TestPaths(t *testing.T) {
	site, floor, room, lost, a, b := id(10), id(11), id(12), id(13), id(14), id(15)
	outside := id(99)
	sitePath := space.Root.Join(outside).Join(site)
	top, ps := build(t, Data{
		Spaces: []Space{
			{ID: room, Parent: floor, Path: space.Root.Join(room)}, // stale record: the parent decides
			{ID: site, Parent: outside, Path: sitePath},
			{ID: floor, Parent: site},
			{ID: lost, Parent: outside},
			{ID: a, Parent: b}, {ID: b, Parent: a},
		},
		Devices: []Device{dev(1, "d", func(d *Device) { d.Space = room })},
		Sensors: []Sensor{{ID: id(2), Device: id(1), Space: floor, HardwareID: "s"}},
	}, 1)
	if got, want := reasons(ps), "Space no-path"; got != want || len(ps) != 3 {
		t.Errorf("problems %v, want three spaces without a path", ps)
	}
	d, _ := top.DeviceByHubID("d")
	if got, want := top.DevicePath(d), sitePath.Join(floor).Join(room); got != want {
		t.Errorf("device path %v, want %v", got, want)
	}
	s, _ := top.SensorByHardwareID("s")
	if got, want := top.SensorPath(s), sitePath.Join(floor); got != want {
		t.Errorf("sensor path %v, want %v", got, want)
	}
	for _, x := range []space.ID{lost, a, b, id(77)} {
		if p := top.SpacePath(x); !p.IsZero() {
			t.Errorf("path of %v is %v, want none", x, p)
		}
	}
	// Moving a floor moves the rooms below it.
	moved, _ := top.Apply(Changes{PutSpaces: []Space{{ID: floor}}})
	if got, want := moved.DevicePath(d), space.Root.Join(floor).Join(room); got != want {
		t.Errorf("after the move %v, want %v", got, want)
	}
	gone, _ := top.Apply(Changes{RemoveSpaces: []space.ID{room}})
	if p := gone.DevicePath(d); !p.IsZero() {
		t.Errorf("device in a removed space lies at %v", p)
	}
}

func TestApplyShares(t *testing.T) {
	var d Data
	for i := range 2000 {
		n := space.ID{byte(i), byte(i >> 8), 1}
		d.Spaces = append(d.Spaces, Space{ID: n})
		d.Devices = append(d.Devices, Device{ID: n, HubID: n.String(), Space: n, Status: Active})
	}
	top, _ := build(t, d, 1)
	one := d.Devices[7]
	one.Name = "renamed"
	next, _ := top.Apply(Changes{PutDevices: []Device{one}})
	if next.Version() != top.Version()+1 {
		t.Errorf("version %d after %d", next.Version(), top.Version())
	}
	if next.paths != top.paths {
		t.Error("paths were rebuilt although no space changed")
	}
	for _, v := range d.Devices {
		was, _ := top.Device(v.ID)
		is, _ := next.Device(v.ID)
		if (was == is) != (v.ID != one.ID) {
			t.Fatalf("device %v: shared = %v", v.ID, was == is)
		}
	}
	if _, ps := top.Apply(Changes{}); len(ps) > 0 {
		t.Error(ps)
	}
	if again, _ := NewTopology(d, Options{Version: 41}); again.Version() != 41 {
		t.Errorf("version %d, want the one asked for", again.Version())
	}
}

func TestQuestionsAllocateNothing(t *testing.T) {
	top, _ := build(t, Data{
		Devices: []Device{dev(1, "gw"), dev(2, "c", gw("gw")), dev(3, "e", gw(id(1).String()))},
		Sensors: []Sensor{{ID: id(9), Device: id(2), HardwareID: "s"}},
	}, 5)
	if n := testing.AllocsPerRun(100, func() {
		d, _ := top.DeviceByHubID("c")
		e, _ := top.Device(id(3))
		s, _ := top.SensorByHardwareID("s")
		if !top.ActsFor(id(1), d) || !top.ActsFor(id(1), e) || !top.SensorPath(s).IsZero() || !top.DevicePath(d).IsZero() {
			t.Fatal("wrong answer")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
