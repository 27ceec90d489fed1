package policy_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/generation"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// swapOne takes one's right away and gives it to two.
var swapOne = model.ChangeSet{From: version(1), To: version(2), RemoveAssigns: []space.ID{one.ID}, PutAssignments: []model.Assignment{two}}

func TestPolicyIsStoredBeforeItIsInForce(t *testing.T) {
	h := newFixture(t)
	if err := h.Apply(t.Context(), changeFrom(1, 2, swapOne, device.Changes{})); err != nil {
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
	for name, apply := range map[string]func(*fixture) error{
		"delta": func(h *fixture) error {
			return h.Apply(t.Context(), changeFrom(1, 2, swapOne, device.Changes{}))
		},
		"full": func(h *fixture) error {
			return h.Replace(t.Context(), answer(2, model.Snapshot{Assignments: []model.Assignment{two}}, building("d1", "d2")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFixture(t)
			h.store.fail = errDisk
			if err := apply(h); !errors.Is(err, errDisk) {
				t.Fatalf("err = %v, want the store's: the cursor must stay", err)
			}
			if h.may(first) || h.may(second) {
				t.Errorf("first may %v, second may %v; want both refused", h.may(first), h.may(second))
			}
			if h.store.dirty == "" || !slices.Contains(h.log, "revoke") {
				t.Errorf("dirty %q, log %v: live sessions must lose it, and a restart must know", h.store.dirty, h.log)
			}
			h.store.fail = nil // space again: the same change is offered once more
			if err := apply(h); err != nil {
				t.Fatalf("after recovery: %v", err)
			}
			if h.may(first) || !h.may(second) {
				t.Errorf("after recovery: first may %v, second may %v", h.may(first), h.may(second))
			}
			if h.store.dirty != "" {
				t.Errorf("after recovery the store holds everything, and still counts as expired: %q", h.store.dirty)
			}
		})
	}
}

// What a change replaces is lost as well, and so is what a deleted device left behind.
func TestPolicyThatCannotBeStoredTakesWhatIsReplaced(t *testing.T) {
	elsewhere := one
	elsewhere.Path = space.MustPath("/5bace000-0000-4000-8000-000000000009")
	role := model.AzureRole{
		ID:          space.MustID("a3010000-0000-4000-8000-000000000001"),
		Name:        "custom",
		DataActions: []string{"Microsoft.Devices/IotHubs/*"},
	}
	granted := model.AzureAssignment{ID: space.MustID("a3020000-0000-4000-8000-000000000001"), Role: role.ID, Scope: hubScope,
		Who: model.AzurePrincipal{Type: model.AzureServicePrincipal, ID: first}}
	narrowed := role
	narrowed.DataActions = []string{"Microsoft.Devices/IotHubs/twins/read"}
	before := model.Snapshot{
		Assignments:      []model.Assignment{one},
		AzureRoles:       []model.AzureRole{role},
		AzureAssignments: []model.AzureAssignment{granted},
	}
	after := before
	after.Assignments, after.AzureRoles = []model.Assignment{elsewhere}, []model.AzureRole{narrowed}
	allowed := func(h *fixture, action string) bool {
		return h.Index().DecideAction(&model.Subject{Object: first, GroupsKnown: true}, action, hubScope).Allowed
	}
	writes := func(h *fixture) bool { return allowed(h, model.IotHubTwinsWrite) }
	for name, apply := range map[string]func(*fixture) error{
		"delta": func(h *fixture) error {
			c := model.ChangeSet{PutAssignments: []model.Assignment{elsewhere}, PutAzureRoles: []model.AzureRole{narrowed}}
			return h.Apply(t.Context(), changeFrom(2, 3, c, device.Changes{RemoveDevices: []space.ID{second}}))
		},
		"full": func(h *fixture) error {
			return h.Replace(t.Context(), answer(3, after, building("d1")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFixture(t)
			if err := h.Replace(t.Context(), answer(2, before, building("d1", "d2"))); err != nil {
				t.Fatal(err)
			}
			if !h.may(first) || !writes(h) {
				t.Fatalf("before: may %v, writes %v", h.may(first), writes(h))
			}
			h.store.fail = errors.New("no space left on device")
			if err := apply(h); err == nil {
				t.Fatal("it was stored")
			}
			if h.may(first) || writes(h) {
				t.Errorf("a moved assignment still grants %v, a narrowed role still grants %v", h.may(first), writes(h))
			}
			if !slices.Equal(h.gone, []string{"d2"}) {
				t.Errorf("forgot %v, want d2: nobody will name it again", h.gone)
			}
			h.store.fail = nil
			if err := apply(h); err != nil {
				t.Fatal(err)
			}
			if h.may(first) || writes(h) || !allowed(h, model.IotHubTwinsRead) {
				t.Error("after recovery what the change grants is not in force")
			}
		})
	}
}

// After a full answer that could not be stored, nothing less mends the store.
func TestOnlyAFullAnswerFollowsOneThatWasNotStored(t *testing.T) {
	h := newFixture(t)
	h.store.fail = errors.New("no space left on device")
	_ = h.Replace(t.Context(), answer(2, model.Snapshot{}, building("d1")))
	h.store.fail = nil
	if err := h.Apply(t.Context(), changeFrom(1, 2, swapOne, device.Changes{})); !errors.Is(err, replica.ErrGap) {
		t.Errorf("err = %v, want a gap", err)
	}
}

const hubScope = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/IotHubs/hub"

func TestPolicyGapAsksForAFullAnswer(t *testing.T) {
	h := newFixture(t)
	late := model.ChangeSet{From: version(5), To: version(6), PutAssignments: []model.Assignment{two}}
	if err := h.Apply(t.Context(), changeFrom(5, 6, late, device.Changes{})); !errors.Is(err, replica.ErrGap) {
		t.Fatalf("err = %v, want a gap", err)
	}
	h.store.fail = generation.ErrTooLarge
	if err := h.Apply(t.Context(), changeFrom(1, 2, swapOne, device.Changes{})); !errors.Is(err, replica.ErrGap) {
		t.Fatalf("a delta too large for one transaction: err = %v, want a gap", err)
	}
	h.store.fail = generation.ErrVersion
	if err := h.Apply(t.Context(), changeFrom(1, 2, swapOne, device.Changes{})); !errors.Is(err, replica.ErrGap) {
		t.Fatalf("a store that holds another version: err = %v, want a gap", err)
	}
	if !h.may(first) || h.may(second) {
		t.Error("a change that was not taken is in force")
	}
}

// A deleted device leaves nothing to one of the same name; a disabled or
// colliding record still exists.
func TestDeletedDevicesAreForgotten(t *testing.T) {
	h := newFixture(t)
	step := func(to uint64, c device.Changes) {
		t.Helper()
		if err := h.Apply(t.Context(), changeFrom(to-1, to, model.ChangeSet{}, c)); err != nil {
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
	for name, c := range map[string]model.ChangeSet{
		"assignment": {PutAssignments: []model.Assignment{{ID: one.ID, Role: one.Role, Who: two.Who, Path: one.Path}}},
	} {
		h := newFixture(t)
		h.store.fail = errDisk
		if err := h.Apply(t.Context(), changeFrom(1, 2, c, device.Changes{})); !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
		if h.may(first) || h.may(second) {
			t.Errorf("%s: first may %v, second may %v", name, h.may(first), h.may(second))
		}
	}
	role := model.AzureBuiltInRoles()[0]
	l := newFixture(t).Index().LossesOf(&model.ChangeSet{From: version(1), To: version(2), PutAzureRoles: []model.AzureRole{role}})
	if !slices.Equal(l.RemoveAzureRoles, []space.ID{role.ID}) || l.To != version(1) {
		t.Errorf("a role that is written anew: %+v", l)
	}
	h := newFixture(t)
	h.store.fail = errDisk
	err := h.Replace(t.Context(), answer(2, model.Snapshot{Assignments: []model.Assignment{one}}, building("d1")))
	if !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	if !slices.Equal(h.gone, []string{"d2"}) {
		t.Errorf("forgot %v, want d2", h.gone)
	}
}
