package device

import (
	"testing"

	"github.com/gatehouse/gatehouse/device/space"
)

// Losses may only take away; each case names an addition that it must not make.
func TestLosses(t *testing.T) {
	id := func(n string) space.ID { return space.MustID("00000000-0000-4000-8000-00000000000" + n) }
	floor, roomA, roomB := id("1"), id("2"), id("3")
	base := func() Data {
		return Data{
			Spaces: []Space{{ID: floor, Name: "floor"}, {ID: roomA, Parent: floor}, {ID: roomB, Parent: floor}},
			Devices: []Device{
				{
					ID:         id("a"),
					HubID:      "a",
					HardwareID: "hw-a",
					Space:      roomA,
					Status:     Active,
					Auth:       Auth{Kind: AuthSAS, Primary: Secret("old"), Secondary: Secret("kept")},
					Modules:    []Module{{ID: "m", Auth: Auth{Kind: AuthSAS, Primary: Secret("m")}}},
				},
				{
					ID:         id("b"),
					HubID:      "b",
					HardwareID: "hw-b",
					Space:      roomB,
					Status:     Active,
					GatewayID:  "twice",
					Auth:       Auth{Kind: AuthSelfSigned, Thumbprints: []Thumbprint{{1}, {2}}},
				},
				{ID: id("c"), HubID: "twice", HardwareID: "hw-c", Space: roomB, Status: Active},
				{ID: id("d"), HubID: "d", HardwareID: "twice", Space: roomB, Status: Active},
				{ID: id("e"), HubID: "same", Space: roomB, Status: Active},
				{ID: id("f"), HubID: "same", Space: roomB, Status: Active},
			},
			Functions: []Function{{ID: id("9"), Space: roomA, Auth: Auth{Kind: AuthSAS, Primary: Secret("fn")}}},
			CAs:       []CA{{ID: id("8"), Path: space.Root.Join(floor), DER: []byte("ca")}},
		}
	}
	for _, c := range []struct {
		name   string
		change func(d *Data)
		check  func(t *testing.T, left *Topology)
	}{
		{"nothing changed", func(*Data) {}, func(t *testing.T, left *Topology) {
			if a, _ := left.Device(id("a")); a.Status != Active || len(left.CAs()) != 1 {
				t.Error("something is lost")
			}
		}},
		{"a rolled key proves nothing, the other goes on", func(d *Data) {
			d.Devices[0].Auth.Primary = Secret("new")
		}, func(t *testing.T, left *Topology) {
			if a, _ := left.Device(id("a")); len(a.Auth.Primary) > 0 || string(a.Auth.Secondary) != "kept" {
				t.Errorf("keys %q, %q", a.Auth.Primary, a.Auth.Secondary)
			}
		}},
		{"another kind of credential", func(d *Data) { d.Devices[0].Auth = Auth{Kind: AuthCA} }, func(t *testing.T, left *Topology) {
			if a, _ := left.Device(id("a")); a.Auth.Kind != AuthNone {
				t.Errorf("kind %v", a.Auth.Kind)
			}
		}},
		{"a thumbprint for another", func(d *Data) {
			d.Devices[1].Auth.Thumbprints = []Thumbprint{{2}, {3}}
		}, func(t *testing.T, left *Topology) {
			gone := len(left.ClaimsOf(Thumbprint{1})) > 0
			kept := len(left.ClaimsOf(Thumbprint{2})) > 0
			came := len(left.ClaimsOf(Thumbprint{3})) > 0
			if gone || !kept || came {
				t.Error(gone, kept, came)
			}
		}},
		{"a module goes", func(d *Data) { d.Devices[0].Modules = nil }, func(t *testing.T, left *Topology) {
			a, _ := left.Device(id("a"))
			if _, ok := a.Module("m"); ok {
				t.Error("it is still there")
			}
		}},
		{"a deleted device ends no ambiguity", func(d *Data) {
			d.Devices = append(d.Devices[:3:3], d.Devices[4:]...)
		}, func(t *testing.T, left *Topology) {
			b, _ := left.Device(id("b"))
			if gone, ok := left.Device(id("d")); ok && gone.Status == Active {
				t.Error("the deleted device is active")
			}
			if left.ActsFor(id("c"), b) {
				t.Error("c became b's gateway")
			}
		}},
		{"a deleted record ends no collision", func(d *Data) { d.Devices = d.Devices[:5] }, func(t *testing.T, left *Topology) {
			if _, ok := left.DeviceByHubID("same"); ok {
				t.Error("the other became usable")
			}
		}},
		{"a new record that collides refuses the old one", func(d *Data) {
			d.Devices = append(d.Devices, Device{ID: id("7"), HubID: "a", Space: roomB, Status: Active})
		}, func(t *testing.T, left *Topology) {
			if a, ok := left.Device(id("a")); ok && a.Status == Active {
				t.Error("it is still usable")
			}
		}},
		{"a moved space takes what is below it", func(d *Data) { d.Spaces[1].Parent = roomB }, func(t *testing.T, left *Topology) {
			a, _ := left.Device(id("a"))
			if !left.DevicePath(a).IsZero() || left.SpacePath(roomB).IsZero() {
				t.Error(left.DevicePath(a), left.SpacePath(roomB))
			}
		}},
		{"a function without its key", func(d *Data) { d.Functions[0].Auth.Primary = Secret("other") }, func(t *testing.T, left *Topology) {
			if f, ok := left.Function(id("9")); !ok || len(f.Auth.Primary) > 0 {
				t.Error(f, ok)
			}
		}},
		{"a deleted function", func(d *Data) { d.Functions = nil }, func(t *testing.T, left *Topology) {
			if _, ok := left.Function(id("9")); ok {
				t.Error("it is still there")
			}
		}},
		{"an authority for another place", func(d *Data) { d.CAs[0].Path = space.Root }, func(t *testing.T, left *Topology) {
			if len(left.CAs()) != 0 {
				t.Error(left.CAs())
			}
		}},
		{"an authority's newer list", func(d *Data) { d.CAs[0].CRL = []byte("list") }, func(t *testing.T, left *Topology) {
			if cas := left.CAs(); len(cas) != 1 || string(cas[0].CRL) != "list" {
				t.Error(cas)
			}
		}},
		{"a gatewayId that goes away names nobody else", func(d *Data) { d.Devices[1].GatewayID = "" }, func(t *testing.T, left *Topology) {
			b, _ := left.Device(id("b"))
			if left.ActsFor(id("c"), b) || left.ActsFor(id("d"), b) || !left.ActsFor(id("b"), b) {
				t.Error("who acts for b is not b alone")
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, _ := NewTopology(base(), Options{})
			data := base()
			c.change(&data)
			next, _ := NewTopology(data, Options{})
			left, _ := before.Apply(Losses(before, next))
			c.check(t, left)
		})
	}
}
