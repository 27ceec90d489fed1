package access

import (
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

func TestSubscribe(t *testing.T) {
	w := newWorld(t)
	w.assign(userIdentity(0x31), model.UserRole, floor1Path)
	w.assign(userIdentity(0x32), model.SpaceAdministratorRole, space.Root)
	w.assign(deviceIdentity(1), model.GatewayDeviceRole, room1Path)
	w.assign(deviceIdentity(2), model.GatewayDeviceRole, space.Root)
	w.assign(deviceIdentity(3), model.GatewayDeviceRole, floor1Path)
	m := w.open()
	user, root := m.Open(userPrincipal(0x31)), m.Open(userPrincipal(0x32))
	dev1, dev10, gw := m.Open(devicePrincipal(1, "dev1")), m.Open(devicePrincipal(2, "dev10")), m.Open(devicePrincipal(3, "gw"))
	mod := m.Open(modulePrincipal(1, "dev1", "m1"))
	floor := "spaces" + floor1Path.String()
	tests := []struct {
		who     *Rights
		filter  string
		allowed bool
		reason  string
	}{
		// An assignment at a path is exactly a subscription to spaces/{path}/#.
		{user, floor + "/#", true, Granted},
		{user, floor + "/+/devices/+/events", true, Granted},
		{user, floor + "/devices/gw/events", true, Granted},
		{user, "spaces" + room1Path.String() + "/#", true, Granted},
		{user, "spaces" + sitePath.String() + "/#", false, "outside-scope"},
		{user, "spaces" + sitePath.String() + "/+/#", false, "outside-scope"},
		{user, "spaces" + sitePath.String() + "/+/devices/dev1/events", false, "outside-scope"},
		{user, "spaces/#", false, "outside-scope"},
		{user, "#", false, NotActingFor}, // class 5
		{user, "+/#", false, NotActingFor},
		{user, "+/+/+/+/devices/+/events", false, ""},
		{user, floor[:len(floor)-1] + "/#", false, NoTopic}, // class 18: a cut GUID is no prefix
		{user, "spaces/" + floor1.String() + "/#", false, "outside-scope"},
		{root, "spaces" + strings.ToUpper(room1Path.String()) + "/#", false, NoTopic}, // nobody spells it so
		{root, "spaces/#", true, Granted},
		{root, "#", false, NotActingFor}, // telemetry topics ask for acts-for
		{root, "$SYS/#", true, Granted},
		{root, "$SYS/+/x", true, Granted},
		{user, "$SYS/#", false, "outside-scope"},
		{user, "$sys/#", false, NoTopic},
		{root, "$CONTROL/#", false, NoTopic},
		{root, "nothing/here", false, NoTopic},
		{root, "+", false, NoTopic},

		{dev1, "devices/dev1/messages/devicebound/#", true, Granted},
		{dev1, "devices/dev10/messages/devicebound/#", false, NotActingFor},
		{dev1, "devices/+/messages/devicebound/#", false, NotActingFor}, // class 1
		{dev1, "devices/#", false, NotActingFor},
		{dev1, "devices/dev1/messages/events/", true, Granted},
		{dev1, "devices/dev1/messages/events/#", false, "outside-scope"}, // a sensor yet to come counts as at /
		{dev10, "devices/dev10/messages/events/#", true, Granted},
		{dev1, "devices/dev1/messages/events/DigitalTwins-SensorHardwareId=temp1", true, Granted},
		{dev1, "devices/dev1/messages/events/DigitalTwins-SensorHardwareId=far1", false, "outside-scope"},
		{dev1, "devices/dev1/messages/events/a", false, NoTopic},
		{gw, "devices/child/messages/devicebound/#", true, Granted},
		{gw, "devices/stray/messages/devicebound/#", false, NotActingFor},
		{mod, "devices/dev1/modules/m1/#", true, Granted},
		{mod, "devices/dev1/modules/m1/messages/events/#", false, NoTopic},
		{mod, "devices/dev1/modules/m2/#", false, NotOwn},
		{mod, "devices/dev1/modules/+/inputs/#", false, NotOwn},
		{mod, "devices/dev1/messages/devicebound/#", false, NotActingFor},
		{dev1, "devices/dev1/modules/m1/messages/devicebound/#", false, NotOwn},

		{dev1, "$iothub/twin/res/#", true, Granted},
		{dev1, "$iothub/twin/PATCH/properties/desired/#", true, Granted},
		{dev1, "$iothub/methods/POST/#", true, Granted},
		{dev1, "$iothub/#", false, NeverRead},
		{dev1, "$iothub/twin/GET/#", false, NeverRead},
		{dev1, "$IoTHub/twin/res/#", false, NoTopic},
		{user, "$iothub/twin/res/#", false, NotOwn},

		{user, "deviceupdate/responses/#", true, PrivateAnswer},
		{user, "registry/responses/+", true, PrivateAnswer},
		{root, "deviceupdate/#", false, NeverRead},
		{root, "deviceupdate/devices/dev1/deployments/+/create", false, NeverRead},
		{root, "registry/devices/+/get", false, NeverRead},

		// docs/spec/broker-boundary.md class 7, B6 and B26: shared subscriptions.
		{user, "$share/g/" + floor + "/#", true, Granted},
		{user, "$SHARE/g/" + floor + "/#", true, Granted},
		{root, "$share/g/$SYS/#", true, Granted},
		{user, "$share/g/$SYS/#", false, "outside-scope"},
		{user, "$sHaRe/g/#", false, NotActingFor},
		{dev1, "$share/g/$iothub/twin/res/#", false, SharedPrivate},
		{dev1, "$SHARE/g/$iothub/methods/POST/#", false, SharedPrivate},
		{user, "$share/g/deviceupdate/responses/#", false, SharedPrivate},
		{user, "$share/g/registry/responses/x", false, SharedPrivate},
		{user, "$share//" + floor + "/#", false, BadFilter},
		{user, "$share/+/" + floor + "/#", false, BadFilter},
		{user, "$share/g", false, BadFilter},
		{user, "$share/g/", false, BadFilter},
		{user, "$share", false, BadFilter},
		{user, "$share/g/$share/h/" + floor + "/#", false, BadFilter},
		{user, "a#", false, BadFilter},
		{user, "", false, BadFilter},
	}
	for _, tt := range tests {
		w.want(tt.who.Subscribe(tt.filter), tt.allowed, tt.reason, tt.who.p.Key+" subscribes to "+tt.filter)
	}
}

func TestFilteredListener(t *testing.T) {
	w := newWorld(t)
	w.assign(userIdentity(0x31), model.UserRole, room1Path)
	w.assign(deviceIdentity(1), model.GatewayDeviceRole, room1Path)
	w.assign(deviceIdentity(4), model.GatewayDeviceRole, room2Path)
	m := w.open()
	user := m.Open(userPrincipal(0x31), Filtered())
	w.want(user.Subscribe("#"), true, "", "everything, filtered")
	w.want(user.Subscribe("spaces"+sitePath.String()+"/#"), true, FilteredLater, "the site, filtered")
	w.want(user.Subscribe("spaces"+room2Path.String()+"/devices/child/events"), false, "outside-scope", "an exact filter is not wide")
	w.want(user.Subscribe("$share/g/$iothub/#"), false, SharedPrivate, "sharing what is private")
	w.want(user.Subscribe("nothing/#"), false, NoTopic, "no possible topic")
	w.want(user.Subscribe("deviceupdate/devices/#"), false, NeverRead, "requests are never read")
	dev1, child := devicePrincipal(1, "dev1"), devicePrincipal(4, "child")
	here := from(dev1, "spaces"+room1Path.String()+"/devices/dev1/events")
	here.Via.Topic = "devices/dev1/messages/events/"
	there := from(child, "spaces"+room2Path.String()+"/devices/child/events")
	there.Via.Topic = "devices/child/messages/events/"
	if !user.Deliver(here) || user.Deliver(there) {
		t.Error("the filtered subscription does not deliver exactly what is readable")
	}
}

// A wildcard over an operator's own row asks for a right at / because of the devices that do not exist yet. On
// a filtered listener it needs none, and delivers what its client may read.
func TestFilteredWildcardOverOwnRows(t *testing.T) {
	w := newWorld(t)
	w.assign(userIdentity(0x31), model.UserRole, room1Path)
	w.assign(userIdentity(0x31), model.DeviceAdministratorRole, room1Path)
	m := w.open()
	m.SetTopicMap(loadExample(t)) // hvac/{device}/setpoint: Read Device
	w.want(m.Open(userPrincipal(0x31)).Subscribe("hvac/dev1/setpoint"), true, Granted, "a device of its own")
	w.want(m.Open(userPrincipal(0x31)).Subscribe("hvac/+/setpoint"), false, "outside-scope", "all that may ever be")
	user := m.Open(userPrincipal(0x31), Filtered())
	w.want(user.Subscribe("hvac/+/setpoint"), true, FilteredLater, "all of them, filtered")
	by := userPrincipal(0x31)
	if !user.Deliver(from(by, "hvac/dev1/setpoint")) || user.Deliver(from(by, "hvac/child/setpoint")) {
		t.Error("the filtered subscription does not deliver exactly what is readable")
	}
}

func TestDeliver(t *testing.T) {
	w := newWorld(t)
	w.assign(userIdentity(0x31), model.UserRole, room1Path)
	w.assign(userIdentity(0x32), model.SpaceAdministratorRole, space.Root)
	mine := w.assign(deviceIdentity(1), model.GatewayDeviceRole, room1Path)
	m := w.open()
	user, root, dev1, dev10 := m.Open(userPrincipal(0x31)), m.Open(userPrincipal(0x32)), m.Open(devicePrincipal(1, "dev1")),
		m.Open(devicePrincipal(2, "dev10"))
	p := devicePrincipal(1, "dev1")
	reading := from(p, "spaces"+room1Path.String()+"/devices/dev1/events")
	reading.Via.Topic = "devices/dev1/messages/events/"
	gateway := &principal.Principal{Kind: principal.Gateway}
	yes := func(r *Rights, m *message.Message, what string) {
		t.Helper()
		for range 2 { // undecided, then remembered
			if !r.Deliver(m) {
				t.Error("not delivered:", what)
			}
		}
	}
	no := func(r *Rights, m *message.Message, what string) {
		t.Helper()
		for range 2 {
			if r.Deliver(m) {
				t.Error("delivered:", what)
			}
		}
	}
	yes(user, reading, "a reading in the room")
	no(dev1, from(gateway, "$SYS/uptime"), "$SYS to a device")
	yes(root, from(gateway, "$SYS/uptime"), "$SYS to Read System")
	no(root, from(p, "$SYS/uptime"), "$SYS from a device")
	no(root, from(p, "made/up"), "a topic that no row carries")
	no(root, from(nil, "spaces/devices/dev1/events"), "a message of nobody")
	no(root, from(p, "spaces"+room1Path.String()+"/devices/dev1/events"), "a mirrored reading without its original topic")

	shouted := from(p, "spaces"+strings.ToUpper(room1Path.String())+"/devices/dev1/events")
	shouted.Via.Topic = reading.Via.Topic
	no(root, shouted, "a path in another spelling")

	// Private topics: the same text for everybody, and each gets only its own.
	desired := from(gateway, "$iothub/twin/PATCH/properties/desired/?$version=3")
	desired.Via.Device = "dev1"
	yes(dev1, desired, "its own desired properties")
	no(dev10, desired, "another device's desired properties")
	no(m.Open(modulePrincipal(1, "dev1", "m1")), desired, "its device's desired properties, to a module")
	forged := from(p, desired.Topic)
	forged.Via.Device = "dev1"
	no(dev1, forged, "desired properties that a device made up")
	bare := from(gateway, desired.Topic)
	no(dev1, bare, "a private message for nobody")

	// Class 4: what a publisher who lost its right left behind stays hidden.
	w.revoke(mine)
	no(user, reading, "a retained reading of a revoked publisher")
	w.assign(deviceIdentity(1), model.GatewayDeviceRole, room1Path)
	yes(user, reading, "the publisher's right is back")
	w.data.Devices = w.data.Devices[1:]
	w.rebuild()
	no(user, reading, "a reading of a deleted publisher")
}

func TestCacheLivesForOneEpoch(t *testing.T) {
	w := newWorld(t)
	grant := w.assign(userIdentity(0x31), model.UserRole, room1Path)
	w.assign(deviceIdentity(1), model.GatewayDeviceRole, room1Path)
	m := w.open()
	user := m.Open(userPrincipal(0x31))
	reading := from(devicePrincipal(1, "dev1"), "spaces"+room1Path.String()+"/devices/dev1/events")
	reading.Via.Topic = "devices/dev1/messages/events/"
	if !user.Deliver(reading) {
		t.Fatal("not delivered")
	}
	kept := user.state.Load().cache
	w.assign(userIdentity(0x39), model.SpaceAdministratorRole, sitePath)
	if !user.Deliver(reading) || user.state.Load().cache != kept {
		t.Error("a foreign change emptied the cache")
	}
	if len(kept.delivers) != 1 {
		t.Errorf("%d deliveries remembered, want 1", len(kept.delivers))
	}
	check := func(what string, want bool) {
		t.Helper()
		if got := user.Deliver(reading); got != want {
			t.Errorf("%s: delivered %v", what, got)
		}
		if user.state.Load().cache == kept {
			t.Errorf("%s: the cache was kept", what)
		}
		kept = user.state.Load().cache
	}
	w.revoke(grant)
	check("the right is gone", false)
	w.assign(userIdentity(0x31), model.UserRole, floor1Path)
	check("another right", true)
	w.stage = offline.Stale
	check("another stage", true)
	w.rebuild()
	check("another registry", true)
	m.SetTopicMap(NewTopicMap())
	check("another table", true)
	w.stage = offline.Expired
	check("expired", false)
}
