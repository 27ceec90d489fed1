package access

import (
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// An id that looks like a wildcard or a separator never makes a topic or filter match more,
// wherever an id becomes part of a topic (docs/spec/broker-boundary.md class 1). The registry
// refuses records with such ids. This test holds the second defence: such a record exists, or a
// principal claims such a name.
func TestIdsNeverWidenATopic(t *testing.T) {
	for _, evil := range []string{"+", "#", "a/#", "dev1/messages", "dev1\x00", "\xc0\xaf", "", ".", "$iothub", "dev1 ", "DEV1"} {
		w := newWorld(t)
		w.data.Devices = append(w.data.Devices, device.Device{
			ID:      id(9),
			HubID:   evil,
			Space:   room1,
			Status:  device.Active,
			Modules: []device.Module{{ID: evil}},
		})
		w.data.Sensors = append(w.data.Sensors, device.Sensor{ID: id(0x19), Device: id(9), Space: room1, HardwareID: evil})
		w.rebuild()
		w.assign(deviceIdentity(9), model.SpaceAdministratorRole, room1Path)
		w.assign(deviceIdentity(1), model.SpaceAdministratorRole, room1Path)
		m := w.open()
		m.SetTopicMap(topicMapOf(w, []rowText{{Topic: "own/{device}/#", Publish: &needText{AnyOf: []string{"Update Device"}},
			Subscribe: &needText{AnyOf: []string{"Read Device"}}}}))
		for _, r := range []*Rights{m.Open(devicePrincipal(9, evil)), m.Open(modulePrincipal(9, evil, evil))} {
			for _, filter := range []string{
				"devices/" + evil + "/messages/devicebound/#", "devices/" + evil + "/modules/" + evil + "/#", "devices/" + evil + "/#",
				"devices/+/messages/devicebound/#", "own/#", "own/+/#", "$iothub/#", "#",
			} {
				if r.Subscribe(filter).Allowed && topicCovers(filter, evil) {
					t.Errorf("%q was granted %q, which covers others", evil, filter)
				}
			}
			for _, name := range []string{"devices/dev1/messages/events/", "devices/dev1/messages/devicebound/", "own/dev10/x"} {
				if r.p.DeviceID != "dev1" && r.Publish(name, nil).Route.Handling == message.Telemetry {
					t.Errorf("%q published %q", evil, name)
				}
			}
		}
		// The same id as a sensor's hardware id, published by a device that has its rights.
		v := m.Open(devicePrincipal(1, "dev1")).Publish("devices/dev1/messages/events/"+sensorKey+"="+strings.ReplaceAll(evil, "/", "%2F"), nil)
		if v.Allowed {
			t.Errorf("a reading of sensor %q was taken: %+v", evil, v.Route)
		}
	}
}

// topicCovers tells whether the filter reaches a topic of device dev10.
func topicCovers(filter, evil string) bool {
	return strings.ContainsAny(evil, "+#") || strings.HasPrefix(filter, "devices/+") || strings.HasPrefix(filter, "own/+") ||
		filter == "own/#" || filter == "#" || filter == "$iothub/#"
}

// Each filter of a SUBSCRIBE is decided by itself: granting one does not open another (attack
// class 6).
func TestFiltersAreDecidedOneByOne(t *testing.T) {
	w := newWorld(t)
	w.assign(userIdentity(0x31), model.UserRole, room1Path)
	user := w.open().Open(userPrincipal(0x31))
	for range 2 {
		w.want(user.Subscribe("spaces"+room1Path.String()+"/#"), true, Granted, "its room")
		w.want(user.Subscribe("spaces"+room2Path.String()+"/#"), false, "outside-scope", "another room")
		w.want(user.Subscribe("spaces"+room1Path.String()+"/+/devices/+/events"), true, Granted, "below its room")
	}
}

// Topics with too many levels or bytes are refused before their levels are walked
// (docs/spec/broker-boundary.md class 11 and B28).
func TestDeepAndLongTopicsCostNothing(t *testing.T) {
	w := newWorld(t)
	w.assign(userIdentity(0x31), model.SpaceAdministratorRole, sitePath)
	m := w.open()
	m.SetTopicMap(loadExample(t))
	user := m.Open(userPrincipal(0x31))
	deep, long := strings.Repeat("+/", 30000)+"#", strings.Repeat("x", 65535)
	var quickest time.Duration // a busy machine makes some rounds slow, a square makes all of them
	for round := range 20 {
		start := time.Now()
		w.want(user.Subscribe(deep), false, BadFilter, "32,000 levels")
		w.want(user.Subscribe(long), false, BadFilter, "64 KiB")
		w.want(user.Publish(strings.ReplaceAll(deep[:60000], "+", "a"), nil), false, BadTopic, "a publish of 30,000 levels")
		w.want(user.Publish(long, nil), false, BadTopic, "a publish of 64 KiB")
		user.Subscribe(strings.Repeat("+/", 40) + "#") // as deep as it may be
		if took := time.Since(start); round == 0 || took < quickest {
			quickest = took
		}
	}
	if quickest > 300*time.Millisecond {
		t.Errorf("the quickest of all rounds took %v", quickest)
	}
}

// Names and paths with a common beginning are told apart (attack class 18).
func TestPrefixesAreNotMatches(t *testing.T) {
	w := newWorld(t)
	w.assign(deviceIdentity(1), model.SpaceAdministratorRole, room1Path)
	w.assign(deviceIdentity(2), model.GatewayDeviceRole, room1Path)
	m := w.open()
	dev1, dev10 := m.Open(devicePrincipal(1, "dev1")), m.Open(devicePrincipal(2, "dev10"))
	w.want(dev1.Publish("devices/dev10/messages/events/", nil), false, NotActingFor, "dev1 as dev10")
	w.want(dev10.Publish("devices/dev1/messages/events/", nil), false, NotActingFor, "dev10 as dev1")
	w.want(dev10.Subscribe("devices/dev1/messages/devicebound/#"), false, NotActingFor, "dev10 reads dev1")
	w.want(dev1.Subscribe("devices/dev10/messages/devicebound/#"), false, NotActingFor, "dev1 reads dev10")
	w.want(dev1.Subscribe("spaces"+floor1Path.String()+"/#"), false, "outside-scope", "the floor above")
}

// A refusal that depends on more than the topic, such as a wrong response topic, is not cached
// for the topic.
func TestARefusedRequestMayBeMended(t *testing.T) {
	w := newWorld(t)
	w.azure(0x31, "Device Update Deployments Administrator", instanceScope)
	r := w.open().Open(userPrincipal(0x31))
	const name = "deviceupdate/devices/dev1/deployments/w1/create"
	answered := func(topic string) *message.Message {
		m := from(userPrincipal(0x31), name)
		m.Props.ResponseTopic = topic
		return m
	}
	w.want(r.Publish(name, answered("deviceupdate/responses/r1")), true, Granted, "a good request")
	w.want(r.Publish(name, answered("devices/dev1/messages/events/")), false, BadResponse, "an answer elsewhere")
	w.want(r.Publish(name, answered("deviceupdate/responses/r2")), true, Granted, "a good request after a bad one")
}

// A device sends commands only to devices that it acts for, even if it holds Update Device on
// others. A module sends none, not even to its own device.
func TestDevicesCommandOnlyThoseTheyActFor(t *testing.T) {
	w := newWorld(t)
	for _, n := range []byte{1, 3} {
		w.assign(deviceIdentity(n), model.SpaceAdministratorRole, sitePath)
	}
	m := w.open()
	dev1, gw, module := m.Open(devicePrincipal(1, "dev1")), m.Open(devicePrincipal(3, "gw")), m.Open(modulePrincipal(1, "dev1", "m1"))
	const tail = "/messages/devicebound/"
	w.want(gw.Publish("devices/child"+tail, nil), true, Granted, "a gateway and its child")
	w.want(gw.Publish("devices/stray"+tail, nil), false, NotActingFor, "a gateway and another's device")
	w.want(dev1.Publish("devices/dev1"+tail, nil), true, Granted, "a device and itself")
	w.want(dev1.Publish("devices/dev10"+tail, nil), false, NotActingFor, "a device and its neighbour")
	w.want(module.Publish("devices/dev1"+tail, nil), false, NotActingFor, "a module and its device")
	w.want(module.Publish("devices/dev10"+tail, nil), false, NotActingFor, "a module and another device")
}
