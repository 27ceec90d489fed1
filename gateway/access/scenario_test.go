package access_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/authztest/scenario"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// site is a building with its devices and rights, and what must be answered in
// it, in order. Names stand for ids. A path is names with slashes between; in a
// topic <site/room> is the same path in GUIDs.
type site struct {
	scenario.Head `yaml:",inline"`
	World         struct {
		Spaces    []string // paths, parents first
		Devices   []deviceText
		Sensors   []struct{ ID, Of, At string }
		Functions []string
		Assign    []string // "GatewayDevice to device d1 at site/room"
		Azure     []string // "Device Update Administrator to user u1 at instance" (or hub)
		Map       string   // a topic map, as an operator writes it
		Problems  []string // words of the errors that loading the map reports, in order
		Site      string   // the gateway's own place
		Depth     int      `yaml:"acts_for_depth"`
		SelfGrant bool     `yaml:"device_self_grant"`
		Keep      bool     `yaml:"keep_after_expiry"`
		NoDU      bool     `yaml:"without_device_update"`
	}
	Then []question
}

type deviceText struct {
	ID, At, Gateway, Status, Hardware string
	Modules                           []string
}

// question is one question with its answer, or a change of the world.
type question struct {
	// A change.
	Assign, Revoke, Stage, Remove string
	Status                        []string // device, status

	// Who asks: "device d1", "module d1/m", "user u1", "user u1 in g1", "service s1",
	// "function f1", "peer dev1" (a local process), "link l1" (an upstream link's principal, a service), "gateway".
	Who      string
	Filtered bool // on a filtered listener
	// What: one of these.
	Connect                           bool
	Publish, Subscribe, Will, Receive string
	Response                          string // of a publish: its response topic
	From                              string // of a receive: who published it; "gateway" if empty
	Via                               string // of a receive: the topic that it was published on, if it was republished
	For                               string // of a receive: the device or device/module that a private message is for

	// The answer.
	Allow, Deny string // reasons
	Code        byte   // of a denial; 0x87 if absent
	Watched     bool   // report-only: let pass although it would be refused
	Mirror      string // where a reading is republished
	Forwarded   string // the topic as it is forwarded
	Origin      string
	OnBehalf    bool `yaml:"on_behalf"`
	Known       *bool
}

func TestScenarios(t *testing.T) {
	scenario.Run(t, func(t *testing.T, s site) {
		if len(s.Then) == 0 && len(s.World.Problems) == 0 {
			t.Error("asserts nothing")
		}
		h := build(t, &s)
		for i := range s.Then {
			h.answer(t, &s.Then[i], fmt.Sprintf("question %d", i+1))
		}
	})
}

const (
	hubScope      = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/IotHubs/h"
	instanceScope = "/subscriptions/s/resourceGroups/g/providers/Microsoft.DeviceUpdate/accounts/a/instances/i"
)

// scene is what a scenario builds: the policy, the topology and the topic map under decision.
type scene struct {
	ids      map[string]space.ID
	data     device.Data
	depth    int
	policy   model.Snapshot
	index    *authz.Index
	topology *device.Topology
	stage    offline.Stage
	topics   *access.Control
}

func (h *scene) id(name string) space.ID {
	if _, ok := h.ids[name]; !ok {
		h.ids[name] = space.NewID()
	}
	return h.ids[name]
}

func (h *scene) path(text string) space.Path {
	p := space.Root
	for name := range strings.SplitSeq(strings.Trim(text, "/"), "/") {
		if name != "" {
			p = p.Join(h.id("space " + name))
		}
	}
	return p
}

var placed = regexp.MustCompile(`<([^>]*)>`)

// topic writes <site/room> out.
func (h *scene) topic(text string) string {
	return placed.ReplaceAllStringFunc(text, func(s string) string {
		return strings.TrimPrefix(h.path(s[1:len(s)-1]).String(), "/")
	})
}

func build(t *testing.T, s *site) *scene {
	h := &scene{ids: map[string]space.ID{}, depth: s.World.Depth}
	for _, text := range s.World.Spaces {
		p := h.path(text)
		sp := device.Space{Path: p}
		names := strings.Split(strings.Trim(text, "/"), "/")
		sp.ID = h.id("space " + names[len(names)-1])
		if len(names) > 1 {
			sp.Parent = h.id("space " + names[len(names)-2])
		}
		h.data.Spaces = append(h.data.Spaces, sp)
	}
	for _, d := range s.World.Devices {
		rec := device.Device{
			ID:         h.id("device " + d.ID),
			HubID:      d.ID,
			Space:      h.place(d.At),
			Status:     status(t, d.Status),
			GatewayID:  d.Gateway,
			HardwareID: d.Hardware,
		}
		for _, m := range d.Modules {
			rec.Modules = append(rec.Modules, device.Module{ID: m})
		}
		h.data.Devices = append(h.data.Devices, rec)
	}
	for i, sn := range s.World.Sensors {
		h.data.Sensors = append(h.data.Sensors, device.Sensor{ID: h.id(fmt.Sprint("sensor ", i)), Device: h.id("device " + sn.Of),
			Space: h.place(sn.At), HardwareID: sn.ID})
	}
	for _, f := range s.World.Functions {
		h.data.Functions = append(h.data.Functions, device.Function{ID: h.id("function " + f), Name: f})
	}
	h.policy = model.Snapshot{Version: model.Version{Epoch: 1, Number: 1}, Roles: model.SystemRoles(), AzureRoles: model.AzureBuiltInRoles()}
	for _, a := range s.World.Assign {
		h.assign(t, a)
	}
	for _, a := range s.World.Azure {
		h.azure(t, a)
	}
	h.rebuild()
	o := access.Options{
		Facts:           func() (*authz.Index, *device.Topology) { return h.index, h.topology },
		Stage:           func() offline.Stage { return h.stage },
		Site:            h.path(s.World.Site),
		HubScope:        hubScope,
		InstanceScope:   instanceScope,
		DeviceSelfGrant: s.World.SelfGrant,
		KeepAfterExpiry: s.World.Keep,
	}
	if s.World.NoDU {
		o.InstanceScope = ""
	}
	if s.World.Map != "" {
		o.TopicMap = h.topicMap(t, s)
	}
	h.topics = access.New(o)
	return h
}

func (h *scene) topicMap(t *testing.T, s *site) *access.TopicMap {
	file := filepath.Join(t.TempDir(), "topics.yaml")
	text := placed.ReplaceAllStringFunc(s.World.Map, func(p string) string { return h.path(p[1 : len(p)-1]).String() })
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	topicMap, problems := access.LoadTopicMap(file)
	if len(problems) != len(s.World.Problems) {
		t.Errorf("problems of the map %v, want %q", problems, s.World.Problems)
	}
	for i, p := range problems {
		if i < len(s.World.Problems) && !strings.Contains(p.Field+" "+p.Message, s.World.Problems[i]) {
			t.Errorf("problem %v, want %q", p, s.World.Problems[i])
		}
	}
	if topicMap == nil && len(problems) == 0 {
		t.Fatal("no table and no problem")
	}
	return topicMap
}

// place is the space at the end of a path.
func (h *scene) place(path string) space.ID {
	names := strings.Split(path, "/")
	return h.id("space " + names[len(names)-1])
}

func status(t *testing.T, text string) device.Status {
	t.Helper()
	s, ok := map[string]device.Status{"": device.Active, "active": device.Active, "disabled": device.Disabled, "offline": device.Offline,
		"provisioning": device.Provisioning}[text]
	if !ok {
		t.Fatalf("status %q", text)
	}
	return s
}

func (h *scene) rebuild() {
	h.policy.Version.Number++
	h.index, _ = authz.Compile(h.policy)
	h.topology, _ = device.NewTopology(h.data, device.Options{ActsForDepth: h.depth})
}

// assign reads "{role} to {kind} {name} at {path}".
func (h *scene) assign(t *testing.T, text string) {
	t.Helper()
	role, rest, ok := strings.Cut(text, " to ")
	who, at, ok2 := strings.Cut(rest, " at ")
	i := slices.IndexFunc(h.policy.Roles, func(r model.Role) bool { return r.Name == role })
	if !ok || !ok2 || i < 0 {
		t.Fatalf("assignment %q", text)
	}
	p := h.principal(t, who)
	h.policy.Assignments = append(h.policy.Assignments, model.Assignment{ID: h.id("assignment " + text), Role: h.policy.Roles[i].ID,
		Who: p.Subject.Identities[0], Path: h.path(at)})
}

func (h *scene) azure(t *testing.T, text string) {
	t.Helper()
	role, rest, _ := strings.Cut(text, " to ")
	who, at, _ := strings.Cut(rest, " at ")
	kind, name, _ := strings.Cut(who, " ")
	i := slices.IndexFunc(h.policy.AzureRoles, func(r model.AzureRole) bool { return r.Name == role })
	scope := map[string]string{"hub": hubScope, "instance": instanceScope}[at]
	typ, ok := map[string]model.AzurePrincipalType{"user": model.AzureUser, "service": model.AzureServicePrincipal,
		"link": model.AzureServicePrincipal, "group": model.AzureGroup}[kind]
	if i < 0 || scope == "" || !ok {
		t.Fatalf("assignment %q", text)
	}
	h.policy.AzureAssignments = append(h.policy.AzureAssignments, model.AzureAssignment{
		ID: h.id("assignment " + text), Role: h.policy.AzureRoles[i].ID, Scope: scope,
		Who: model.AzurePrincipal{ID: h.id(kind + " " + name), Type: typ},
	})
}

func (h *scene) principal(t *testing.T, text string) *principal.Principal {
	t.Helper()
	kind, name, _ := strings.Cut(text, " ")
	home := h.id("tenant home")
	p := &principal.Principal{Key: kind + ":" + name, Name: name}
	identity := func(k model.IdentityKind, object, tenant space.ID) {
		p.Subject.Identities = append(p.Subject.Identities, model.Identity{Kind: k, Object: object, Tenant: tenant})
	}
	switch kind {
	case "device", "module":
		p.Kind = principal.Device
		p.DeviceID, p.ModuleID, _ = strings.Cut(name, "/")
		if kind == "module" {
			p.Kind = principal.Module
		}
		p.Node = h.id("device " + p.DeviceID)
		identity(model.DeviceID, p.Node, space.ID{})
	case "user":
		p.Kind, p.Subject.GroupsKnown = principal.User, true
		user, group, in := strings.Cut(name, " in ")
		if in {
			p.Subject.Groups = []space.ID{h.id("group " + group)}
		}
		p.Subject.Object = h.id("user " + user)
		identity(model.UserID, p.Subject.Object, home)
		identity(model.TenantID, home, space.ID{})
	case "service", "link":
		p.Kind, p.Subject.Object, p.Subject.GroupsKnown = principal.ServicePrincipal, h.id(kind+" "+name), true
		if kind == "link" {
			p.Kind = principal.Upstream
		}
		identity(model.ServicePrincipalID, p.Subject.Object, home)
	case "function":
		p.Kind = principal.Function
		identity(model.UserDefinedFunctionID, h.id("function "+name), space.ID{})
	case "peer": // a process of this machine that speaks as a device
		p.Kind = principal.Local
		identity(model.DeviceID, h.id("device "+name), space.ID{})
	case "tenant":
		identity(model.TenantID, home, space.ID{})
	case "gateway":
		p.Kind, p.Key = principal.Gateway, "gateway"
	default:
		t.Fatalf("principal %q", text)
	}
	return p
}

func (h *scene) change(t *testing.T, q *question) {
	switch {
	case q.Assign != "":
		h.assign(t, q.Assign)
	case q.Revoke != "":
		n := len(h.policy.Assignments)
		h.policy.Assignments = slices.DeleteFunc(h.policy.Assignments,
			func(a model.Assignment) bool { return a.ID == h.id("assignment "+q.Revoke) })
		if len(h.policy.Assignments) == n {
			t.Fatalf("nothing to revoke: %q", q.Revoke)
		}
	case q.Stage != "":
		h.stage = offline.Stage(slices.Index([]string{"fresh", "stale", "restricted", "expired"}, q.Stage))
	case q.Remove != "":
		h.data.Devices = slices.DeleteFunc(h.data.Devices, func(d device.Device) bool { return d.HubID == q.Remove })
	case len(q.Status) == 2:
		for i := range h.data.Devices {
			if h.data.Devices[i].HubID == q.Status[0] {
				h.data.Devices[i].Status = status(t, q.Status[1])
			}
		}
	default:
		t.Fatal("neither a question nor a change")
	}
	h.rebuild()
}

func (h *scene) answer(t *testing.T, q *question, label string) {
	t.Helper()
	if q.Who == "" {
		h.change(t, q)
		return
	}
	p := h.principal(t, q.Who)
	if q.Known != nil {
		if got := h.topics.Known(p); got != *q.Known {
			t.Errorf("%s: %s known: %v", label, q.Who, got)
		}
		return
	}
	var options []access.OpenOption
	if q.Filtered {
		options = append(options, access.Filtered())
	}
	r := h.topics.Open(p, options...)
	var v message.Verdict
	for range 2 { // decided, and then perhaps remembered
		switch {
		case q.Connect:
			v = r.Connect()
		case q.Publish != "":
			v = r.Publish(h.topic(q.Publish), &message.Message{Topic: h.topic(q.Publish), Props: message.Properties{ResponseTopic: q.Response}})
		case q.Subscribe != "":
			v = r.Subscribe(h.topic(q.Subscribe))
		case q.Will != "":
			v = r.Will(h.topic(q.Will))
		case q.Receive != "":
			h.receive(t, q, r, label)
			return
		default:
			t.Fatalf("%s asks nothing", label)
		}
		h.compare(t, q, v, label)
	}
}

// receive is a delivery: it has no reason, only an answer.
func (h *scene) receive(t *testing.T, q *question, r *access.Rights, label string) {
	from := q.From
	if from == "" {
		from = "gateway"
	}
	m := &message.Message{Topic: h.topic(q.Receive), Publisher: h.principal(t, from)}
	m.Via.Topic = h.topic(q.Via)
	m.Via.Device, m.Via.Module, _ = strings.Cut(q.For, "/")
	if q.Allow == "" && q.Deny == "" {
		t.Fatalf("%s: neither allow nor deny", label)
	}
	for range 2 {
		if got := r.Deliver(m); got != (q.Allow != "") {
			t.Errorf("%s: %s receives %s: %v", label, q.Who, q.Receive, got)
		}
	}
}

func (h *scene) compare(t *testing.T, q *question, v message.Verdict, label string) {
	t.Helper()
	want := q.Allow + q.Deny
	if (q.Allow == "") == (q.Deny == "") {
		t.Fatalf("%s: a question has one answer", label)
	}
	if v.Allowed != (q.Allow != "") || v.Reason != want || v.ReportOnly != q.Watched {
		t.Errorf("%s: %s: allowed %v, %s (%s), watched %v; want %s", label, q.Who, v.Allowed, v.Reason, v.Detail, v.ReportOnly, want)
	}
	code := q.Code
	if q.Deny != "" && code == 0 {
		code = message.NotAuthorized
	}
	if v.Code != code {
		t.Errorf("%s: code 0x%02x, want 0x%02x", label, v.Code, code)
	}
	for what, pair := range map[string][2]string{
		"republished at": {v.Route.Mirror, h.topic(q.Mirror)}, "forwarded as": {v.Route.Topic, h.topic(q.Forwarded)},
		"origin": {v.Route.Origin, q.Origin},
	} {
		if pair[1] != "" && pair[0] != pair[1] {
			t.Errorf("%s: %s %q, want %q", label, what, pair[0], pair[1])
		}
	}
	if v.Route.OnBehalf != q.OnBehalf {
		t.Errorf("%s: on behalf %v", label, v.Route.OnBehalf)
	}
}
