package access

import (
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
)

// change takes a change of the registry as the gateway does: the next topology and the next index are
// derived, and nobody's rights have a new version. rebuild would hide what depends on that.
func (w *world) change(c device.Changes) {
	w.t.Helper()
	w.topology, _ = w.topology.Apply(c)
	w.apply(model.ChangeSet{})
}

// An open session answers by the new registry after a change that touches no assignment, although it
// has cached its answers and its rights are of the same version as before.
func TestOpenSessionsFollowTheRegistry(t *testing.T) {
	for name, change := range map[string]func(*device.Device){
		"moved":    func(d *device.Device) { d.Space = floor2 },
		"disabled": func(d *device.Device) { d.Status = device.Disabled },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.assign(deviceIdentity(1), model.GatewayDeviceRole, room1Path)
			w.assign(userIdentity(9), model.UserRole, room1Path)
			m := w.open()
			dev := m.Open(devicePrincipal(1, "dev1"))
			reader := m.Open(userPrincipal(9))
			events := "devices/dev1/messages/events/"
			reading := from(devicePrincipal(1, "dev1"), "spaces"+room1Path.String()+"/devices/dev1/events")
			reading.Via.Topic = events
			ask := func(when string, allowed bool) {
				t.Helper()
				for range 2 { // the second answer may be a cached one
					w.want(dev.Connect(), allowed, "", when+": connect")
					w.want(dev.Publish(events, nil), allowed, "", when+": publish")
					w.want(dev.Subscribe("devices/dev1/messages/devicebound/#"), allowed, "", when+": subscribe")
					if got := reader.Deliver(reading); got != allowed {
						t.Errorf("%s: deliver %v", when, got)
					}
				}
			}
			ask("before", true)
			d := w.data.Devices[0]
			change(&d)
			w.change(device.Changes{PutDevices: []device.Device{d}})
			ask("after", false)
			w.change(device.Changes{PutDevices: []device.Device{w.data.Devices[0]}})
			ask("put back", true)
			w.change(device.Changes{RemoveDevices: []space.ID{id(1)}})
			ask("deleted", false)
		})
	}
}
