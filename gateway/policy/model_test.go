package policy_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/authztest"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/generation"
	"github.com/gatehouse/gatehouse/gateway/policy"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// errRevoke is what the live sessions answer when they cannot be confirmed.
var errRevoke = errors.New("a session did not answer")

// trial runs a Policy beside a naive model: the lists in its store, the lists
// in the cloud, and the oracle over both.
type trial struct {
	t      *testing.T
	rand   *rand.Rand
	world  *authztest.World // whose policy is the cloud's
	cloud  device.Data
	store  naiveStore
	policy *policy.Policy

	needsFull bool // a complete answer was not stored, so that change sets must be refused

	// What the last delivery brought about.
	concerned principal.Concerned
	gone      map[string]bool
	changed   []policy.Change
	failure   error // of the next revocation
}

func newTrial(t *testing.T, seed uint64) *trial {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	m := &trial{t: t, rand: r, world: authztest.NewWorld(r, 20), cloud: randomRegistry(r)}
	m.policy = policy.New(policy.Options{
		Store:   &m.store,
		Effects: m,
		Mark:    func() (time.Time, uint64) { return time.Unix(1, 0), 0 },
		Log:     slog.New(slog.DiscardHandler),
	})
	return m
}

func (m *trial) Problems([]authz.Problem, []device.Problem) {}

func (m *trial) Revoke(_ context.Context, concerned principal.Concerned) (time.Duration, error) {
	m.concerned = concerned
	return 0, m.failure
}

func (m *trial) Forget(gone []device.Departed) {
	for _, d := range gone {
		m.gone[d.Name+" of "+d.ID.String()] = true
	}
}

func (m *trial) Changed(c policy.Change) { m.changed = append(m.changed, c) }

// move changes policy, registry or both in the cloud.
func (m *trial) move(what byte) {
	if what%3 != 1 {
		m.world.Change()
	}
	if what%3 != 0 {
		m.cloud = randomRegistry(m.rand)
		m.world.Policy.Version.Number++
	}
}

// deliver hands the cloud's state over, as a complete answer or as a change
// set from what is stored, and holds the outcome against the model.
func (m *trial) deliver(ctx context.Context, full bool) {
	m.t.Helper()
	m.concerned, m.gone, m.changed = principal.Concerned{}, map[string]bool{}, nil
	before, beforeTopo := m.policy.Facts()
	stored := m.store.held
	to := m.world.Policy.Version
	var err error
	if full {
		err = m.policy.Replace(ctx, replica.Full{Version: to, Policy: m.world.Policy, Data: m.cloud})
	} else {
		c, d := changes(&stored, to, &m.world.Policy, &m.cloud)
		err = m.policy.Apply(ctx, replica.Delta{From: stored.Version, To: to, Policy: c, Data: d})
	}
	after, afterTopo := m.policy.Facts()
	switch {
	case ctx.Err() != nil, !full && (m.needsFull || !m.policy.Loaded() || errors.Is(m.store.fail, generation.ErrTooLarge)):
		if err == nil || before != after || beforeTopo != afterTopo || m.concerned.Has != nil || len(m.changed) > 0 {
			m.t.Fatalf("full %v: error %v, and something has changed", full, err)
		}
		if ctx.Err() == nil && !errors.Is(err, replica.ErrGap) {
			m.t.Fatalf("error %v, want a gap", err)
		}
		return
	case m.store.fail != nil:
		m.needsFull = m.needsFull || full
		if !errors.Is(err, m.store.fail) || !m.store.dirty || len(m.changed) != 1 || m.changed[0].Stored {
			m.t.Fatalf("full %v: error %v, dirty %v, told %+v; want the store's failure", full, err, m.store.dirty, m.changed)
		}
		m.onlyLosses(&stored, after, afterTopo)
	default:
		m.needsFull = false
		if !errors.Is(err, m.failure) || m.store.dirty || m.store.held.Version != to {
			m.t.Fatalf("full %v: error %v, dirty %v, stored %v; want %v stored and %v",
				full, err, m.store.dirty, m.store.held.Version, to, m.failure)
		}
		m.exactly(after, afterTopo)
	}
	if want := departures(&stored.Registry, &m.cloud); !maps.Equal(m.gone, want) {
		m.t.Fatalf("forgot %v, want %v", m.gone, want)
	}
	m.revoked(before, after)
	if !maps.Equal(facts(beforeTopo), facts(afterTopo)) && !m.concerned.Has(&principal.Principal{}) {
		m.t.Fatal("the registry changed, and not everyone is concerned")
	}
}

// exactly holds what is in force against the cloud.
func (m *trial) exactly(ix *authz.Index, topo *device.Topology) {
	m.t.Helper()
	w, oracle := m.world, m.world.Oracle()
	for range 20 {
		s, op, at, q := w.Subject(), w.Operation(), w.Place(), w.Query()
		if got, want := ix.Decide(s, op, at).Allowed, oracle.Decide(s, op, at); got != want {
			m.t.Fatalf("%v at %v: %v, want %v", op, at, got, want)
		}
		if got, want := ix.DecideRequest(s, q).Allowed, oracle.DecideAction(s, q); got != want {
			m.t.Fatalf("%v: %v, want %v", q, got, want)
		}
	}
	want, _ := device.NewTopology(m.cloud, device.Options{})
	if got, want := facts(topo), facts(want); !maps.Equal(got, want) {
		m.t.Fatalf("the registry says %v, want %v", got, want)
	}
}

// onlyLosses holds what is in force against the store and the cloud: nothing is
// granted, and nothing is true of a device, that is not so by both.
func (m *trial) onlyLosses(stored *generation.Full, ix *authz.Index, topo *device.Topology) {
	m.t.Helper()
	w, now := m.world, m.world.Oracle()
	was := &authztest.Oracle{Policy: stored.Policy, Conditions: w.Conditions}
	for range 20 {
		s, op, at, q := w.Subject(), w.Operation(), w.Place(), w.Query()
		if ix.Decide(s, op, at).Allowed && (!was.Decide(s, op, at) || !now.Decide(s, op, at)) {
			m.t.Fatalf("%v at %v is granted: by the store %v, by the cloud %v", op, at, was.Decide(s, op, at), now.Decide(s, op, at))
		}
		if ix.DecideRequest(s, q).Allowed && (!was.DecideAction(s, q) || !now.DecideAction(s, q)) {
			m.t.Fatalf("%v is granted: by the store %v, by the cloud %v", q, was.DecideAction(s, q), now.DecideAction(s, q))
		}
	}
	storedTopo, _ := device.NewTopology(stored.Registry, device.Options{})
	cloudTopo, _ := device.NewTopology(m.cloud, device.Options{})
	byStore, byCloud := facts(storedTopo), facts(cloudTopo)
	for fact := range facts(topo) {
		if !byStore[fact] || !byCloud[fact] {
			m.t.Fatalf("%s: by the store %v, by the cloud %v", fact, byStore[fact], byCloud[fact])
		}
	}
}

// revoked holds the revocation against the decisions: whoever lost a right must
// have been looked at.
func (m *trial) revoked(before, after *authz.Index) {
	m.t.Helper()
	if m.concerned.Has == nil {
		m.t.Fatal("nobody was revoked")
	}
	w := m.world
	for range 20 {
		s, op, at, q := w.Subject(), w.Operation(), w.Place(), w.Query()
		lost := before.Decide(s, op, at).Allowed && !after.Decide(s, op, at).Allowed ||
			before.DecideRequest(s, q).Allowed && !after.DecideRequest(s, q).Allowed
		if lost && !m.concerned.Has(&principal.Principal{Subject: *s}) {
			m.t.Fatalf("%+v lost a right and is not concerned", s)
		}
		if lost && !reached(&m.concerned, s) {
			m.t.Fatalf("%+v lost a right and is not where %+v says to look", s, m.concerned)
		}
	}
}

// reached tells whether a search by what the set names finds the subject.
func reached(c *principal.Concerned, s *model.Subject) bool {
	return c.Everyone || c.Entra && !s.Object.IsZero() ||
		slices.ContainsFunc(s.Identities, func(i model.Identity) bool { return slices.Contains(c.Identities, i) })
}

// play delivers the cloud's changes as the script says, of which each byte is a step.
func (m *trial) play(script uint64) {
	m.t.Helper()
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	for ; script != 0; script >>= 8 {
		step := byte(script)
		m.move(step >> 4)
		m.store.fail, m.failure = nil, nil
		full := step&1 == 0
		switch step >> 1 & 7 {
		case 0, 1:
			m.deliver(m.t.Context(), full)
		case 2, 3, 4:
			m.store.fail = errDisk
			m.deliver(m.t.Context(), full)
		case 5:
			m.store.fail = generation.ErrTooLarge
			m.deliver(m.t.Context(), false)
		case 6:
			m.deliver(stopped, full)
		case 7:
			m.failure = errRevoke
			m.deliver(m.t.Context(), full)
		}
	}
}

// TestPolicyIsTheNaiveModel plays random scripts of answers, complete and not,
// that are stored or fail in every way a store can.
func TestPolicyIsTheNaiveModel(t *testing.T) {
	for range 30 {
		seed, scripts := rand.Uint64(), [2]uint64{rand.Uint64(), rand.Uint64()}
		t.Logf("newTrial(t, %#x), play(%#x), play(%#x)", seed, scripts[0], scripts[1])
		m := newTrial(t, seed)
		m.play(scripts[0])
		if m.play(scripts[1]); t.Failed() {
			return
		}
	}
}

// FuzzPolicy lets the fuzzer write the script. It is a number and no list of
// bytes, because the fuzzer would spend its time on making lists shorter.
func FuzzPolicy(f *testing.F) {
	f.Add(uint64(1), uint64(0x2001140500))
	f.Add(uint64(2), uint64(0x100f0c0b012410))
	f.Fuzz(func(t *testing.T, seed, script uint64) { newTrial(t, seed).play(script) })
}
