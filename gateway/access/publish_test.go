package access

import (
	"testing"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

func TestTelemetry(t *testing.T) {
	w := newWorld(t)
	w.assign(deviceIdentity(1), model.GatewayDeviceRole, room1Path)
	w.assign(deviceIdentity(3), model.GatewayDeviceRole, floor1Path)
	w.assign(deviceIdentity(6), model.GatewayDeviceRole, room1Path)
	w.assign(userIdentity(0x31), model.DeviceAdministratorRole, sitePath)
	m := w.open()
	dev1, gw, user := m.Open(devicePrincipal(1, "dev1")), m.Open(devicePrincipal(3, "gw")), m.Open(userPrincipal(0x31))
	mod := m.Open(modulePrincipal(1, "dev1", "m1"))
	tests := []struct {
		who     *Rights
		topic   string
		allowed bool
		reason  string
	}{
		{dev1, "devices/dev1/messages/events/", true, Granted},
		{dev1, "devices/dev1/messages/events", true, Granted},
		{dev1, "devices/dev1/messages/events/DigitalTwins-SensorHardwareId=temp1", true, Granted},
		{dev1, "devices/dev1/messages/events/DigitalTwins-SensorHardwareId=far1", false, "outside-scope"}, // the sensor's own path decides
		{dev1, "devices/dev1/messages/events/DigitalTwins-SensorHardwareId=nope", false, UnknownSensor},
		{dev1, "devices/dev1/messages/events/DigitalTwins-SensorHardwareId=twice", false, UnknownSensor},
		{dev1, "devices/dev1/messages/events/DigitalTwins-SensorHardwareId=childtemp", false, ForeignSensor},
		{dev1, "devices/dev10/messages/events/", false, NotActingFor}, // class 18
		{dev1, "devices/dev/messages/events/", false, UnknownDevice},
		{dev1, "devices/gw/messages/events/", false, NotActingFor},
		{dev1, "devices/dev1/messages/events/a=1&a=2", false, BadBag},
		{dev1, "devices/dev1/messages/events/a", false, BadBag},
		{dev1, "devices/dev1/messages/events/a=%zz", false, BadBag},
		{dev1, "devices/dev1/messages/events/%24.cdid=gw", false, ReservedKey},
		{dev1, "devices/dev1/messages/events/$.CMID=m", false, ReservedKey},
		{dev1, "devices/dev1/messages/events/$.on=x", false, ReservedKey},
		{dev1, "devices/dev1/messages/events/iothub-connection-device-id=gw", false, ReservedKey},
		{dev1, "devices/dev1/messages/events/digitaltwins-sensorhardwareid=temp1", false, ReservedKey},
		{dev1, "devices/dev1/messages/events/a=1/b", false, NoRow},
		{dev1, "devices/dev1/modules/m1/messages/events/", false, NotActingFor},
		{dev1, "Devices/dev1/messages/events/", false, NoRow},
		{gw, "devices/child/messages/events/", true, Granted},
		{gw, "devices/gw/messages/events/DigitalTwins-SensorHardwareId=childtemp", true, Granted},
		{gw, "devices/stray/messages/events/", false, NotActingFor},
		{gw, "devices/gw/messages/events/DigitalTwins-SensorHardwareId=straytemp", false, ForeignSensor},
		{mod, "devices/dev1/modules/m1/messages/events/", true, Granted},
		{mod, "devices/dev1/modules/m2/messages/events/", false, NotActingFor},
		{mod, "devices/dev1/messages/events/", false, NotActingFor},
		{user, "devices/dev1/messages/events/", false, NotActingFor},
		{user, "spaces/" + site.String() + "/devices/dev1/events", false, NeverPublish},
		{dev1, "", false, BadTopic},
		{dev1, "a/+", false, BadTopic},
	}
	for _, tt := range tests {
		w.want(tt.who.Publish(tt.topic, nil), tt.allowed, tt.reason, tt.who.p.Key+" publishes "+tt.topic)
		w.want(tt.who.Publish(tt.topic, nil), tt.allowed, tt.reason, tt.who.p.Key+" publishes again "+tt.topic)
	}
	off := m.Open(devicePrincipal(6, "off"))
	w.want(off.Connect(), false, InactiveDevice, "a disabled device connects")
	w.want(off.Publish("devices/off/messages/events/", nil), false, InactiveDevice, "a disabled device publishes")
}

func TestTelemetryRoute(t *testing.T) {
	w := newWorld(t)
	w.assign(deviceIdentity(3), model.GatewayDeviceRole, floor1Path)
	gw := w.open().Open(devicePrincipal(3, "gw"))
	v := gw.Publish("devices/gw/messages/events/%44igitalTwins-SensorHardwareId=childtemp&%24.ct=application%2fjson", nil)
	if !v.Allowed {
		t.Fatal(v)
	}
	r := v.Route
	if r.Topic != "devices/gw/messages/events/DigitalTwins-SensorHardwareId=childtemp&$.ct=application%2Fjson" {
		t.Error("forwarded as", r.Topic)
	}
	if r.Mirror != "spaces"+room2Path.String()+"/devices/child/events" {
		t.Error("mirrored at", r.Mirror)
	}
	if r.Handling != message.Telemetry || r.Device != "gw" || r.Origin != "child" || r.Sensor != "childtemp" || len(r.Properties) != 2 ||
		r.Properties[1].Value != "application/json" {
		t.Errorf("route %+v", r)
	}
	if r := gw.Publish("devices/child/messages/events", nil).Route; r.Topic != "devices/child/messages/events/" ||
		r.Mirror != "spaces"+room2Path.String()+"/devices/child/events" {
		t.Errorf("route without a bag %+v", r)
	}
}

func TestDeviceSelfGrant(t *testing.T) {
	w := newWorld(t)
	w.data.Devices[3].GatewayID = "dev1" // child now hangs off dev1
	w.rebuild()
	o := w.options()
	without := New(o).Open(devicePrincipal(1, "dev1"))
	o.DeviceSelfGrant = true
	m := New(o)
	dev1 := m.Open(devicePrincipal(1, "dev1"))
	w.want(without.Connect(), false, "no-assignment", "off: connect")
	w.want(dev1.Connect(), true, SelfGrant, "on: connect")
	w.want(dev1.Publish("devices/dev1/messages/events/", nil), true, SelfGrant, "own telemetry")
	w.want(dev1.Publish("devices/dev1/messages/events/DigitalTwins-SensorHardwareId=far1", nil), true, SelfGrant, "own sensor elsewhere")
	w.want(dev1.Publish("devices/child/messages/events/", nil), false, "no-assignment", "the child's telemetry")
	w.want(dev1.Publish("devices/dev1/messages/events/DigitalTwins-SensorHardwareId=childtemp", nil), false, "no-assignment",
		"the child's sensor")
	w.want(dev1.Publish("devices/dev1/messages/devicebound/", nil), false, "no-assignment", "Update is not in it")
	w.want(dev1.Publish("registry/devices/dev1/sensors/new/create", nil), true, SelfGrant, "a sensor of its own")
	w.want(dev1.Publish("registry/devices/dev10/get", nil), false, "no-assignment", "another device")
	w.want(dev1.Subscribe("devices/dev1/messages/devicebound/#"), true, SelfGrant, "its own messages")
	w.want(m.Open(devicePrincipal(6, "off")).Connect(), false, InactiveDevice, "a disabled device")
}

// An answer of the registry shows a sensor to whoever may read it by the topic map: device_self_grant counts
// for a device and its modules (a module holds its device's identity), and only while the device is Active.
func TestDeviceSelfGrantIsOneRule(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	o.DeviceSelfGrant = true
	m := New(o)
	shown := func(p *principal.Principal) bool {
		s, ok := w.topology.SensorByHardwareID("far1") // of dev1, at another place
		if !ok {
			t.Fatal("the world has no sensor far1")
		}
		return m.MayReadSensor(p, s)
	}
	agree := func(p *principal.Principal, want bool, why string) {
		t.Helper()
		d := decider{env: m.env(), p: p}
		s, _ := w.topology.SensorByHardwareID("far1")
		if got := d.meets(readSensor, d.sensorPlace(s)).ok; got != want || shown(p) != got {
			t.Errorf("%s: the topic map says %t, the registry's answer %t, want %t", why, got, shown(p), want)
		}
	}
	agree(devicePrincipal(1, "dev1"), true, "the device itself")
	agree(modulePrincipal(1, "dev1", "m1"), true, "a module of it")
	agree(devicePrincipal(9, "stranger"), false, "another device")
	agree(userPrincipal(0x31), false, "a user")
	w.data.Devices[0].Status = device.Disabled
	w.rebuild()
	agree(devicePrincipal(1, "dev1"), false, "a device that is disabled")
	agree(modulePrincipal(1, "dev1", "m1"), false, "a module of a disabled device")
}

func TestOwnRows(t *testing.T) {
	w := newWorld(t)
	w.assign(deviceIdentity(1), model.GatewayDeviceRole, room1Path)
	w.assign(userIdentity(0x31), model.SpaceAdministratorRole, sitePath)
	m := w.open()
	dev1, user := m.Open(devicePrincipal(1, "dev1")), m.Open(userPrincipal(0x31))
	v := dev1.Publish("$iothub/methods/res/200/?$rid=ab-1", nil)
	w.want(v, true, Granted, "method response")
	if r := v.Route; r.Handling != message.MethodResponse || r.Device != "dev1" || r.Request != "ab-1" || r.Status != 200 {
		t.Errorf("route %+v", r)
	}
	w.want(dev1.Publish("$iothub/twin/GET/?$rid=1", nil), true, Granted, "twin get")
	w.want(dev1.Publish("$iothub/twin/PATCH/properties/reported/?$rid=1", nil), true, Granted, "reported")
	w.want(user.Publish("$iothub/twin/GET/?$rid=1", nil), false, NotOwn, "a user has no twin")
	for _, bad := range []string{"$iothub/twin/GET/?$rid=", "$iothub/twin/GET/?rid=1", "$iothub/twin/GET/?$rid=%2F",
		"$iothub/twin/GET/?$rid=1&$rid=2"} {
		w.want(dev1.Publish(bad, nil), false, BadRequest, bad)
	}
	// Class 13: nothing is published on what only the gateway says, in any case.
	for _, never := range []string{
		"$iothub/twin/res/200/?$rid=1", "$iothub/twin/PATCH/properties/desired/?$version=1", "$iothub/methods/POST/x/?$rid=1",
		"$SYS/broker", "$SYS", "$sys/x", "$CONTROL/dynamic-security/v1", "$IOTHUB/twin/GET/?$rid=1", "$share/g/x", "$", "$iothub",
		"deviceupdate/responses/1", "registry/responses/1", "spaces/devices/dev1/events",
	} {
		w.want(dev1.Publish(never, nil), false, "", never)
		w.want(dev1.Will(never), false, "", "will to "+never)
		w.want(user.Publish(never, nil), false, "", never)
	}
}

func TestCommandsAndRegistry(t *testing.T) {
	w := newWorld(t)
	w.assign(userIdentity(0x31), model.DeviceInstallerRole, room1Path)
	w.assign(deviceIdentity(3), model.GatewayDeviceRole, floor1Path)
	m := w.open()
	user, gw := m.Open(userPrincipal(0x31)), m.Open(devicePrincipal(3, "gw"))
	v := user.Publish("devices/dev1/messages/devicebound/a=1", nil)
	w.want(v, true, Granted, "a command")
	if !v.Route.OnBehalf || v.Route.Handling != message.CloudToDevice {
		t.Errorf("route %+v", v.Route)
	}
	w.want(user.Publish("devices/child/messages/devicebound/", nil), false, "outside-scope", "a command elsewhere")
	w.want(gw.Publish("devices/child/messages/devicebound/", nil), false, "role-lacks-operation", "a gateway has no Update")
	w.want(user.Publish("devices/dev1/modules/m1/messages/devicebound/", nil), false, NeverPublish, "to a module")

	v = gw.Publish("registry/devices/child/sensors/new-1/create", nil)
	w.want(v, true, Granted, "register a sensor")
	if r := v.Route; r.Handling != message.Registry || r.Name != "create" || r.Object != "new-1" || r.Device != "child" {
		t.Errorf("route %+v", r)
	}
	w.want(gw.Publish("registry/devices/child/get/?$rid=7", nil), true, Granted, "read the child")
	w.want(gw.Publish("registry/devices/dev1/get", nil), true, Granted, "read below its floor") // no acts-for here
	w.want(user.Publish("registry/devices/dev1/sensors/x/create", nil), false, "role-lacks-operation", "an installer creates")
	w.want(gw.Publish("registry/devices/unknown/get", nil), false, UnknownDevice, "an unknown device")
}

func TestDeployments(t *testing.T) {
	w := newWorld(t)
	w.azure(0x31, "Device Update Deployments Administrator", instanceScope)
	w.azure(0x32, "Device Update Deployments Reader", instanceScope)
	w.assign(deviceIdentity(1), model.SpaceAdministratorRole, sitePath)
	m := w.open()
	admin, reader, dev1 := m.Open(userPrincipal(0x31)), m.Open(userPrincipal(0x32)), m.Open(devicePrincipal(1, "dev1"))
	const create, get = "deviceupdate/devices/dev1/deployments/d-1/create", "deviceupdate/devices/dev1/get"
	v := admin.Publish(create, &message.Message{Props: message.Properties{ResponseTopic: "deviceupdate/responses/r1"}})
	w.want(v, true, Granted, "create")
	if r := v.Route; r.Handling != message.Deployment || r.Name != "create" || r.Object != "d-1" || r.Device != "dev1" || r.Request != "r1" {
		t.Errorf("route %+v", r)
	}
	w.want(reader.Publish(create, nil), false, "", "a reader creates")
	w.want(reader.Publish(get, nil), true, Granted, "a reader reads")
	w.want(dev1.Publish(create, nil), false, NotInitiator, "a device creates")
	w.want(dev1.Publish(get, nil), false, NotInitiator, "a device reads")
	w.want(admin.Publish("deviceupdate/devices/nope/get", nil), false, UnknownDevice, "unknown")
	w.want(admin.Publish("deviceupdate/devices/dev1/deployments/d-1/delete", nil), false, NoRow, "no such action")
	for _, elsewhere := range []string{"a", "deviceupdate/responses/", "deviceupdate/responses/a/b", "spaces/x", "DeviceUpdate/responses/1",
		"deviceupdate/responses/+"} {
		v := admin.Publish(create, &message.Message{Props: message.Properties{ResponseTopic: elsewhere}})
		w.want(v, false, BadResponse, "answer to "+elsewhere)
		if v.Code != message.NotAuthorized {
			t.Errorf("answer to %s: code 0x%02x, want 0x87", elsewhere, v.Code)
		}
	}
	o := w.options()
	o.InstanceScope = ""
	w.want(New(o).Open(userPrincipal(0x31)).Publish(create, nil), false, NoGrant, "no instance configured")
	w.want(admin.Will(create), false, NoWill, "a will that deploys")
}

func TestUpstream(t *testing.T) {
	w := newWorld(t)
	w.assign(userIdentity(0x41), model.SpaceAdministratorRole, sitePath)
	w.azure(0x41, "Device Update Administrator", instanceScope)
	p := userPrincipal(0x41)
	p.Kind, p.Key = principal.Upstream, "upstream:hub"
	up := w.open().Open(p)
	w.want(up.Publish("devices/dev1/messages/devicebound/%24.cdid=x", nil), true, Granted, "a command from the hub")
	w.want(up.Publish("devices/dev1/modules/m1/inputs/in1/a=1", nil), true, Granted, "a module's input from the hub")
	w.want(up.Publish("devices/dev1/messages/events/", nil), false, NotActingFor, "telemetry from above")
	for _, closed := range []string{
		"$SYS/x", "spaces/" + site.String() + "/devices/dev1/events", "registry/devices/dev1/get",
		"deviceupdate/devices/dev1/deployments/1/create",
	} {
		w.want(up.Publish(closed, nil), false, ForUpstream, closed)
	}
	w.want(up.Subscribe("devices/#"), false, "", "a link subscribes")
}

func TestConnect(t *testing.T) {
	w := newWorld(t)
	w.assign(deviceIdentity(1), model.GatewayDeviceRole, room1Path)
	grant := w.assign(userIdentity(0x31), model.UserRole, room1Path)
	w.azure(0x32, "Device Update Reader", instanceScope)
	fn := model.Identity{Kind: model.UserDefinedFunctionID, Object: id(0x21)}
	w.assign(fn, model.UserRole, sitePath)
	gone := model.Identity{Kind: model.UserDefinedFunctionID, Object: id(0x22)}
	w.assign(gone, model.UserRole, sitePath)
	m := w.open()
	function := func(i model.Identity) *principal.Principal {
		return &principal.Principal{Kind: principal.Function, Subject: model.Subject{Identities: []model.Identity{i}}}
	}
	user := m.Open(userPrincipal(0x31))
	w.want(m.Open(devicePrincipal(1, "dev1")).Connect(), true, Granted, "device")
	w.want(m.Open(modulePrincipal(1, "dev1", "m1")).Connect(), true, Granted, "module")
	w.want(m.Open(modulePrincipal(1, "dev1", "m9")).Connect(), false, UnknownModule, "unknown module")
	w.want(m.Open(devicePrincipal(1, "dev")).Connect(), false, UnknownDevice, "renamed device")
	w.want(m.Open(devicePrincipal(2, "dev10")).Connect(), false, "no-assignment", "no assignment")
	w.want(user.Connect(), true, Granted, "user with a role in a room")
	w.want(m.Open(userPrincipal(0x32)).Connect(), true, Granted, "user with an Azure role")
	w.want(m.Open(userPrincipal(0x33)).Connect(), false, NoGrant, "stranger")
	w.want(m.Open(function(fn)).Connect(), true, Granted, "function")
	w.want(m.Open(function(gone)).Connect(), false, UnknownFunc, "deleted function")
	w.want(m.Open(&principal.Principal{}).Connect(), false, UnknownKind, "nobody")
	w.revoke(grant)
	w.want(user.Connect(), false, NoGrant, "losing the last grant")
	w.want(user.Subscribe("spaces"+room1Path.String()+"/#"), false, NoGrant, "and everything with it")

	// Class 14: a missing policy or registry never means "allow".
	for name, o := range map[string]Options{
		"nothing":     {},
		"no policy":   {Facts: func() (*authz.Index, *device.Topology) { return nil, w.topology }},
		"no registry": {Facts: func() (*authz.Index, *device.Topology) { return w.index, nil }},
	} {
		r := New(o).Open(devicePrincipal(1, "dev1"))
		w.want(r.Connect(), false, NoPolicy, name)
		w.want(r.Publish("devices/dev1/messages/events/", nil), false, NoPolicy, name)
		w.want(r.Subscribe("spaces/#"), false, NoPolicy, name)
		if r.Deliver(from(devicePrincipal(1, "dev1"), "spaces/devices/dev1/events")) {
			t.Error(name, "delivers")
		}
	}
}

func TestStages(t *testing.T) {
	w := newWorld(t)
	w.assign(deviceIdentity(3), model.GatewayDeviceRole, floor1Path)
	w.assign(userIdentity(0x31), model.UserRole, room1Path)
	w.assign(model.Identity{Kind: model.TenantID, Object: home}, model.UserRole, room1Path)
	w.azure(0x32, "Device Update Administrator", instanceScope)
	o := w.options()
	m := New(o)
	gw, user, admin, member := m.Open(devicePrincipal(3, "gw")), m.Open(userPrincipal(0x31)), m.Open(userPrincipal(0x32)),
		m.Open(userPrincipal(0x33))
	const (
		telemetry = "devices/gw/messages/events/"
		register  = "registry/devices/child/sensors/new/create"
		deploy    = "deviceupdate/devices/dev1/deployments/1/"
	)
	read := "spaces" + room1Path.String() + "/#"
	for _, w.stage = range []offline.Stage{offline.Fresh, offline.Stale} {
		w.want(gw.Publish(register, nil), true, Granted, w.stage.String())
		w.want(admin.Publish(deploy+"create", nil), true, Granted, w.stage.String())
		w.want(member.Connect(), true, Granted, w.stage.String())
	}
	w.stage = offline.Restricted
	w.want(gw.Publish(telemetry, nil), true, Granted, "restricted: telemetry")
	w.want(gw.Publish("registry/devices/child/get", nil), true, Granted, "restricted: a read")
	w.want(gw.Publish(register, nil), false, StageRefused, "restricted: an administrative write")
	w.want(user.Subscribe(read), true, Granted, "restricted: reading")
	w.want(member.Connect(), false, StageRefused, "restricted: known only by tenant")
	w.want(admin.Publish(deploy+"create", nil), false, StageRefused, "restricted: create")
	w.want(admin.Publish(deploy+"retry", nil), false, StageRefused, "restricted: retry")
	w.want(admin.Publish(deploy+"cancel", nil), true, Granted, "restricted: cancel")
	w.want(admin.Publish("deviceupdate/devices/dev1/get", nil), true, Granted, "restricted: get")
	for _, w.stage = range []offline.Stage{offline.Expired, 200} {
		w.want(gw.Connect(), false, CacheExpired, "expired: connect")
		w.want(gw.Publish(telemetry, nil), false, CacheExpired, "expired: publish")
		w.want(user.Subscribe(read), false, CacheExpired, "expired: subscribe")
	}
	o.KeepAfterExpiry = true
	kept := New(o)
	w.want(kept.Open(devicePrincipal(3, "gw")).Publish(telemetry, nil), true, Granted, "kept: telemetry")
	w.want(kept.Open(userPrincipal(0x32)).Publish(deploy+"create", nil), false, StageRefused, "kept: create")
}

func TestWills(t *testing.T) {
	w := newWorld(t)
	grant := w.assign(deviceIdentity(1), model.GatewayDeviceRole, room1Path)
	w.assign(userIdentity(0x31), model.SpaceAdministratorRole, sitePath)
	m := w.open()
	dev1 := m.Open(devicePrincipal(1, "dev1"))
	w.want(dev1.Will("devices/dev1/messages/events/"), true, Granted, "telemetry")
	w.want(dev1.Will("devices/dev10/messages/events/"), false, NotActingFor, "another's telemetry")
	w.want(dev1.Will("$iothub/twin/PATCH/properties/reported/?$rid=1"), false, NoWill, "a twin patch")
	w.want(m.Open(userPrincipal(0x31)).Will("devices/dev1/messages/devicebound/"), false, NoWill, "a command")
	w.revoke(grant)
	w.want(dev1.Will("devices/dev1/messages/events/"), false, "no-assignment", "after revocation")
	w.assign(deviceIdentity(1), model.GatewayDeviceRole, room1Path)
	w.want(dev1.Will("devices/dev1/messages/events/"), true, Granted, "the right is back")
	w.data.Devices[0].Status = device.Disabled
	w.rebuild()
	w.want(dev1.Will("devices/dev1/messages/events/"), false, InactiveDevice, "after disabling")
	if m.Known(devicePrincipal(1, "dev1")) || !m.Known(devicePrincipal(3, "gw")) {
		t.Error("Known: a disabled device is gone, an active one is not")
	}
}
