package device

import (
	"slices"
	"testing"

	"github.com/gatehouse/gatehouse/device/space"
)

func TestActsFor(t *testing.T) {
	guid := id(1).String()
	for _, c := range []struct {
		name    string
		depth   int
		devices []Device
		actor   byte
		target  byte
		want    bool
	}{
		{"itself", 1, []Device{dev(1, "a")}, 1, 1, true},
		{"itself, disabled", 1, []Device{dev(1, "a", status(Disabled))}, 1, 1, false},
		{"itself, provisioned", 1, []Device{dev(1, "a", status(Provisioning))}, 1, 1, false},
		{"by GUID", 1, []Device{dev(1, "gw"), dev(2, "c", gw(guid))}, 1, 2, true},
		{
			"by GUID in upper case, blanks around it", 1,
			[]Device{dev(0xab, "gw"), dev(2, "c", gw(" AB000000-0000-4000-8000-0000000000AB "))}, 0xab, 2, true,
		},
		{"by hub id", 1, []Device{dev(1, "gw"), dev(2, "c", gw("gw"))}, 1, 2, true},
		{"by hardware id", 1, []Device{dev(1, "gw", hw("ABC")), dev(2, "c", gw("ABC"))}, 1, 2, true},
		{"hub id in another case", 1, []Device{dev(1, "gw"), dev(2, "c", gw("GW"))}, 1, 2, false},
		{"prefix of the hub id", 1, []Device{dev(1, "dev10"), dev(2, "c", gw("dev1"))}, 1, 2, false},
		{"unknown gateway", 1, []Device{dev(1, "gw"), dev(2, "c", gw("nobody"))}, 1, 2, false},
		{"no gateway named", 1, []Device{dev(1, "gw"), dev(2, "c", gw(" "))}, 1, 2, false},
		{"the other way round", 1, []Device{dev(1, "gw"), dev(2, "c", gw("gw"))}, 2, 1, false},
		{"siblings", 1, []Device{dev(1, "gw"), dev(2, "c", gw("gw")), dev(3, "e", gw("gw"))}, 2, 3, false},
		{
			"ambiguous: one's hub id is another's hardware id", 1,
			[]Device{dev(1, "gw"), dev(3, "x", hw("gw")), dev(2, "c", gw("gw"))}, 1, 2, false,
		},
		{"ambiguous: one's GUID is another's hub id", 1, []Device{dev(1, "gw"), dev(3, guid), dev(2, "c", gw(guid))}, 1, 2, false},
		{"two of its own names", 1, []Device{dev(1, "gw", hw("gw")), dev(2, "c", gw("gw"))}, 1, 2, true},
		{"colliding gateways", 1, []Device{dev(1, "gw"), dev(3, "gw"), dev(2, "c", gw(guid))}, 1, 2, false},
		{"gateway disabled", 1, []Device{dev(1, "gw", status(Disabled)), dev(2, "c", gw("gw"))}, 1, 2, false},
		{"child disabled", 1, []Device{dev(1, "gw"), dev(2, "c", gw("gw"), status(Disabled))}, 1, 2, false},
		{"two levels, one allowed", 1, []Device{dev(1, "gw"), dev(3, "mid", gw("gw")), dev(2, "c", gw("mid"))}, 1, 2, false},
		{"two levels, two allowed", 2, []Device{dev(1, "gw"), dev(3, "mid", gw("gw")), dev(2, "c", gw("mid"))}, 1, 2, true},
		{
			"two levels, the middle disabled", 2,
			[]Device{dev(1, "gw"), dev(3, "mid", gw("gw"), status(Disabled)), dev(2, "c", gw("mid"))}, 1, 2, false,
		},
		{
			"two levels, the middle colliding", 2,
			[]Device{dev(1, "gw"), dev(3, "mid", gw("gw")), dev(4, "mid"), dev(2, "c", gw(id(3).String()))}, 1, 2,
			false,
		},
		{"depth beyond the limit is cut", 9, chain(7), 7, 1, false},
		{"five levels", 9, chain(6), 6, 1, true},
		{"cycle of two", 1, []Device{dev(1, "a", gw("b")), dev(2, "b", gw("a"))}, 1, 2, false},
		{"cycle above the gateway", 1, []Device{dev(1, "a", gw("b")), dev(2, "b", gw("a")), dev(3, "c", gw("a"))}, 1, 3, false},
		{"cycle, itself", 1, []Device{dev(1, "a", gw("b")), dev(2, "b", gw("a"))}, 1, 1, true},
		{"longer cycle than the depth", 1, []Device{dev(1, "a", gw("b")), dev(2, "b", gw("c")), dev(3, "c", gw("a"))}, 2, 1, false},
		{"names itself", 1, []Device{dev(1, "a", gw("a")), dev(2, "b", gw("a"))}, 1, 2, false},
		{"endless chain", 1, chain(40), 2, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			top, _ := NewTopology(Data{Devices: c.devices}, Options{ActsForDepth: c.depth})
			i := slices.IndexFunc(c.devices, func(d Device) bool { return d.ID == id(c.target) })
			if got := top.ActsFor(id(c.actor), &c.devices[i]); got != c.want {
				t.Errorf("ActsFor = %v, want %v", got, c.want)
			}
		})
	}
	top, _ := NewTopology(Data{}, Options{})
	if top.ActsFor(id(1), nil) || top.ActsFor(space.ID{}, &Device{Status: Active}) {
		t.Error("nobody acts for nobody")
	}
}

// chain is n devices, 1 the lowest, each the gateway of the one before.
func chain(n byte) []Device {
	var all []Device
	for i := byte(1); i <= n; i++ {
		all = append(all, dev(i, string(rune('0'+i)), gw(string(rune('0'+i+1)))))
	}
	return all
}

func TestChildren(t *testing.T) {
	top, _ := NewTopology(Data{Devices: []Device{
		dev(1, "gw", hw("gw")),
		dev(2, "a", gw("gw")), dev(3, "b", gw(id(1).String())), dev(4, "c", gw("gw"), status(Disabled)),
		dev(5, "d", gw("other")), dev(6, "dup", gw("gw")), dev(7, "dup", gw("gw")),
		dev(8, "self", gw("self")),
	}}, Options{})
	var got []byte
	for c := range top.Children(id(1)) {
		got = append(got, c.ID[15])
	}
	slices.Sort(got)
	if want := []byte{2, 3, 4}; !slices.Equal(got, want) {
		t.Errorf("children %v, want %v", got, want)
	}
	if !top.IsGateway(id(1)) || top.IsGateway(id(2)) || top.IsGateway(id(8)) {
		t.Error("IsGateway")
	}
	if g, ok := top.GatewayOf(&Device{ID: id(2)}); !ok || g.ID != id(1) {
		t.Errorf("GatewayOf = %v, %v", g, ok)
	}
}
