package policy_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/policy"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// witness is a fixture that looks, when Revoke is called, at the facts in force and at who is concerned.
type witness struct {
	*fixture
	calls int
	look  func(concerned principal.Concerned)
}

func (w *witness) Revoke(ctx context.Context, concerned principal.Concerned) (time.Duration, error) {
	w.calls++
	w.look(concerned)
	return w.fixture.Revoke(ctx, concerned)
}

// When sessions are decided again, the facts in force are already the new ones, and a change of the
// registry or a complete answer concerns everybody: either may change the rights of anybody, also of
// devices of which no assignment was touched.
func TestRevokeIsCalledForAllWhenTheFactsAreNew(t *testing.T) {
	moved := building("d1", "d2")
	moved.Devices[0].Status = device.Disabled
	registryOnly := changeFrom(1, 2, model.ChangeSet{}, device.Changes{PutDevices: moved.Devices[:1]})
	all := []string{"d1", "d2", "somebody"}
	for name, c := range map[string]struct {
		apply     func(*witness) error
		fail      error
		concerned []string
		mayFirst  bool
		status    device.Status
	}{
		"a change of the registry":  {func(w *witness) error { return w.Apply(t.Context(), registryOnly) }, nil, all, true, device.Disabled},
		"one that cannot be stored": {func(w *witness) error { return w.Apply(t.Context(), registryOnly) }, errDisk, all, true, device.Disabled},
		"a complete answer": {func(w *witness) error {
			return w.Replace(t.Context(), answer(7, model.Snapshot{}, moved))
		}, nil, all, false, device.Disabled},
		"a change of rights": {func(w *witness) error {
			return w.Apply(t.Context(), changeFrom(1, 2, model.ChangeSet{RemoveAssigns: []space.ID{one.ID}}, device.Changes{}))
		}, nil, []string{"d1"}, false, device.Active},
	} {
		t.Run(name, func(t *testing.T) {
			w := &witness{}
			w.fixture = newFixtureFor(t, func(h *fixture) policy.Effects {
				w.fixture, w.look = h, func(principal.Concerned) {}
				return w
			})
			w.calls = 0
			w.store.fail = c.fail
			w.look = func(concerned principal.Concerned) {
				if w.may(first) != c.mayFirst {
					t.Error("decided by the old policy")
				}
				if d, ok := w.Topology().Device(first); !ok || d.Status != c.status {
					t.Errorf("decided by the old registry: %+v", d)
				}
				var hit []string
				for name, who := range map[string]model.Identity{"d1": one.Who, "d2": two.Who, "somebody": {Kind: model.UserID, Object: second}} {
					if concerned.Has(&principal.Principal{Subject: model.Subject{Identities: []model.Identity{who}}}) {
						hit = append(hit, name)
					}
				}
				slices.Sort(hit)
				if !slices.Equal(hit, c.concerned) {
					t.Errorf("concerns %q, want %q", hit, c.concerned)
				}
			}
			if err := c.apply(w); !errors.Is(err, c.fail) {
				t.Fatal(err)
			}
			if w.calls != 1 {
				t.Errorf("Revoke was called %d times", w.calls)
			}
		})
	}
}
