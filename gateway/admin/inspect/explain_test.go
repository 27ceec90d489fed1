package inspect_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/admin"
)

// Explain names the assignment and role that granted an operation. For a refusal it names those
// that came closest, and the roles that would grant it. It does so for a topic as for an
// operation (docs/spec/semantics.md 2.4).
func TestExplainNamesTheGrant(t *testing.T) {
	n := newFixture(t).inspector
	site := space.Root.Join(num(2)).String()
	for name, q := range map[string]admin.Question{
		"a topic":                    {Principal: "gw", Verb: "publish", Topic: "devices/gw/messages/events/"},
		"a filter":                   {Principal: "gw", Verb: "subscribe", Topic: "devices/gw/messages/devicebound/#"},
		"a delivery":                 {Principal: "gw", Verb: "receive", Topic: "devices/gw/messages/devicebound/"},
		"a will":                     {Principal: "gw", Verb: "will", Topic: "devices/gw/messages/events/"},
		"the right to be connected":  {Principal: "gw", Verb: "connect"},
		"an operation":               {Principal: "gw", Operation: "Create Sensor", At: site},
		"an operation of a category": {Principal: "gw", Operation: "Read ExtendedType/DeviceType", At: site},
	} {
		x, err := n.Explain(q)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if x.Version == "" || x.Stage == "" {
			t.Errorf("%s: no version or stage: %+v", name, x)
		}
		if !x.Allowed || x.Grant == nil || x.Grant.Assignment != num(110).String() || x.Grant.Role != "GatewayDevice" {
			t.Errorf("%s: %+v, grant %+v", name, x, x.Grant)
		}
	}
	x, err := n.Explain(admin.Question{Principal: "gw", Verb: "publish", Topic: "devices/gw/messages/devicebound/"})
	if err != nil || x.Allowed || len(x.Nearest) == 0 || !slices.Contains(x.WouldNeed, "DeviceInstaller") {
		t.Errorf("a refused topic: %+v, %v", x, err)
	}
	if who, err := n.WhoCan(admin.Question{Operation: "Read ExtendedType/DeviceType", At: site}); err != nil || len(who) != 1 {
		t.Errorf("who can: %+v, %v", who, err)
	}
	what, err := n.WhatCan("gw")
	if err != nil || len(what) != 1 || !strings.HasSuffix(what[0].Operations, "; Create,Read Sensor") {
		t.Errorf("what can: %+v, %v", what, err)
	}
	if _, err := n.WhoCan(admin.Question{Verb: "publish", Topic: "x"}); err == nil {
		t.Error("who can publish is answered, whoever acts for whom")
	}
}
