package device

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/gatehouse/gatehouse/device/space"
)

// As long as a device's version stays, so does every answer about it.
func TestNodeVersionTellsEveryChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		top, _ := NewTopology(Data{}, Options{ActsForDepth: rapid.IntRange(1, 5).Draw(t, "depth")})
		for range rapid.IntRange(2, 10).Draw(t, "steps") {
			c := drawChanges(t)
			if rapid.IntRange(0, 3).Draw(t, "spaces too") > 0 {
				c.PutSpaces, c.RemoveSpaces = nil, nil // else every version moves
			}
			next, _ := top.Apply(c)
			for i := byte(1); i <= 6; i++ {
				x := id(i)
				if top.NodeVersion(x) == next.NodeVersion(x) && !same(top, next, x) {
					t.Fatalf("device %d: other answers at the same version %d", i, next.NodeVersion(x))
				}
			}
			top = next
		}
	})
}

func same(a, b *Topology, x space.ID) bool {
	d, ok := a.Device(x)
	e, ok2 := b.Device(x)
	if !ok || !ok2 {
		return ok == ok2
	}
	one := fmt.Sprintf("%+v %v %v", *d, a.DevicePath(d), a.IsGateway(x))
	two := fmt.Sprintf("%+v %v %v", *e, b.DevicePath(e), b.IsGateway(x))
	for i := byte(1); i <= 6; i++ {
		y := id(i)
		p, q := &Device{ID: y}, &Device{ID: y}
		one += fmt.Sprint(a.ActsFor(y, d), a.ActsFor(x, p))
		two += fmt.Sprint(b.ActsFor(y, e), b.ActsFor(x, q))
	}
	for s := range a.Sensors(x) {
		one += fmt.Sprintf("%+v %v", *s, a.SensorPath(s))
	}
	for s := range b.Sensors(x) {
		two += fmt.Sprintf("%+v %v", *s, b.SensorPath(s))
	}
	return one == two
}

func TestNodeVersionLeavesOthersAlone(t *testing.T) {
	top, _ := NewTopology(Data{
		Spaces:  []Space{{ID: id(100)}},
		Devices: []Device{dev(1, "gw"), dev(2, "c", gw("gw")), dev(3, "e", gw("gw")), dev(4, "x")},
		Sensors: []Sensor{{ID: id(50), Device: id(4), HardwareID: "s"}},
	}, Options{})
	moved := func(c Changes) string {
		next, _ := top.Apply(c)
		s := ""
		for i := byte(1); i <= 4; i++ {
			if next.NodeVersion(id(i)) != top.NodeVersion(id(i)) {
				s += fmt.Sprint(i)
			}
		}
		return s
	}
	for _, c := range []struct {
		name string
		c    Changes
		want string
	}{
		{"nothing", Changes{}, ""},
		{"a child, and so its gateway", Changes{PutDevices: []Device{dev(2, "c", gw("gw"), status(Disabled))}}, "12"},
		{"a gateway, and so its children", Changes{PutDevices: []Device{dev(1, "gw", status(Disabled))}}, "123"},
		{"a device alone", Changes{PutDevices: []Device{dev(4, "x", status(Disabled))}}, "4"},
		{"a sensor", Changes{RemoveSensors: []space.ID{id(50)}}, "4"},
		{"a newcomer who makes a name ambiguous", Changes{PutDevices: []Device{dev(5, "y", hw("gw"))}}, "123"},
		{"a space put as it was", Changes{PutSpaces: []Space{{ID: id(100)}}}, ""},
		{"a new space", Changes{PutSpaces: []Space{{ID: id(101)}}}, "1234"},
	} {
		if got := moved(c.c); got != c.want {
			t.Errorf("%s: moved %q, want %q", c.name, got, c.want)
		}
	}
}
