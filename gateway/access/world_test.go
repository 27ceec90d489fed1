package access

import (
	"slices"
	"sync/atomic"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

func id(n byte) space.ID { return space.ID{0: n, 6: 0x40, 8: 0x80, 15: n} }

// The building of the tests: a site with two floors, two rooms on the first.
var (
	site, floor1, floor2, room1, room2 = id(0x51), id(0x52), id(0x53), id(0xa4), id(0x55)

	sitePath   = space.Root.Join(site)
	floor1Path = sitePath.Join(floor1)
	floor2Path = sitePath.Join(floor2)
	room1Path  = floor1Path.Join(room1)
	room2Path  = floor1Path.Join(room2)

	home = id(0x70)

	hubScope      = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/IotHubs/demo-hub"
	instanceScope = "/subscriptions/s/resourceGroups/g/providers/Microsoft.DeviceUpdate/accounts/a/instances/i"
)

// world holds what the providers give; a test changes it and the Control sees it.
type world struct {
	t        tb
	data     device.Data
	snapshot model.Snapshot
	index    *authz.Index
	topology *device.Topology
	stage    offline.Stage
	assigned byte
}

// tb is what a world needs of a test, and what rapid's tests have too.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func newWorld(t tb) *world {
	w := &world{t: t}
	w.data = device.Data{
		Spaces: []device.Space{
			{ID: site, Name: "site", Path: sitePath},
			{ID: floor1, Parent: site, Path: floor1Path}, {ID: floor2, Parent: site, Path: floor2Path},
			{ID: room1, Parent: floor1, Path: room1Path}, {ID: room2, Parent: floor1, Path: room2Path},
		},
		Devices: []device.Device{
			{
				ID:      id(1),
				HubID:   "dev1",
				Space:   room1,
				Status:  device.Active,
				Modules: []device.Module{{ID: "m1"}, {ID: "m2"}},
			},
			{ID: id(2), HubID: "dev10", Space: room1, Status: device.Active},
			{ID: id(3), HubID: "gw", Space: floor1, Status: device.Active},
			{
				ID:        id(4),
				HubID:     "child",
				Space:     room2,
				Status:    device.Active,
				GatewayID: id(3).String(),
			},
			{
				ID:        id(5),
				HubID:     "stray",
				Space:     room2,
				Status:    device.Active,
				GatewayID: "nobody",
			},
			{ID: id(6), HubID: "off", Space: room1, Status: device.Disabled},
		},
		Sensors: []device.Sensor{
			{ID: id(0x11), Device: id(1), Space: room1, HardwareID: "temp1"},
			{ID: id(0x12), Device: id(1), Space: floor2, HardwareID: "far1"}, // mounted elsewhere
			{ID: id(0x14), Device: id(4), Space: room2, HardwareID: "childtemp"},
			{ID: id(0x15), Device: id(5), Space: room2, HardwareID: "straytemp"},
			{ID: id(0x16), Device: id(1), Space: room1, HardwareID: "twice"},
			{ID: id(0x17), Device: id(2), Space: room1, HardwareID: "twice"},
		},
		Functions: []device.Function{{ID: id(0x21), Name: "fn", Space: site}},
	}
	w.snapshot = model.Snapshot{Version: model.Version{Epoch: 1, Number: 1}, Roles: model.SystemRoles(), AzureRoles: model.AzureBuiltInRoles()}
	w.rebuild()
	return w
}

// rebuild compiles what data and snapshot say now.
func (w *world) rebuild() {
	w.index, _ = authz.Compile(w.snapshot)
	w.topology, _ = device.NewTopology(w.data, device.Options{})
}

// assign gives a role and returns the assignment's id.
func (w *world) assign(who model.Identity, role string, at space.Path) space.ID {
	w.assigned++
	a := model.Assignment{ID: id(0x80 + w.assigned), Role: space.MustID(role), Who: who, Path: at}
	w.apply(model.ChangeSet{PutAssignments: []model.Assignment{a}})
	return a.ID
}

func (w *world) revoke(assignment space.ID) {
	w.apply(model.ChangeSet{RemoveAssigns: []space.ID{assignment}})
}

// apply takes a change the way the gateway does: derived, not compiled anew.
func (w *world) apply(c model.ChangeSet) {
	w.t.Helper()
	c.From = w.index.Version()
	c.To = model.Version{Epoch: c.From.Epoch, Number: c.From.Number + 1}
	next, _, err := w.index.Apply(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.index = next
	w.snapshot.Version = c.To
	w.snapshot.Assignments = slices.DeleteFunc(w.snapshot.Assignments,
		func(a model.Assignment) bool { return slices.Contains(c.RemoveAssigns, a.ID) })
	w.snapshot.Assignments = append(w.snapshot.Assignments, c.PutAssignments...)
}

func (w *world) options() Options {
	return Options{
		Facts:         func() (*authz.Index, *device.Topology) { return w.index, w.topology },
		Stage:         func() offline.Stage { return w.stage },
		Site:          sitePath,
		HubScope:      hubScope,
		InstanceScope: instanceScope,
	}
}

func (w *world) open() *Control { return New(w.options()) }

func deviceIdentity(n byte) model.Identity {
	return model.Identity{Kind: model.DeviceID, Object: id(n)}
}

func userIdentity(n byte) model.Identity {
	return model.Identity{Kind: model.UserID, Object: id(n), Tenant: home}
}

func devicePrincipal(n byte, hub string) *principal.Principal {
	return &principal.Principal{
		Kind:     principal.Device,
		Key:      "device:" + hub,
		DeviceID: hub,
		Node:     id(n),
		Subject:  model.Subject{Identities: []model.Identity{deviceIdentity(n)}},
	}
}

func modulePrincipal(n byte, hub, module string) *principal.Principal {
	p := devicePrincipal(n, hub)
	p.Kind, p.Key, p.ModuleID = principal.Module, "module:"+hub+"/"+module, module
	return p
}

func userPrincipal(n byte) *principal.Principal {
	return &principal.Principal{
		Kind: principal.User, Key: "user:" + home.String() + "/" + id(n).String(),
		Subject: model.Subject{
			Identities: []model.Identity{userIdentity(n), {Kind: model.TenantID, Object: home}},
			Object:     id(n), GroupsKnown: true,
		},
	}
}

func (w *world) azure(n byte, role, scope string) {
	w.assigned++
	for _, r := range w.snapshot.AzureRoles {
		if r.Name == role {
			w.snapshot.AzureAssignments = append(w.snapshot.AzureAssignments, model.AzureAssignment{
				ID: id(0x80 + w.assigned), Role: r.ID, Scope: scope, Who: model.AzurePrincipal{ID: id(n), Type: model.AzureUser},
			})
			w.rebuild()
			return
		}
	}
	w.t.Fatalf("no Azure role %q", role)
}

func from(p *principal.Principal, topic string) *message.Message {
	return &message.Message{Topic: topic, Publisher: p}
}

func (w *world) want(v message.Verdict, allowed bool, reason, what string) {
	w.t.Helper()
	if v.Allowed != allowed || reason != "" && v.Reason != reason {
		w.t.Errorf("%s: allowed %v, reason %q (%s), want %v, %q", what, v.Allowed, v.Reason, v.Detail, allowed, reason)
	}
	if v.Allowed != (v.Code == 0) {
		w.t.Errorf("%s: allowed %v with code 0x%02x", what, v.Allowed, v.Code)
	}
}

// topicMapOf is a topic map of rows that a test wrote down, by the loader's own rules.
func topicMapOf(w *world, rows []rowText) *TopicMap {
	w.t.Helper()
	var l loader
	compiled := l.rows(rows)
	if len(l.problems) > 0 {
		w.t.Fatalf("rows %+v: %v", rows, l.problems)
	}
	return newTopicMap(compiled, nil)
}

// swapped hands snapshots to goroutines, as the root does.
type swapped struct{ atomic.Pointer[facts] }

type facts struct {
	policy   *authz.Index
	topology *device.Topology
}

func (s *swapped) set(w *world) { s.Store(&facts{w.index, w.topology}) }

func (s *swapped) facts() (*authz.Index, *device.Topology) {
	f := s.Load()
	return f.policy, f.topology
}
