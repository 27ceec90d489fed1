package policy_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/policy"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// On a disk that cannot write, a device that is disabled in the cloud is disabled at once, and its
// sessions are decided again.
func TestDisabledAtOnceWhenNothingCanBeStored(t *testing.T) {
	disabled := building("d1", "d2")
	disabled.Devices[0].Status = device.Disabled
	rights := model.Snapshot{Assignments: []model.Assignment{one, two}}
	for name, apply := range map[string]func(*fixture) error{
		"delta": func(h *fixture) error {
			return h.Apply(t.Context(), changeFrom(2, 3, model.ChangeSet{}, device.Changes{PutDevices: disabled.Devices[:1]}))
		},
		"full": func(h *fixture) error { return h.Replace(t.Context(), answer(3, rights, disabled)) },
	} {
		h := newFixture(t)
		if err := h.Replace(t.Context(), answer(2, rights, building("d1", "d2"))); err != nil {
			t.Fatal(err)
		}
		h.log, h.store.fail = nil, errDisk
		if err := apply(h); !errors.Is(err, errDisk) {
			t.Fatalf("%s: %v", name, err)
		}
		if d, ok := h.Topology().Device(first); !ok || d.Status != device.Disabled {
			t.Errorf("%s: the device is %+v", name, d)
		}
		if d, ok := h.Topology().Device(second); !ok || d.Status != device.Active || !h.may(second) {
			t.Errorf("%s: the other device is %+v, may %v", name, d, h.may(second))
		}
		if !slices.Contains(h.log, "revoke") {
			t.Errorf("%s: no session was decided again", name)
		}
	}
}

// A change set that adds a denial for a group concerns those of whom no groups are known: the denial
// applies to them.
func TestADenialForAGroupConcernsWhoseGroupsAreUnknown(t *testing.T) {
	group := second
	deny := model.AzureDeny{
		ID:          one.ID,
		Scope:       hubScope,
		DataActions: []string{model.IotHubTwinsWrite},
		Principals:  []model.AzurePrincipal{{Type: model.AzureGroup, ID: group}},
	}
	w := &witness{}
	w.fixture = newFixtureFor(t, func(h *fixture) policy.Effects {
		w.fixture, w.look = h, func(principal.Concerned) {}
		return w
	})
	w.calls = 0
	w.look = func(concerned principal.Concerned) {
		for name, c := range map[string]struct {
			subject model.Subject
			want    bool
		}{
			"groups unknown":     {model.Subject{Object: first}, true},
			"in the group":       {model.Subject{Object: first, GroupsKnown: true, Groups: []space.ID{group}}, true},
			"in no group":        {model.Subject{Object: first, GroupsKnown: true}, false},
			"a device of a room": {model.Subject{Identities: []model.Identity{one.Who}}, false},
		} {
			if got := concerned.Has(&principal.Principal{Subject: c.subject}); got != c.want {
				t.Errorf("%s: concerned %v, want %v", name, got, c.want)
			}
		}
	}
	d := changeFrom(1, 2, model.ChangeSet{PutAzureDenies: []model.AzureDeny{deny}}, device.Changes{})
	if err := w.Apply(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if w.calls != 1 {
		t.Errorf("Revoke was called %d times", w.calls)
	}
}
