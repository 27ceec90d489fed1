package access

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

var rewrite = flag.Bool("update", false, "write the golden files")

func TestEveryErrorOfAMapAtOnce(t *testing.T) {
	topicMap, problems := LoadTopicMap(filepath.Join("testdata", "bad.yaml"))
	if topicMap != nil {
		t.Error("a broken map made a table")
	}
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(filepath.ToSlash(p.String()) + "\n")
		if p.Line == 0 || p.Hint == "" {
			t.Errorf("%v: without a line or a fix", p)
		}
	}
	golden := filepath.Join("testdata", "bad.golden")
	if *rewrite {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", &b, want)
	}
}

func TestMissingOrUnreadableMapIsAnError(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.yaml")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if topicMap, problems := LoadTopicMap(filepath.Join(t.TempDir(), "none.yaml")); topicMap != nil || len(problems) != 1 {
		t.Errorf("a missing map: %v, %v", topicMap, problems)
	}
	topicMap, problems := LoadTopicMap(empty)
	if len(problems) != 0 || len(topicMap.Rows()) != 0 || len(topicMap.builtin) != len(BuiltinRows()) {
		t.Errorf("an empty map is the built-in rows and nothing more: %v, %v", topicMap, problems)
	}
}

func loadExample(t *testing.T) *TopicMap {
	t.Helper()
	topicMap, problems := LoadTopicMap(filepath.Join("..", "..", "configs", "topicmap.example.yaml"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return topicMap
}

func TestExampleMap(t *testing.T) {
	w := newWorld(t)
	w.assign(userIdentity(0x31), model.DeviceInstallerRole, room1Path)
	w.assign(userIdentity(0x32), model.SpaceAdministratorRole, floor1Path)
	w.assign(deviceIdentity(1), model.SpaceAdministratorRole, room1Path)
	w.assign(deviceIdentity(3), model.SpaceAdministratorRole, floor1Path)
	m := w.open()
	m.SetTopicMap(loadExample(t))
	installer, admin := m.Open(userPrincipal(0x31)), m.Open(userPrincipal(0x32))
	dev1, gw := m.Open(devicePrincipal(1, "dev1")), m.Open(devicePrincipal(3, "gw"))
	room := "rooms/" + room1.String() + "/alarm"
	tests := []struct {
		who     *Rights
		topic   string
		allowed bool
		reason  string
	}{
		{installer, "hvac/dev1/setpoint", true, Granted},
		{installer, "hvac/child/setpoint", false, "outside-scope"},
		{installer, "hvac/nobody/setpoint", false, UnknownDevice},
		{dev1, "hvac/dev1/setpoint", true, Granted},
		{gw, "hvac/child/setpoint", true, Granted},
		{gw, "hvac/dev1/setpoint", false, NotActingFor}, // holds Update there; on_behalf is not for devices
		{installer, room, false, "role-lacks-operation"},
		{admin, room, true, Granted},
		{admin, "rooms/" + floor2.String() + "/alarm", false, "outside-scope"},
		{admin, "rooms/" + strings.ToUpper(room1.String()) + "/alarm", false, UnknownSpace},
		{admin, "rooms/nowhere/alarm", false, UnknownSpace},
		{dev1, "samples/temp1/raw", true, Granted},
		{dev1, "samples/far1/raw", false, "outside-scope"},
		{dev1, "samples/childtemp/raw", false, NotActingFor},
		{dev1, "samples/twice/raw", false, UnknownSensor},
		{gw, "samples/childtemp/raw", true, Granted},
		{admin, "samples/temp1/raw", false, NotActingFor}, // the row does not say on_behalf
		{admin, "notices", false, "outside-scope"},
	}
	for _, tt := range tests {
		w.want(tt.who.Publish(tt.topic, nil), tt.allowed, tt.reason, tt.who.p.Key+" publishes "+tt.topic)
	}
	if v := installer.Publish("hvac/dev1/setpoint", nil); !v.Route.OnBehalf {
		t.Error("a set point on a device's behalf is not marked as such")
	}
	if v := dev1.Publish("hvac/dev1/setpoint", nil); v.Route.OnBehalf {
		t.Error("a device's own set point is marked as on its behalf")
	}
	// The catch-all watches, and never sees what begins with '$' or is reserved.
	if v := installer.Publish("some/topic", nil); !v.Allowed || !v.ReportOnly || v.Reason != "outside-scope" {
		t.Errorf("a watched publish: %+v", v)
	}
	for _, reserved := range []string{"$other/topic", "devices/dev1/other", "spaces/x", "registry", "deviceupdate/x"} {
		w.want(installer.Publish(reserved, nil), false, NoRow, reserved)
	}
	w.want(installer.Subscribe("hvac/dev1/#"), true, "", "its thermostat")
	w.want(installer.Subscribe("hvac/+/setpoint"), false, "outside-scope", "every thermostat")
	if v := installer.Subscribe("some/#"); !v.Allowed || !v.ReportOnly {
		t.Errorf("a watched subscription: %+v", v)
	}
	w.want(installer.Subscribe("$other/#"), false, NoTopic, "catch-all and $")
	if !installer.Deliver(from(devicePrincipal(1, "dev1"), "some/topic")) {
		t.Error("a watched delivery is not delivered")
	}
}

func TestReportOnlyBuiltinRows(t *testing.T) {
	w := newWorld(t)
	m := w.open()
	m.SetTopicMap(newTopicMap(nil, map[string]bool{"connect": true, "telemetry": true, "mirror": true}))
	dev1 := m.Open(devicePrincipal(1, "dev1"))
	watched := func(v struct {
		Allowed, ReportOnly bool
		Reason              string
	}, reason, what string) {
		t.Helper()
		if !v.Allowed || !v.ReportOnly || v.Reason != reason {
			t.Errorf("%s: %+v, want watched with %s", what, v, reason)
		}
	}
	type short = struct {
		Allowed, ReportOnly bool
		Reason              string
	}
	v := dev1.Connect()
	watched(short{v.Allowed, v.ReportOnly, v.Reason}, "no-assignment", "connect")
	v = dev1.Publish("devices/dev1/messages/events/DigitalTwins-SensorHardwareId=temp1", nil)
	watched(short{v.Allowed, v.ReportOnly, v.Reason}, "no-assignment", "telemetry")
	if v.Route.Mirror != "spaces"+room1Path.String()+"/devices/dev1/events" || v.Route.Device != "dev1" {
		t.Errorf("the route of a watched publish is empty: %+v", v.Route)
	}
	v = dev1.Publish("devices/gw/messages/events/", nil)
	watched(short{v.Allowed, v.ReportOnly, v.Reason}, NotActingFor, "another's telemetry")
	v = dev1.Subscribe("spaces/#")
	watched(short{v.Allowed, v.ReportOnly, v.Reason}, "no-assignment", "the mirror")

	// Watching never passes what is malformed, never granted, or has no snapshot.
	w.want(dev1.Publish("devices/dev1/messages/events/$.cdid=x", nil), false, ReservedKey, "a reserved property")
	w.want(dev1.Publish("spaces/devices/dev1/events", nil), false, NeverPublish, "a mirrored reading")
	w.want(dev1.Publish("$iothub/twin/GET/?$rid=1", nil), false, "no-assignment", "a row that is enforced")
	w.want(dev1.Subscribe("#"), false, "", "watched and enforced rows in one filter")
	w.stage = offline.Expired
	w.want(dev1.Connect(), false, CacheExpired, "an expired cache")
}

func TestFirstRowDecides(t *testing.T) {
	w := newWorld(t)
	w.assign(userIdentity(0x31), model.UserRole, room1Path)
	read, write := &needText{AnyOf: []string{"Read Sensor"}}, &needText{AnyOf: []string{"Read Space"}}
	m := w.open()
	m.SetTopicMap(topicMapOf(w, []rowText{
		{Topic: "a/{space}/x", Publish: write, Subscribe: read},
		{Topic: "a/#", Scope: room1Path.String(), Publish: write, Subscribe: read},
	}))
	user := m.Open(userPrincipal(0x31))
	w.want(user.Publish("a/"+room1.String()+"/x", nil), true, Granted, "the first row")
	w.want(user.Publish("a/nowhere/x", nil), false, UnknownSpace, "what the first row cannot resolve does not fall through")
	w.want(user.Publish("a/nowhere/y", nil), true, Granted, "the second row")
	w.want(user.Subscribe("a/+/y"), true, Granted, "only the second row's topics")
	w.want(user.Subscribe("a/+/x"), false, "outside-scope", "every space's topics")
	w.want(user.Subscribe("a/#"), false, "outside-scope", "both rows' topics")
	w.want(user.Subscribe("a/"+room1.String()+"/#"), true, Granted, "both rows, where both are granted")
	m.SetTopicMap(topicMapOf(w, []rowText{
		{Topic: "a/{space}/x", Publish: write, Subscribe: read},
		{Topic: "a/#", Scope: "/", Publish: write, Subscribe: read},
	}))
	w.want(user.Subscribe("a/"+room1.String()+"/x"), true, Granted, "a topic that the first row takes from a narrower one")
	w.want(user.Subscribe("a/"+room1.String()+"/#"), false, "outside-scope", "and one that it does not")
	m.SetTopicMap(topicMapOf(w, []rowText{{Topic: "a/#", Scope: room1Path.String(), Publish: write, Subscribe: read}}))
	upstream := userPrincipal(0x31)
	upstream.Kind = principal.Upstream
	w.want(m.Open(upstream).Publish("a/nowhere/y", nil), true, Granted, "an operator's row, from upstream")
}
