package authztest_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/authztest"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// TestDeltasEqualRebuild: any sequence of change sets ends in the decisions
// (reason, assignment and role included) of a full rebuild, whoever differs is
// named, whoever is named differs, and parents are not disturbed.
func TestDeltasEqualRebuild(t *testing.T) {
	seed := seed(t)
	rounds := 12
	if testing.Short() || underRace {
		rounds = 3
	}
	for round := range rounds {
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		w := authztest.NewWorld(r, []int{0, 5, 40}[round%3])
		ix, _ := authz.Compile(w.Policy)
		for range 25 {
			before := w.Policy
			oracleBefore := w.Oracle()
			c := w.Change()
			next, keys, err := ix.Apply(c)
			if err != nil {
				t.Fatal(err)
			}
			rebuilt, problems := authz.Compile(w.Policy)
			if got := next.Problems(); !slices.Equal(got, problems) {
				t.Fatalf("seed %d: problems %v, rebuilt %v", seed, got, problems)
			}
			if next.Len() != rebuilt.Len() || next.Version() != rebuilt.Version() {
				t.Fatalf("seed %d: %d at %v, rebuilt %d at %v", seed, next.Len(), next.Version(), rebuilt.Len(), rebuilt.Version())
			}
			for range 60 {
				s, op, at, q := w.Subject(), w.Operation(), w.Place(), w.Query()
				old, now := ix.Decide(s, op, at).Outcome(), next.Decide(s, op, at).Outcome()
				if want := rebuilt.Decide(s, op, at).Outcome(); now != want {
					t.Fatalf("seed %d: %v at %v: %+v, rebuilt %+v", seed, op, at, now, want)
				}
				if old.Allowed != oracleBefore.Decide(s, op, at) {
					t.Fatalf("seed %d: the change reached into the parent", seed)
				}
				oldA, nowA := ix.DecideRequest(s, q).Outcome(), next.DecideRequest(s, q).Outcome()
				if want := rebuilt.DecideRequest(s, q).Outcome(); nowA != want {
					t.Fatalf("seed %d: %v: %+v, rebuilt %+v", seed, q, nowA, want)
				}
				concerned := slices.ContainsFunc(keys, func(k authz.Key) bool { return k.Concerns(s) })
				if (old.Allowed != now.Allowed || oldA.Allowed != nowA.Allowed) && !concerned {
					t.Fatalf("seed %d: rights of %v differ, but %v does not name them", seed, s, keys)
				}
				old.Version, oldA.Version = now.Version, now.Version
				if (old != now || oldA != nowA) && ix.RightsVersion(s) == next.RightsVersion(s) {
					t.Fatalf("seed %d: decisions differ, rights version does not", seed)
				}
			}
			if replaced, again, _ := ix.Replace(w.Policy); !slices.Equal(keys, again) || replaced.Len() != next.Len() {
				t.Fatalf("seed %d: a delta names %v, replacing names %v", seed, keys, again)
			}
			for _, k := range keys {
				if k.Identity.Kind != model.NoIdentity && !differs(w, before.Assignments, k.Identity, oracleBefore) {
					t.Fatalf("seed %d: %v is named, but decides as before", seed, k.Identity)
				}
			}
			ix = next
		}
	}
}

// differs asks everything of one identity, before and after, at every path
// where anything was or is assigned.
func differs(w *authztest.World, before []model.Assignment, who model.Identity, old *authztest.Oracle) bool {
	var places []space.Path
	for _, a := range slices.Concat(before, w.Policy.Assignments) {
		if a.Who == who && !slices.Contains(places, a.Path) {
			places = append(places, a.Path)
		}
	}
	now := w.Oracle()
	s := &model.Subject{Identities: []model.Identity{who}}
	for _, at := range places {
		for access := model.Create; access <= model.Delete; access <<= 1 {
			for typ := model.NoResource + 1; typ < model.ResourceTypes; typ++ {
				for category := range model.Categories {
					op := model.Operation{Access: access, Type: typ, Category: category}
					if old.Decide(s, op, at) != now.Decide(s, op, at) {
						return true
					}
				}
			}
		}
	}
	return false
}

// TestGrowth: an index that began empty and grew by deltas alone, and one that
// shrank to nothing again.
func TestGrowth(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 3))
	w := authztest.NewWorld(r, 3000)
	list := w.Policy.Assignments
	w.Policy.Assignments = nil
	ix, _ := authz.Compile(w.Policy)
	version := ix.Version()
	apply := func(c model.ChangeSet) {
		t.Helper()
		c.From = version
		version.Number++
		c.To = version
		next, _, err := ix.Apply(c)
		if err != nil {
			t.Fatal(err)
		}
		ix = next
	}
	for chunk := range slices.Chunk(list, 7) {
		apply(model.ChangeSet{PutAssignments: chunk})
	}
	w.Policy.Assignments = list
	oracle := w.Oracle()
	for range 300 {
		agree(t, w, ix, oracle)
	}
	for chunk := range slices.Chunk(list, 11) {
		var c model.ChangeSet
		for _, a := range chunk {
			c.RemoveAssigns = append(c.RemoveAssigns, a.ID)
		}
		apply(c)
	}
	if ix.Len() != 0 || len(ix.WhoCan(model.Operation{Access: model.Read, Type: model.Sensor}, space.Root)) != 0 {
		t.Errorf("%d assignments are left", ix.Len())
	}
}
