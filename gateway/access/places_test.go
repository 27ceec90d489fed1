package access

import (
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// A topic of an operator's row that names two places needs the right at both: a device cannot publish
// into a space that is not its own, and nobody reads a sensor of a space beside.
func TestARightIsNeededAtEveryPlaceThatATopicNames(t *testing.T) {
	w := newWorld(t)
	w.assign(deviceIdentity(1), model.SpaceAdministratorRole, room1Path)
	w.assign(userIdentity(0x31), model.SpaceAdministratorRole, room1Path)
	m := w.open()
	m.SetTopicMap(topicMapOf(w, []rowText{{
		Name:      "alarms",
		Topic:     "alarms/{device}/{space}",
		Publish:   &needText{AnyOf: []string{"Update Device"}},
		Subscribe: &needText{AnyOf: []string{"Read Device"}},
	}}))
	dev1, user := m.Open(devicePrincipal(1, "dev1")), m.Open(userPrincipal(0x31))
	here, beside := "alarms/dev1/"+room1.String(), "alarms/dev1/"+room2.String()
	w.want(dev1.Publish(here, from(devicePrincipal(1, "dev1"), here)), true, Granted, "publish, both places")
	w.want(dev1.Publish(beside, from(devicePrincipal(1, "dev1"), beside)), false, "outside-scope", "publish, the second place is another's")
	w.want(user.Subscribe(here), true, Granted, "subscribe, both places")
	w.want(user.Subscribe(beside), false, "outside-scope", "subscribe, the second place is another's")
	w.want(user.Subscribe("alarms/gw/"+room1.String()), false, "outside-scope", "subscribe, the first place is another's")
}

// In the restricted stage a right that somebody has by a group alone connects nobody: nothing can confirm
// that the membership still stands. A right that names the principal itself does.
func TestAGroupAloneConnectsNobodyInTheRestrictedStage(t *testing.T) {
	w := newWorld(t)
	const group = 0x41
	w.azure(group, "IoT Hub Data Contributor", hubScope)
	w.snapshot.AzureAssignments[0].Who.Type = model.AzureGroup
	w.azure(0x32, "IoT Hub Data Contributor", hubScope)
	w.rebuild()
	m := w.open()
	member, named := userPrincipal(0x31), userPrincipal(0x32)
	member.Subject.Groups = append(member.Subject.Groups, id(group))
	for stage, want := range map[offline.Stage]bool{offline.Fresh: true, offline.Stale: true, offline.Restricted: false} {
		w.stage = stage
		reason := Granted
		if !want {
			reason = StageRefused
		}
		w.want(m.Open(member).Connect(), want, reason, stage.String()+", by a group")
		w.want(m.Open(named).Connect(), true, Granted, stage.String()+", by itself")
	}
}

// The properties that the hub reserves for itself are the hub's: no service writes them into a command.
func TestReservedPropertiesComeFromTheHubAlone(t *testing.T) {
	w := newWorld(t)
	w.assign(userIdentity(0x31), model.SpaceAdministratorRole, sitePath)
	m := w.open()
	user := userPrincipal(0x31)
	plain, reserved := "devices/dev1/messages/devicebound/a=b", "devices/dev1/messages/devicebound/%24.cdid=gw"
	w.want(m.Open(user).Publish(plain, from(user, plain)), true, Granted, "a property of its own")
	w.want(m.Open(user).Publish(reserved, from(user, reserved)), false, ReservedKey, "a reserved one")
}

// A module speaks for its own device's sensors only, though the device acts for others.
func TestAModuleSpeaksForNoOtherDevicesSensor(t *testing.T) {
	w := newWorld(t)
	w.data.Devices[2].Modules = []device.Module{{ID: "m"}}
	w.data.Sensors = append(w.data.Sensors, device.Sensor{ID: id(0x19), Device: id(3), Space: floor1, HardwareID: "gwtemp"})
	w.rebuild()
	w.assign(deviceIdentity(3), model.SpaceAdministratorRole, floor1Path)
	m := w.open()
	gw, module := devicePrincipal(3, "gw"), modulePrincipal(3, "gw", "m")
	for topic, c := range map[string]struct {
		who    *principal.Principal
		reason string
	}{
		"devices/gw/messages/events/DigitalTwins-SensorHardwareId=childtemp":           {gw, Granted},
		"devices/gw/modules/m/messages/events/DigitalTwins-SensorHardwareId=gwtemp":    {module, Granted},
		"devices/gw/modules/m/messages/events/DigitalTwins-SensorHardwareId=childtemp": {module, ForeignSensor},
	} {
		w.want(m.Open(c.who).Publish(topic, from(c.who, topic)), c.reason == Granted, c.reason, topic)
	}
}
