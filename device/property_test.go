package device

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/gatehouse/gatehouse/device/space"
)

// Any sequence of changes leads to the same topology as building it at once
// from the data that the sequence leaves, and both answer as a linear scan does.
func TestApplySequenceEqualsRebuild(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		depth := rapid.IntRange(1, 5).Draw(t, "depth")
		top, _ := NewTopology(Data{}, Options{ActsForDepth: depth})
		model := naive{depth: depth, devices: map[space.ID]Device{}, sensors: map[space.ID]Sensor{}, spaces: map[space.ID]Space{}}
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			c := drawChanges(t)
			top, _ = top.Apply(c)
			model.apply(c)
			again, problems := NewTopology(model.data(), Options{ActsForDepth: depth})
			if d := cmp.Diff(again.Data(), top.Data(), cmpopts.EquateEmpty(), cmp.AllowUnexported(space.Path{})); d != "" {
				t.Fatalf("data differs (-rebuilt +applied):\n%s", d)
			}
			if d := cmp.Diff(problems, top.Problems(), cmpopts.EquateEmpty()); d != "" {
				t.Fatalf("problems differ (-rebuilt +applied):\n%s", d)
			}
			model.compare(t, top)
		}
	})
}

var texts = []string{"a", "b", "c", "d", id(1).String(), "bad/id", ""}

func drawChanges(t *rapid.T) Changes {
	ids := func(label string) []space.ID {
		return rapid.SliceOfNDistinct(
			rapid.Custom(func(t *rapid.T) space.ID { return id(rapid.ByteRange(1, 6).Draw(t, "id")) }), 0, 3,
			func(x space.ID) space.ID { return x },
		).Draw(t, label)
	}
	text := rapid.SampledFrom(texts)
	c := Changes{RemoveDevices: ids("remove devices"), RemoveSensors: ids("remove sensors"), RemoveSpaces: ids("remove spaces")}
	for _, x := range ids("devices") {
		d := Device{
			ID:         x,
			HubID:      text.Draw(t, "hub"),
			HardwareID: text.Draw(t, "hardware"),
			GatewayID:  text.Draw(t, "gateway"),
			Space: id(
				rapid.ByteRange(1, 6).Draw(t, "space"),
			),
			Status: rapid.SampledFrom([]Status{Active, Active, Active, Disabled}).Draw(t, "status"),
		}
		if rapid.Bool().Draw(t, "certificate") {
			d.Auth = Auth{Kind: AuthSelfSigned, Thumbprints: []Thumbprint{{rapid.ByteRange(1, 4).Draw(t, "thumbprint")}}}
		}
		c.PutDevices = append(c.PutDevices, d)
	}
	for _, x := range ids("sensors") {
		c.PutSensors = append(
			c.PutSensors,
			Sensor{ID: x, Device: id(rapid.ByteRange(1, 6).Draw(t, "device")), HardwareID: text.Draw(t, "hardware")},
		)
	}
	for _, x := range ids("spaces") {
		s := Space{ID: x}
		if p := rapid.ByteRange(0, 6).Draw(t, "parent"); p > 0 {
			s.Parent = id(p)
		}
		c.PutSpaces = append(c.PutSpaces, s)
	}
	return c
}

// naive answers by scanning everything.
type naive struct {
	depth   int
	devices map[space.ID]Device
	sensors map[space.ID]Sensor
	spaces  map[space.ID]Space
}

func (n *naive) apply(c Changes) {
	for _, x := range c.RemoveDevices {
		delete(n.devices, x)
	}
	for _, x := range c.RemoveSensors {
		delete(n.sensors, x)
	}
	for _, x := range c.RemoveSpaces {
		delete(n.spaces, x)
	}
	for _, d := range c.PutDevices {
		n.devices[d.ID] = d
	}
	for _, s := range c.PutSensors {
		n.sensors[s.ID] = s
	}
	for _, s := range c.PutSpaces {
		n.spaces[s.ID] = s
	}
}

func (n *naive) data() Data {
	return Data{
		Spaces:  slices.Collect(maps.Values(n.spaces)),
		Devices: slices.Collect(maps.Values(n.devices)),
		Sensors: slices.Collect(maps.Values(n.sensors)),
	}
}

func (n *naive) usable(x space.ID) bool {
	d, ok := n.devices[x]
	if !ok || CheckID(d.HubID) != nil || d.HardwareID != "" && CheckID(d.HardwareID) != nil {
		return false
	}
	for _, o := range n.devices {
		if o.ID == x {
			continue
		}
		if o.HubID == d.HubID || d.HardwareID != "" && o.HardwareID == d.HardwareID {
			return false
		}
	}
	return true
}

func (n *naive) gateway(x space.ID) (space.ID, bool) {
	var hits []space.ID
	name := n.devices[x].GatewayID
	for _, d := range n.devices {
		if name != "" && (d.ID.String() == name || d.HubID == name || d.HardwareID == name) {
			hits = append(hits, d.ID)
		}
	}
	if len(hits) != 1 || !n.usable(hits[0]) {
		return space.ID{}, false
	}
	return hits[0], true
}

func (n *naive) actsFor(a, x space.ID) bool {
	ok := func(x space.ID) bool { return n.usable(x) && n.devices[x].Status == Active }
	if !ok(a) || !ok(x) {
		return false
	}
	if a == x {
		return true
	}
	var line []space.ID // gateways above x, nearest first
	for cur, seen := x, []space.ID{x}; ; {
		g, found := n.gateway(cur)
		if !found {
			break
		}
		if slices.Contains(seen, g) {
			return false
		}
		line, seen, cur = append(line, g), append(seen, g), g
	}
	i := slices.Index(line, a)
	if i < 0 || i >= n.depth {
		return false
	}
	return !slices.ContainsFunc(line[:i], func(g space.ID) bool { return !ok(g) })
}

func (n *naive) path(x space.ID) string {
	s := ""
	for range 10 {
		sp, ok := n.spaces[x]
		if !ok {
			return ""
		}
		s = "/" + x.String() + s
		if sp.Parent.IsZero() {
			return s
		}
		x = sp.Parent
	}
	return ""
}

func (n *naive) compare(t *rapid.T, top *Topology) {
	for i := byte(1); i <= 6; i++ {
		x := id(i)
		if _, ok := top.Device(x); ok != n.usable(x) {
			t.Fatalf("device %d usable: %v, want %v", i, ok, n.usable(x))
		}
		if got, want := top.SpacePath(x).String(), n.path(x); got != want {
			t.Fatalf("path of %d: %q, want %q", i, got, want)
		}
		var children []string
		for j := byte(1); j <= 6; j++ {
			y := id(j)
			target := n.devices[y]
			if got, want := top.ActsFor(x, &target), n.actsFor(x, y); got != want {
				t.Fatalf("%d acts for %d: %v, want %v", i, j, got, want)
			}
			if g, ok := n.gateway(y); ok && g == x && y != x && n.usable(y) {
				children = append(children, fmt.Sprint(j))
			}
		}
		var got []string
		for c := range top.Children(x) {
			got = append(got, fmt.Sprint(c.ID[15]))
		}
		slices.Sort(got)
		if !slices.Equal(got, children) {
			t.Fatalf("children of %d: %v, want %v", i, got, children)
		}
	}
	for _, text := range texts {
		var hits []Sensor
		for _, s := range n.sensors {
			if s.HardwareID == text && CheckID(text) == nil {
				hits = append(hits, s)
			}
		}
		s, ok := top.SensorByHardwareID(text)
		if ok != (len(hits) == 1) || ok && s.ID != hits[0].ID {
			t.Fatalf("sensor %q: %v, %v; by scan %v", text, s, ok, hits)
		}
		d, ok := top.DeviceByHubID(text)
		if ok && (d.HubID != text || !n.usable(d.ID)) {
			t.Fatalf("DeviceByHubID(%q) = %v", text, d)
		}
	}
}
