package access

import (
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/gateway/offline"
)

func TestExplain(t *testing.T) {
	w := newWorld(t)
	grant := w.assign(deviceIdentity(3), model.GatewayDeviceRole, floor1Path)
	m := w.open()
	gw := devicePrincipal(3, "gw")
	x, err := m.Explain(gw, "publish", "devices/gw/messages/events/"+sensorKey+"=childtemp")
	if err != nil || !x.Allowed || x.Row != "telemetry" || x.Stage != "fresh" || x.Version != w.index.Version().String() {
		t.Fatalf("%+v, %v", x, err)
	}
	last := x.Steps[len(x.Steps)-1]
	if last.Needs != "Create Sensor" || last.At != room2Path.String() || last.Decision == nil || last.Decision.Assignment != grant {
		t.Errorf("the last step is %+v", last)
	}
	if x.Route.Mirror == "" {
		t.Error("no route")
	}
	for _, tt := range []struct {
		op, topic, row, reason string
		allowed                bool
	}{
		{"connect", "", "connect", Granted, true},
		{"publish", "devices/dev1/messages/events/", "telemetry", NotActingFor, false},
		{"publish", "devices/gw/messages/devicebound/", "devicebound", "role-lacks-operation", false},
		{"publish", "no/row", "connect", NoRow, false},
		{"publish", "a/#", "connect", BadTopic, false},
		{"will", "$iothub/twin/GET/?$rid=1", "twin-get", NoWill, false},
		{"will", "devices/gw/messages/events/", "telemetry", Granted, true},
		{"subscribe", "spaces/#", "mirror", "outside-scope", false},
		{"subscribe", "devices/child/messages/devicebound/#", "devicebound", Granted, true},
		{"receive", "spaces" + room2Path.String() + "/devices/child/events", "mirror", Granted, true},
		{"deliver", "no/row", "connect", NoRow, false},
	} {
		x, err := m.Explain(gw, tt.op, tt.topic)
		if err != nil || x.Allowed != tt.allowed || x.Reason != tt.reason || x.Row != tt.row {
			t.Errorf("%s %s: allowed %v, reason %s, row %s, %v", tt.op, tt.topic, x.Allowed, x.Reason, x.Row, err)
		}
	}
	if _, err := m.Explain(gw, "eat", "x"); err == nil {
		t.Error("an unknown operation was explained")
	}
	w.stage = offline.Expired
	if x, _ := m.Explain(gw, "publish", "devices/gw/messages/events/"); x.Allowed || x.Reason != CacheExpired || x.Stage != "expired" {
		t.Errorf("expired: %+v", x)
	}
	empty, _ := New(Options{}).Explain(gw, "connect", "")
	if empty.Allowed || empty.Reason != NoPolicy {
		t.Errorf("without a policy: %+v", empty)
	}
}

func TestImagine(t *testing.T) {
	w := newWorld(t)
	w.assign(userIdentity(0x31), model.UserRole, room1Path)
	m := w.open()
	for _, key := range []string{"device:dev1", "module:dev1/m1", "user:" + home.String() + "/" + id(0x31).String(),
		"sp:" + home.String() + "/" + id(0x31).String(), "function:" + id(0x21).String()} {
		p, err := m.Imagine(key)
		if err != nil || p.Key != key || len(p.Subject.Identities) == 0 {
			t.Errorf("%s: %+v, %v", key, p, err)
			continue
		}
		if x, err := m.Explain(p, "connect", ""); err != nil || x.Allowed != (p.Key[:4] == "user") {
			t.Errorf("%s connects: %+v, %v", key, x, err)
		}
	}
	for _, key := range []string{"", "device:", "device:nobody", "user:x/y", "user:" + home.String(), "sp:", "function:x", "gateway:",
		"upstream:hub"} {
		if p, err := m.Imagine(key); err == nil {
			t.Errorf("%q made %+v", key, p)
		}
	}
}
