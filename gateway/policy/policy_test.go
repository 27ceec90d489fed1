package gateway

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/store"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// memoryCache is a cache that can be told to fail.
type memoryCache struct {
	held  store.Generation
	fail  error
	dirty string
	log   *[]string
}

func (m *memoryCache) WriteGeneration(_ context.Context, g store.Generation) error {
	*m.log = append(*m.log, "write")
	if m.fail == nil {
		m.held, m.dirty = g, ""
	}
	return m.fail
}

func (m *memoryCache) ClearDirty() error {
	m.dirty = ""
	return nil
}

func (m *memoryCache) WriteDelta(context.Context, store.Delta) error {
	*m.log = append(*m.log, "write")
	return m.fail
}

func (m *memoryCache) Load(context.Context) (store.Generation, error) { return m.held, nil }

func (m *memoryCache) MarkDirty(reason string) error {
	m.dirty = reason
	return nil
}

type policyHouse struct {
	*policy
	cache *memoryCache
	log   []string
	seen  []change
	gone  []string
}

var (
	room   = space.MustPath("/5bace000-0000-4000-8000-000000000001")
	first  = space.MustID("de71ce00-0000-4000-8000-000000000001")
	second = space.MustID("de71ce00-0000-4000-8000-000000000002")
)

func grant(id string, dev space.ID) model.Assignment {
	return model.Assignment{ID: space.MustID(id), Role: space.MustID(model.GatewayDeviceRole), Who: model.Identity{Kind: model.DeviceID, Object: dev}, Path: room}
}

var (
	one = grant("a5510000-0000-4000-8000-000000000001", first)
	two = grant("a5510000-0000-4000-8000-000000000002", second)
)

func version(n uint64) model.Version { return model.Version{Epoch: 7, Number: n} }

func building(hubIDs ...string) device.Data {
	d := device.Data{Spaces: []device.Space{{ID: room.Space(), Name: "room", Path: room}}}
	for i, id := range hubIDs {
		d.Devices = append(d.Devices, device.Device{ID: []space.ID{first, second}[i], HubID: id, HardwareID: id, Space: room.Space(), Status: device.Active})
	}
	return d
}

// clockAt is a clock whose mark and build time are mark, beside a system clock that stands at wall.
func clockAt(mark, wall time.Time) *offline.Clock {
	return offline.NewClock(offline.ClockOptions{System: func() time.Time { return wall }, Mark: mark, Built: mark})
}

func newPolicyHouse(t *testing.T) *policyHouse {
	t.Helper()
	h := &policyHouse{}
	h.cache = &memoryCache{log: &h.log}
	start := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	h.policy = &policy{
		cache: h.cache, clock: clockAt(start, start), log: slog.New(slog.DiscardHandler),
		revoke: func(context.Context, func(*principal.Principal) bool) (time.Duration, error) {
			// What is revoked is judged by what is in force by now.
			h.log = append(h.log, "revoke")
			return 0, nil
		},
		problems: func([]authz.Problem, []device.Problem) {},
		changed:  func(c change) { h.seen = append(h.seen, c) },
		forget: func(gone []device.Departed) {
			for _, was := range gone {
				h.gone = append(h.gone, was.Name)
			}
		},
	}
	h.begin()
	full := replica.Full{Version: version(1), Policy: model.Snapshot{Version: version(1), Assignments: []model.Assignment{one}}, Data: building("d1", "d2")}
	if err := h.Replace(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	h.log = nil
	return h
}

func (h *policyHouse) may(dev space.ID) bool {
	s := &model.Subject{Identities: []model.Identity{{Kind: model.DeviceID, Object: dev}}}
	return h.Index().Decide(s, model.Operation{Access: model.Create, Type: model.Sensor}, room).Allowed
}

// swapOne takes one's right away and gives it to two.
var swapOne = model.ChangeSet{From: version(1), To: version(2), RemoveAssigns: []space.ID{one.ID}, PutAssignments: []model.Assignment{two}}

func TestPolicyIsStoredBeforeItIsInForce(t *testing.T) {
	h := newPolicyHouse(t)
	if err := h.Apply(t.Context(), replica.Delta{From: version(1), To: version(2), Policy: swapOne}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(h.log, []string{"write", "revoke"}) {
		t.Errorf("order %v, want write, then revoke", h.log)
	}
	if h.may(first) || !h.may(second) {
		t.Errorf("first may %v, second may %v", h.may(first), h.may(second))
	}
}

// A full disk takes rights away at once and gives none (docs/spec/semantics.md 4.4).
func TestPolicyThatCannotBeStoredOnlyTakesAway(t *testing.T) {
	full := errors.New("no space left on device")
	for name, apply := range map[string]func(*policyHouse) error{
		"delta": func(h *policyHouse) error {
			return h.Apply(t.Context(), replica.Delta{From: version(1), To: version(2), Policy: swapOne})
		},
		"full": func(h *policyHouse) error {
			return h.Replace(t.Context(), replica.Full{Version: version(2), Policy: model.Snapshot{Version: version(2), Assignments: []model.Assignment{two}}, Data: building("d1", "d2")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newPolicyHouse(t)
			h.cache.fail = full
			if err := apply(h); !errors.Is(err, full) {
				t.Fatalf("err = %v, want the store's: the cursor must stay", err)
			}
			if h.may(first) || h.may(second) {
				t.Errorf("first may %v, second may %v; want both refused", h.may(first), h.may(second))
			}
			if h.cache.dirty == "" || !slices.Contains(h.log, "revoke") {
				t.Errorf("dirty %q, log %v: live sessions must lose it, and a restart must know", h.cache.dirty, h.log)
			}
			h.cache.fail = nil // space again: the same change is offered once more
			if err := apply(h); err != nil {
				t.Fatalf("after recovery: %v", err)
			}
			if h.may(first) || !h.may(second) {
				t.Errorf("after recovery: first may %v, second may %v", h.may(first), h.may(second))
			}
			if h.cache.dirty != "" {
				t.Errorf("after recovery the store holds everything, and still counts as expired: %q", h.cache.dirty)
			}
		})
	}
}

// What a change replaces is lost as well, and so is what a deleted device left behind.
func TestPolicyThatCannotBeStoredTakesWhatIsReplaced(t *testing.T) {
	elsewhere := one
	elsewhere.Path = space.MustPath("/5bace000-0000-4000-8000-000000000009")
	role := model.AzureRole{ID: space.MustID("a3010000-0000-4000-8000-000000000001"), Name: "custom", DataActions: []string{"Microsoft.Devices/IotHubs/*"}}
	granted := model.AzureAssignment{ID: space.MustID("a3020000-0000-4000-8000-000000000001"), Role: role.ID, Scope: hubScope,
		Who: model.AzurePrincipal{Type: model.AzureServicePrincipal, ID: first}}
	narrowed := role
	narrowed.DataActions = []string{"Microsoft.Devices/IotHubs/twins/read"}
	before := model.Snapshot{Version: version(2), Assignments: []model.Assignment{one}, AzureRoles: []model.AzureRole{role}, AzureAssignments: []model.AzureAssignment{granted}}
	after := before
	after.Version = version(3)
	after.Assignments, after.AzureRoles = []model.Assignment{elsewhere}, []model.AzureRole{narrowed}
	writes := func(h *policyHouse) bool {
		return h.Index().DecideAction(&model.Subject{Object: first, GroupsKnown: true}, "Microsoft.Devices/IotHubs/twins/write", hubScope).Allowed
	}
	for name, apply := range map[string]func(*policyHouse) error{
		"delta": func(h *policyHouse) error {
			c := model.ChangeSet{From: version(2), To: version(3), PutAssignments: []model.Assignment{elsewhere}, PutAzureRoles: []model.AzureRole{narrowed}}
			return h.Apply(t.Context(), replica.Delta{From: version(2), To: version(3), Policy: c, Data: device.Changes{RemoveDevices: []space.ID{second}}})
		},
		"full": func(h *policyHouse) error {
			return h.Replace(t.Context(), replica.Full{Version: version(3), Policy: after, Data: building("d1")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newPolicyHouse(t)
			if err := h.Replace(t.Context(), replica.Full{Version: version(2), Policy: before, Data: building("d1", "d2")}); err != nil {
				t.Fatal(err)
			}
			if !h.may(first) || !writes(h) {
				t.Fatalf("before: may %v, writes %v", h.may(first), writes(h))
			}
			h.cache.fail = errors.New("no space left on device")
			if err := apply(h); err == nil {
				t.Fatal("it was stored")
			}
			if h.may(first) || writes(h) {
				t.Errorf("a moved assignment still grants %v, a narrowed role still grants %v", h.may(first), writes(h))
			}
			if !slices.Equal(h.gone, []string{"d2"}) {
				t.Errorf("forgot %v, want d2: nobody will name it again", h.gone)
			}
			h.cache.fail = nil
			if err := apply(h); err != nil {
				t.Fatal(err)
			}
			if h.may(first) || writes(h) || !h.Index().DecideAction(&model.Subject{Object: first, GroupsKnown: true}, "Microsoft.Devices/IotHubs/twins/read", hubScope).Allowed {
				t.Error("after recovery what the change grants is not in force")
			}
		})
	}
}

// After a full answer that could not be stored, nothing less mends the store.
func TestOnlyAFullAnswerFollowsOneThatWasNotStored(t *testing.T) {
	h := newPolicyHouse(t)
	h.cache.fail = errors.New("no space left on device")
	_ = h.Replace(t.Context(), replica.Full{Version: version(2), Policy: model.Snapshot{Version: version(2)}, Data: building("d1")})
	h.cache.fail = nil
	if err := h.Apply(t.Context(), replica.Delta{From: version(1), To: version(2), Policy: swapOne}); !errors.Is(err, replica.ErrGap) {
		t.Errorf("err = %v, want a gap", err)
	}
}

const hubScope = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/IotHubs/hub"

func TestPolicyGapAsksForAFullAnswer(t *testing.T) {
	h := newPolicyHouse(t)
	late := model.ChangeSet{From: version(5), To: version(6), PutAssignments: []model.Assignment{two}}
	if err := h.Apply(t.Context(), replica.Delta{From: version(5), To: version(6), Policy: late}); !errors.Is(err, replica.ErrGap) {
		t.Fatalf("err = %v, want a gap", err)
	}
	h.cache.fail = store.ErrTooLarge
	if err := h.Apply(t.Context(), replica.Delta{From: version(1), To: version(2), Policy: swapOne}); !errors.Is(err, replica.ErrGap) {
		t.Fatalf("a delta too large for one transaction: err = %v, want a gap", err)
	}
	h.cache.fail = store.ErrVersion
	if err := h.Apply(t.Context(), replica.Delta{From: version(1), To: version(2), Policy: swapOne}); !errors.Is(err, replica.ErrGap) {
		t.Fatalf("a store that holds another version: err = %v, want a gap", err)
	}
	if !h.may(first) || h.may(second) {
		t.Error("a change that was not taken is in force")
	}
}

// A deleted device leaves nothing to one of the same name; a disabled or
// colliding record still exists.
func TestDeletedDevicesAreForgotten(t *testing.T) {
	h := newPolicyHouse(t)
	step := func(to uint64, c device.Changes) {
		t.Helper()
		if err := h.Apply(t.Context(), replica.Delta{From: version(to - 1), To: version(to), Policy: model.ChangeSet{From: version(to - 1), To: version(to)}, Data: c}); err != nil {
			t.Fatal(err)
		}
	}
	disabled := building("d1").Devices[0]
	disabled.Status = device.Disabled
	step(2, device.Changes{PutDevices: []device.Device{disabled}})
	if len(h.gone) > 0 {
		t.Fatalf("forgot %v: it is only disabled", h.gone)
	}
	step(3, device.Changes{RemoveDevices: []space.ID{first}})
	if !slices.Equal(h.gone, []string{"d1"}) {
		t.Fatalf("forgot %v, want d1", h.gone)
	}
	again := building("d2").Devices[0] // another record under d2's name
	step(4, device.Changes{RemoveDevices: []space.ID{second}, PutDevices: []device.Device{again}})
	if !slices.Equal(h.gone, []string{"d1", "d2"}) {
		t.Fatalf("forgot %v, want d1 and d2", h.gone)
	}
}

// What is replaced may give less than before: a narrowed role, another's
// assignment under the same id. And what is deleted is forgotten, full disk or not.
func TestPolicyThatCannotBeStoredLosesWhatIsReplaced(t *testing.T) {
	full := errors.New("no space left on device")
	for name, c := range map[string]model.ChangeSet{
		"assignment": {From: version(1), To: version(2), PutAssignments: []model.Assignment{{ID: one.ID, Role: one.Role, Who: two.Who, Path: one.Path}}},
	} {
		h := newPolicyHouse(t)
		h.cache.fail = full
		if err := h.Apply(t.Context(), replica.Delta{From: version(1), To: version(2), Policy: c}); !errors.Is(err, full) {
			t.Fatal(err)
		}
		if h.may(first) || h.may(second) {
			t.Errorf("%s: first may %v, second may %v", name, h.may(first), h.may(second))
		}
	}
	role := model.AzureBuiltInRoles()[0]
	if l := lossesOf(&model.ChangeSet{From: version(1), To: version(2), PutAzureRoles: []model.AzureRole{role}}); !slices.Equal(l.RemoveAzureRoles, []space.ID{role.ID}) || l.To != version(1) {
		t.Errorf("a role that is written anew: %+v", l)
	}
	h := newPolicyHouse(t)
	h.cache.fail = full
	if err := h.Replace(t.Context(), replica.Full{Version: version(2), Policy: model.Snapshot{Version: version(2), Assignments: []model.Assignment{one}}, Data: building("d1")}); !errors.Is(err, full) {
		t.Fatal(err)
	}
	if !slices.Equal(h.gone, []string{"d2"}) {
		t.Errorf("forgot %v, want d2", h.gone)
	}
}
