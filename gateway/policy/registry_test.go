package policy_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/sync/replica"
)

var errDisk = errors.New("no space left on device")

// A device and the only assignment change places, again and again: in no
// version may the device do anything. A decision that took one half of each
// version would grant.
func TestPolicyAndRegistryAreSwappedAsOne(t *testing.T) {
	h := newFixture(t)
	other := space.MustPath("/5bace000-0000-4000-8000-000000000002")
	world := func(n uint64, granted, lives space.Path) replica.Full {
		a := one
		a.Path = granted
		data := building("d1")
		data.Spaces = append(data.Spaces, device.Space{ID: other.Space(), Name: "other", Path: other})
		data.Devices[0].Space = lives.Space()
		return replica.Full{Version: version(n), Policy: model.Snapshot{Version: version(n), Assignments: []model.Assignment{a}}, Data: data}
	}
	put := func(f replica.Full) {
		if err := h.Replace(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	put(world(2, room, other))
	m := access.New(access.Options{Facts: h.Facts})
	p := &principal.Principal{Kind: principal.Device, Key: "device:d1", DeviceID: "d1", Node: first,
		Subject: model.Subject{Identities: []model.Identity{{Kind: model.DeviceID, Object: first}}}}
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			r := m.Open(p)
			for ctx.Err() == nil {
				if v := r.Connect(); v.Allowed {
					t.Errorf("allowed by a mixture of two versions: %+v", v)
					return
				}
			}
		})
	}
	for n := uint64(3); n < 250; n += 2 {
		put(world(n, other, room))
		put(world(n+1, room, other))
	}
	cancel()
	readers.Wait()
	put(world(1000, room, room))
	if v := m.Open(p).Connect(); !v.Allowed {
		t.Errorf("the test proves nothing: %+v where both agree", v)
	}
}

// A full disk takes at once what the registry takes away, and gives nothing of
// what it gives (docs/spec/semantics.md 4.4).
func TestRegistryThatCannotBeStoredOnlyTakesAway(t *testing.T) {
	other := space.MustPath("/5bace000-0000-4000-8000-000000000002")
	before := building("d1", "d2")
	before.Spaces = append(before.Spaces, device.Space{ID: other.Space(), Name: "other", Path: other})
	before.Sensors = []device.Sensor{{
		ID:         space.MustID("5e450000-0000-4000-8000-000000000001"),
		Device:     second,
		Space:      room.Space(),
		HardwareID: "s1",
	}}
	after := building("d1", "d2")
	after.Spaces = before.Spaces
	after.Sensors = []device.Sensor{before.Sensors[0]}
	after.Sensors[0].Device = first
	after.Devices[0].Space = other.Space() // moved
	after.Devices[1].GatewayID = "d1"      // acts for
	third := device.Device{
		ID:         space.MustID("de71ce00-0000-4000-8000-000000000003"),
		HubID:      "d3",
		HardwareID: "d3",
		Space:      room.Space(),
		Status:     device.Active,
	}
	after.Devices = append(after.Devices, third)

	delta := changeFrom(2, 3, model.ChangeSet{}, device.Changes{PutDevices: after.Devices, PutSensors: after.Sensors})
	snapshot := model.Snapshot{Assignments: []model.Assignment{one, two}}
	for name, apply := range map[string]func(*fixture) error{
		"delta": func(h *fixture) error { return h.Apply(t.Context(), delta) },
		"full": func(h *fixture) error {
			s := snapshot
			s.Version = version(3)
			return h.Replace(t.Context(), answer(3, s, after))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFixture(t)
			s := snapshot
			s.Version = version(2)
			if err := h.Replace(t.Context(), answer(2, s, before)); err != nil {
				t.Fatal(err)
			}
			whole := h.Topology()
			h.store.fail = errDisk
			for range 2 { // a second failure takes nothing else
				if err := apply(h); !errors.Is(err, errDisk) {
					t.Fatalf("err = %v", err)
				}
				topo := h.Topology()
				d1, _ := topo.Device(first)
				d2, _ := topo.Device(second)
				switch {
				case d1 == nil || d2 == nil || d1.Status != device.Active || d2.Status != device.Active:
					t.Fatalf("%+v, %+v: both exist before and after", d1, d2)
				case !topo.DevicePath(d1).IsZero():
					t.Errorf("d1 is at %s: it left its old place, and the new one waits", topo.DevicePath(d1))
				case topo.ActsFor(first, d2):
					t.Error("d1 acts for d2 by a record that is not stored")
				case !topo.ActsFor(second, d2):
					t.Error("d2 does not act for itself any more")
				}
				if _, ok := topo.DeviceByHubID("d3"); ok {
					t.Error("a device is known that is not stored")
				}
				if s, ok := topo.SensorByHardwareID("s1"); ok && (!s.Device.IsZero() || !topo.SensorPath(s).IsZero()) {
					t.Errorf("the sensor is still usable: %+v", s)
				}
			}
			if len(h.gone) > 0 {
				t.Errorf("forgot %v: nobody is gone", h.gone)
			}
			cut := h.Topology()
			h.store.fail = nil
			if err := apply(h); err != nil {
				t.Fatal(err)
			}
			topo := h.Topology()
			d1, _ := topo.Device(first)
			d2, _ := topo.Device(second)
			if topo.DevicePath(d1) != other || !topo.ActsFor(first, d2) {
				t.Errorf("after recovery d1 is at %s and acts for d2: %v", topo.DevicePath(d1), topo.ActsFor(first, d2))
			}
			if s, ok := topo.SensorByHardwareID("s1"); !ok || s.Device != first || topo.SensorPath(s) != room {
				t.Errorf("after recovery the sensor is %+v", s)
			}
			if cut.Version() <= whole.Version() || topo.Version() <= cut.Version() {
				t.Errorf("versions %d, %d, %d do not rise", whole.Version(), cut.Version(), topo.Version())
			}
		})
	}
}

// Being told to stop is no failure of the disk: nothing changes, and the next
// start need not distrust what is stored.
func TestPolicyThatIsInterruptedChangesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, apply := range map[string]func(*fixture) error{
		"delta": func(h *fixture) error {
			return h.Apply(ctx, changeFrom(1, 2, swapOne, device.Changes{}))
		},
		"full": func(h *fixture) error {
			return h.Replace(ctx, answer(2, model.Snapshot{}, building()))
		},
	} {
		h := newFixture(t)
		h.store.fail = context.Canceled
		if err := apply(h); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: err = %v", name, err)
		}
		if h.store.dirty != "" || !h.may(first) || slices.Contains(h.log, "revoke") {
			t.Errorf("%s: dirty %q, may %v, log %v", name, h.store.dirty, h.may(first), h.log)
		}
	}
}

// A role of the system's own that is defined anew is not lost by taking the
// definition away: the built-in one would come back, and may allow more than
// either. One that goes back to it gains, and waits.
func TestRoleThatCannotBeStoredIsNoGain(t *testing.T) {
	id, contributor := space.MustID(model.GatewayDeviceRole), azureRole(t, "IoT Hub Data Contributor")
	granted := model.AzureAssignment{ID: space.MustID("a3020000-0000-4000-8000-000000000001"), Role: contributor.ID, Scope: hubScope,
		Who: model.AzurePrincipal{Type: model.AzureServicePrincipal, ID: first}}
	nothing := model.Role{ID: id, Name: "cut"}
	another := model.Role{ID: id, Name: "cut again"}
	azure := func(roles []model.Role) (list []model.AzureRole) {
		for _, r := range roles {
			list = append(list, model.AzureRole{ID: contributor.ID, Name: r.Name})
		}
		return list
	}
	for name, c := range map[string]struct {
		before, after []model.Role
		change        model.ChangeSet
	}{
		"defined":       {nil, []model.Role{nothing}, model.ChangeSet{PutRoles: []model.Role{nothing}}},
		"defined again": {[]model.Role{nothing}, []model.Role{another}, model.ChangeSet{PutRoles: []model.Role{another}}},
		"given back":    {[]model.Role{nothing}, nil, model.ChangeSet{RemoveRoles: []space.ID{id}}},
	} {
		for _, full := range []bool{false, true} {
			h := newFixture(t)
			s := model.Snapshot{Version: version(2), Assignments: []model.Assignment{one}, Roles: c.before,
				AzureAssignments: []model.AzureAssignment{granted}, AzureRoles: azure(c.before)}
			if err := h.Replace(t.Context(), answer(2, s, building("d1"))); err != nil {
				t.Fatal(err)
			}
			h.store.fail = errDisk
			var err error
			if full {
				s.Version, s.Roles, s.AzureRoles = version(3), c.after, azure(c.after)
				err = h.Replace(t.Context(), answer(3, s, building("d1")))
			} else {
				c.change.From, c.change.To, c.change.PutAzureRoles = version(2), version(3), azure(c.change.PutRoles)
				if len(c.change.RemoveRoles) > 0 {
					c.change.RemoveAzureRoles = []space.ID{contributor.ID}
				}
				err = h.Apply(t.Context(), changeFrom(2, 3, c.change, device.Changes{}))
			}
			if !errors.Is(err, errDisk) {
				t.Fatal(err)
			}
			writes := h.Index().DecideAction(&model.Subject{Object: first, GroupsKnown: true}, model.IotHubTwinsWrite, hubScope).Allowed
			if h.may(first) || writes {
				t.Errorf("%s, full %v: more is allowed than before and after: in a space %v, at the hub %v", name, full, h.may(first), writes)
			}
		}
	}
}

func azureRole(t *testing.T, name string) model.AzureRole {
	t.Helper()
	for _, r := range model.AzureBuiltInRoles() {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("no built-in role %q", name)
	return model.AzureRole{}
}

// A denial that is written anew may deny less: until that can be stored, the old one goes on beside it.
func TestDenialThatCannotBeStoredIsNoGain(t *testing.T) {
	granted := model.AzureAssignment{
		ID:    space.MustID("a3020000-0000-4000-8000-000000000001"),
		Role:  azureRole(t, "IoT Hub Data Contributor").ID,
		Scope: hubScope,
		Who:   model.AzurePrincipal{Type: model.AzureServicePrincipal, ID: first},
	}
	denial := func(action string) model.AzureDeny {
		return model.AzureDeny{ID: space.MustID("de900000-0000-4000-8000-000000000001"), Scope: hubScope, DataActions: []string{action},
			Principals: []model.AzurePrincipal{{Type: model.AzureEveryone}}}
	}
	writes, reads := denial(model.IotHubTwinsWrite), denial(model.IotHubTwinsRead)
	s := model.Snapshot{Version: version(2), AzureAssignments: []model.AzureAssignment{granted}, AzureDenies: []model.AzureDeny{writes}}
	for name, apply := range map[string]func(*fixture) error{
		"delta": func(h *fixture) error {
			return h.Apply(t.Context(), changeFrom(2, 3, model.ChangeSet{PutAzureDenies: []model.AzureDeny{reads}}, device.Changes{}))
		},
		"full": func(h *fixture) error {
			next := s
			next.Version, next.AzureDenies = version(3), []model.AzureDeny{reads}
			return h.Replace(t.Context(), answer(3, next, building("d1")))
		},
	} {
		h := newFixture(t)
		if err := h.Replace(t.Context(), answer(2, s, building("d1"))); err != nil {
			t.Fatal(err)
		}
		may := func(action string) bool {
			return h.Index().DecideAction(&model.Subject{Object: first, GroupsKnown: true}, action, hubScope).Allowed
		}
		h.store.fail = errDisk
		for range 2 {
			if err := apply(h); !errors.Is(err, errDisk) {
				t.Fatal(err)
			}
			if may(model.IotHubTwinsWrite) || may(model.IotHubTwinsRead) {
				t.Errorf("%s: may write %v, may read %v; want both refused", name, may(model.IotHubTwinsWrite), may(model.IotHubTwinsRead))
			}
		}
		h.store.fail = nil
		if err := apply(h); err != nil {
			t.Fatal(err)
		}
		if !may(model.IotHubTwinsWrite) || may(model.IotHubTwinsRead) {
			t.Errorf("%s, stored: may write %v, may read %v", name, may(model.IotHubTwinsWrite), may(model.IotHubTwinsRead))
		}
	}
}

// What was taken early and came back before anything could be stored is in no
// later answer: the feed says nothing of what came and went in between.
func TestWhatCameAndWentWhileNothingCouldBeStored(t *testing.T) {
	h := newFixture(t)
	h.store.fail = errDisk
	c := model.ChangeSet{From: version(1), To: version(2), PutRoles: []model.Role{{ID: one.Role, Name: "cut"}}}
	if err := h.Apply(t.Context(), changeFrom(1, 2, c, device.Changes{})); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	if h.may(first) {
		t.Error("the role that allows nothing now still grants")
	}
	h.store.fail = nil
	c = model.ChangeSet{From: version(1), To: version(3), PutAssignments: []model.Assignment{two}}
	if err := h.Apply(t.Context(), changeFrom(1, 3, c, device.Changes{})); err != nil {
		t.Fatal(err)
	}
	if !h.may(first) || !h.may(second) {
		t.Errorf("first may %v, second may %v: the store and the cloud say that both may", h.may(first), h.may(second))
	}
}

// A change of the policy alone mends no record of the registry: what is refused
// there is told again with it.
func TestProblemsOfTheRegistryOutliveAChangeOfPolicy(t *testing.T) {
	h := newFixture(t)
	if err := h.Replace(t.Context(), answer(2, model.Snapshot{}, building("same", "same"))); err != nil {
		t.Fatal(err)
	}
	told := h.registryProblems
	if len(told) == 0 {
		t.Fatal("two devices of one hub id are no problem")
	}
	c := model.ChangeSet{From: version(2), To: version(3), PutAssignments: []model.Assignment{one}}
	if err := h.Apply(t.Context(), changeFrom(2, 3, c, device.Changes{})); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(h.registryProblems, told) {
		t.Errorf("told %v after the change of policy, %v before", h.registryProblems, told)
	}
}
