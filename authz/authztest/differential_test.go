package authztest_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/authztest"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// decisions is how many random decisions are compared: 200,000, or what
// AUTHZ_DECISIONS says.
func decisions(t *testing.T) int {
	n := 200_000
	if s := os.Getenv("AUTHZ_DECISIONS"); s != "" {
		v, err := strconv.Atoi(strings.ReplaceAll(s, "_", ""))
		if err != nil {
			t.Fatalf("AUTHZ_DECISIONS: %v", err)
		}
		n = v
	} else if testing.Short() || underRace {
		n = 20_000
	}
	return n
}

func seed(t *testing.T) uint64 {
	if s := os.Getenv("AUTHZ_SEED"); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("AUTHZ_SEED: %v", err)
		}
		return v
	}
	return rand.Uint64()
}

// agree compares engine and oracle on one random question of each model.
func agree(t *testing.T, w *authztest.World, ix *authz.Index, oracle *authztest.Oracle) (allowed bool) {
	t.Helper()
	s := w.Subject()
	op, at := w.Operation(), w.Place()
	d := ix.Decide(s, op, at)
	if want := oracle.Decide(s, op, at); d.Allowed != want {
		t.Fatalf("%v at %v for %v: engine %+v, oracle %v\n%s", op, at, s.Identities, d.Outcome(), want, explain(ix, s, op, at))
	}
	check(t, d)
	q := w.Query()
	a := ix.DecideAction(s, q.Action, q.Scope)
	if want := oracle.DecideAction(s, q); a.Allowed != want {
		x := ix.ExplainAction(s, q.Action, q.Scope)
		t.Fatalf("%s at %s for %v: engine %+v, oracle %v\n%s", q.Action, q.Scope, s, a.Outcome(), want, x.Text())
	}
	check(t, a)
	return d.Allowed || a.Allowed
}

func explain(ix *authz.Index, s *model.Subject, op model.Operation, at space.Path) string {
	x := ix.Explain(s, op, at)
	return x.Text()
}

// check is what holds of every decision.
func check(t *testing.T, d authz.Decision) {
	t.Helper()
	if r := d.Outcome(); d.Allowed != (d.Reason == authz.Granted) || d.Allowed && (r.Assignment.IsZero() || r.Role.IsZero()) {
		t.Fatalf("a decision that contradicts itself: %+v", r)
	}
}

// TestEngineIsTheOracle compares decisions over generated worlds.
func TestEngineIsTheOracle(t *testing.T) {
	const perWorld = 1000
	seed := seed(t)
	allowed, total := 0, decisions(t)
	for n := 0; n < total; n += 2 * perWorld {
		r := rand.New(rand.NewPCG(seed, uint64(n)))
		w := authztest.NewWorld(r, []int{3, 20, 60}[r.IntN(3)])
		ix, _ := authz.Compile(w.Policy)
		oracle := w.Oracle()
		for range perWorld {
			if agree(t, w, ix, oracle) {
				allowed++
			}
		}
		if t.Failed() {
			t.Fatalf("AUTHZ_SEED=%d", seed)
		}
	}
	if share := float64(allowed) / float64(total/2); share < 0.05 || share > 0.95 {
		t.Errorf("%.0f %% of the questions were allowed: the worlds prove little (seed %d)", 100*share, seed)
	}
	t.Logf("%d decisions, seed %d, allowed in %d of %d rounds", total, seed, allowed, total/2)
}

// FuzzEngineIsTheOracle lets the fuzzer choose worlds and changes.
func FuzzEngineIsTheOracle(f *testing.F) {
	f.Add(uint64(1), uint64(2), uint8(10))
	f.Fuzz(func(t *testing.T, a, b uint64, size uint8) {
		w := authztest.NewWorld(rand.New(rand.NewPCG(a, b)), int(size%64))
		ix, _ := authz.Compile(w.Policy)
		for range 20 {
			agree(t, w, ix, w.Oracle())
		}
		next, _, err := ix.Apply(w.Change())
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			agree(t, w, next, w.Oracle())
		}
	})
}

// TestQuestionsAgreeWithDecisions: the other questions of the index are
// decisions in another form.
func TestQuestionsAgreeWithDecisions(t *testing.T) {
	seed := seed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 60 {
		w := authztest.NewWorld(r, 30)
		ix, _ := authz.Compile(w.Policy)
		for range 40 {
			s, op, at := w.Subject(), w.Operation(), w.Place()
			d := ix.Decide(s, op, at).Outcome()
			if x := ix.Explain(s, op, at); x.Outcome != d || d.Allowed != (len(x.Granting) > 0) {
				t.Fatalf("seed %d: explained %+v, decided %+v", seed, x, d)
			}
			readable, reaches := false, false
			below := ix.ReadableBelow(s, op)
			for i, p := range below {
				readable = readable || p.Covers(at)
				reaches = reaches || p.Covers(at) || at.Covers(p)
				for j, o := range below {
					if i != j && o.Covers(p) {
						t.Fatalf("seed %d: %v is not maximal beside %v", seed, p, o)
					}
				}
				if !ix.Decide(s, op, p.Join(space.NewID())).Allowed {
					t.Fatalf("seed %d: %v is said to be granted", seed, p)
				}
			}
			if readable != d.Allowed || reaches != ix.Reaches(s, op, at) {
				t.Fatalf("seed %d: decided %v, readable below %v, reaches %v", seed, d.Allowed, below, ix.Reaches(s, op, at))
			}
			who := false
			for _, g := range ix.WhoCan(op, at) {
				for _, i := range s.Identities {
					who = who || g.Who == i
				}
			}
			if who != d.Allowed {
				t.Fatalf("seed %d: decided %v, who-can says %v", seed, d.Allowed, who)
			}
			q := w.Query()
			a := ix.DecideRequest(s, q)
			if x := ix.ExplainRequest(s, q); x.Outcome != a.Outcome() || a.Allowed && len(x.Granting) == 0 {
				t.Fatalf("seed %d: explained %+v, decided %+v", seed, x, a)
			}
			if a.Allowed && !ix.HasAnyGrant(s, space.Path{}, q.Scope) {
				t.Fatalf("seed %d: allowed and yet without any grant: %s", seed, q.Action)
			}
		}
	}
}
