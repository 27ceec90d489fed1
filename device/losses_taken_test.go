package device

import (
	"testing"

	"github.com/gatehouse/gatehouse/device/space"
)

// lost is what is left of a registry when a change of it cannot be stored.
func lost(t *testing.T, before Data, change func(*Data)) *Topology {
	t.Helper()
	next := Data{Spaces: before.Spaces, Devices: append([]Device(nil), before.Devices...)}
	change(&next)
	was, bad := NewTopology(before, Options{})
	now, worse := NewTopology(next, Options{})
	if len(bad)+len(worse) > 0 {
		t.Fatal(bad, worse)
	}
	left, _ := was.Apply(Losses(was, now))
	return left
}

// threeGateways is a hall with the devices a, b and c, of which each names the next as its gateway.
func threeGateways() Data {
	hall := space.MustID("00000000-0000-4000-8000-000000000001")
	d := Data{Spaces: []Space{{ID: hall, Name: "hall"}}}
	for i, name := range []string{"a", "b", "c"} {
		d.Devices = append(d.Devices, Device{
			ID:         space.MustID("00000000-0000-4000-8000-00000000000" + name),
			HubID:      name,
			HardwareID: "hw-" + name,
			Space:      hall,
			Status:     Active,
			GatewayID:  []string{"b", "c", ""}[i],
			Auth:       Auth{Kind: AuthSAS, Primary: Secret("key")},
		})
	}
	return d
}

// A device that is disabled in the cloud is disabled at once, with nothing else of its record changed.
func TestDisabledIsALoss(t *testing.T) {
	before := threeGateways()
	left := lost(t, before, func(d *Data) { d.Devices[0].Status = Disabled })
	if a, _ := left.Device(before.Devices[0].ID); a.Status != Disabled {
		t.Errorf("it is %v", a.Status)
	}
	if b, _ := left.Device(before.Devices[1].ID); b.Status != Active {
		t.Errorf("the other is %v", b.Status)
	}
}

// A gateway that a device no longer names acts for it no longer, at once.
func TestTheGatewayThatWasNamedActsNoMore(t *testing.T) {
	before := threeGateways()
	for name, gateway := range map[string]string{"none": "", "another": "c"} {
		left := lost(t, before, func(d *Data) { d.Devices[0].GatewayID = gateway })
		a, _ := left.Device(before.Devices[0].ID)
		for _, other := range before.Devices[1:] {
			if left.ActsFor(other.ID, a) {
				t.Errorf("%s: %s acts for a", name, other.HubID)
			}
		}
	}
}

// A chain of gateways that comes back to itself serves nobody. A loss must not end it: the gateways of
// the chain would gain what they had not.
func TestALossEndsNoCycleOfGateways(t *testing.T) {
	before := threeGateways()
	before.Devices[2].GatewayID = "a"
	left := lost(t, before, func(d *Data) { d.Devices[2].GatewayID = "" })
	for i := range before.Devices {
		target, _ := left.Device(before.Devices[i].ID)
		for j, actor := range before.Devices {
			if i != j && left.ActsFor(actor.ID, target) {
				t.Errorf("%s acts for %s", actor.HubID, target.HubID)
			}
		}
	}
}
