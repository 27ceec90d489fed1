package access

import (
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// fuzzMap returns a map in which device gw holds every right, so that no early refusal hides a
// fault, and an operator's topic map with each kind of level.
func fuzzMap(t tb) *Control {
	w := newWorld(t)
	w.assign(deviceIdentity(3), model.SpaceAdministratorRole, sitePath)
	w.assign(userIdentity(0x31), model.UserRole, floor1Path)
	w.azure(0x31, "Device Update Administrator", instanceScope)
	m := w.open()
	need := &needText{AnyOf: []string{"Read Sensor"}}
	m.SetTopicMap(topicMapOf(w, []rowText{
		{Topic: "a/{device}/{sensor}", Publish: need, Subscribe: need},
		{Topic: "a/{space}/+/#", Publish: need, Subscribe: need},
		{Topic: "b/#", Scope: room1Path.String(), Publish: need, Subscribe: need},
	}))
	return m
}

// FuzzPublish: whatever the topic, a publish that is allowed has a route that parses to the
// same route again.
func FuzzPublish(f *testing.F) {
	for _, s := range []string{
		hotTopic, "devices/gw/messages/events/", "devices/gw/messages/events/%24.ct=x&a=%2F",
		"devices/child/messages/events/" + sensorKey + "=childtemp",
		"$iothub/twin/GET/?$rid=1", "$iothub/methods/res/200/?$rid=a", "registry/devices/child/sensors/s/create/?$rid=2", "a/gw/childtemp", "b",
		"b/c",
		"deviceupdate/devices/gw/deployments/1/create", "spaces/devices/x/events", "a/" + room1.String() + "/x", "$SYS/x",
		"devices/gw/messages/events/a=1&%61=2",
	} {
		f.Add(s)
	}
	m := fuzzMap(f)
	gw, user := m.Open(devicePrincipal(3, "gw")), m.Open(userPrincipal(0x31))
	f.Fuzz(func(t *testing.T, name string) {
		for _, r := range []*Rights{gw, user} {
			v := r.Publish(name, nil)
			if again := r.Publish(name, nil); again.Allowed != v.Allowed || again.Reason != v.Reason || again.Route.Topic != v.Route.Topic {
				t.Fatalf("%q: %+v, and asked again %+v", name, v, again)
			}
			if !v.Allowed {
				if v.Code < 0x80 || v.Reason == "" {
					t.Fatalf("%q: refused with %+v", name, v)
				}
				continue
			}
			if err := topic.DefaultLimits().Name(v.Route.Mirror); v.Route.Mirror != "" && err != nil {
				t.Fatalf("%q: mirrored at %q: %v", name, v.Route.Mirror, err)
			}
			if strings.HasPrefix(name, "$SYS") || strings.HasPrefix(name, "spaces/") || topic.DefaultLimits().Name(name) != nil {
				t.Fatalf("%q: allowed", name)
			}
			if v.Route.Handling == message.Telemetry || v.Route.Handling == message.CloudToDevice {
				forwarded := r.Publish(v.Route.Topic, nil)
				if !forwarded.Allowed || forwarded.Route.Topic != v.Route.Topic || forwarded.Route.Mirror != v.Route.Mirror ||
					len(forwarded.Route.Properties) != len(v.Route.Properties) {
					t.Fatalf("%q: forwarded as %+v, which reads as %+v", name, v.Route, forwarded)
				}
			}
		}
	})
}

// FuzzSubscribe: a filter that is granted never matches a possible topic that the principal may
// not read.
func FuzzSubscribe(f *testing.F) {
	for _, s := range [][2]string{
		{"spaces" + floor1Path.String() + "/#", "spaces" + room1Path.String() + "/devices/dev1/events"}, {"a/+/#", "a/gw/childtemp"},
		{"b/#", "b"}, {"#", "devices/gw/messages/events/"}, {"$share/g/b/#", "b/x"}, {"+/gw/+", "a/gw/temp1"},
		{"devices/gw/messages/devicebound/#", "devices/gw/messages/devicebound/"},
		{"$iothub/twin/res/#", "$iothub/twin/res/200/?$rid=1"}, {"a/+/x/#", "a/" + room1.String() + "/x"},
	} {
		f.Add(s[0], s[1])
	}
	m := fuzzMap(f)
	gw, user := m.Open(devicePrincipal(3, "gw")), m.Open(userPrincipal(0x31))
	f.Fuzz(func(t *testing.T, filter, name string) {
		sub, err := topic.DefaultLimits().Subscription(filter)
		if err != nil {
			if user.Subscribe(filter).Allowed {
				t.Fatalf("%q granted: %v", filter, err)
			}
			return
		}
		if topic.DefaultLimits().Name(name) != nil || !topic.Match(sub.Filter, name) {
			user.Subscribe(filter)
			return
		}
		var b binding
		e := m.env()
		if !e.find(name, &b) || !b.row.possible || !b.valid() {
			return
		}
		for _, r := range []*Rights{gw, user} {
			d := decider{env: e, p: r.p}
			if r.Subscribe(filter).Allowed && !d.receive(&b).ok {
				t.Fatalf("%s was granted %q, which matches %q: %+v", r.p.Key, filter, name, d.receive(&b))
			}
		}
	})
}
