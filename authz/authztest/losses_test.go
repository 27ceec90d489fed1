package authztest_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/abac"
	"github.com/gatehouse/gatehouse/authz/authztest"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// losing is an index before a change, after it, and with nothing but its losses,
// beside the oracles of before and after.
type losing struct {
	world             *authztest.World
	before, after     *authz.Index
	left              *authz.Index
	wasAllowed, isNow *authztest.Oracle
	changed           model.ChangeSet
}

// lose makes one change to the world and applies what of it the function says is lost.
func lose(t *testing.T, w *authztest.World, losses func(before, after *authz.Index, c *model.ChangeSet) model.ChangeSet) *losing {
	t.Helper()
	l := &losing{world: w, wasAllowed: w.Oracle()}
	l.before, _ = authz.Compile(w.Policy)
	l.changed = w.Change()
	l.isNow = w.Oracle()
	var err error
	if l.after, _, err = l.before.Apply(l.changed); err != nil {
		t.Fatal(err)
	}
	c := losses(l.before, l.after, &l.changed)
	if c.From != l.before.Version() || c.To != l.before.Version() {
		t.Fatalf("losses lead from %v to %v; the index is of %v and stays there", c.From, c.To, l.before.Version())
	}
	if l.left, _, err = l.before.Apply(c); err != nil {
		t.Fatal(err)
	}
	return l
}

// The ways in which losses are found. Each is tested alike.
var waysToLose = map[string]func(before, after *authz.Index, c *model.ChangeSet) model.ChangeSet{
	"between two indexes": func(before, after *authz.Index, _ *model.ChangeSet) model.ChangeSet {
		return authz.Losses(before, after)
	},
	"of a change set": func(before, _ *authz.Index, c *model.ChangeSet) model.ChangeSet {
		return before.LossesOf(c)
	},
}

// asked counts questions of both models by what before, after and the rest say.
type asked struct{ both, kept int }

// ask puts one random question of each model. Whatever is left must be granted
// before and after.
func (l *losing) ask(t *testing.T) (n asked) {
	t.Helper()
	w := l.world
	s, op, at, q := w.Subject(), w.Operation(), w.Place(), w.Query()
	count := func(was, is, left bool, question any) {
		t.Helper()
		if left && (!was || !is) {
			t.Fatalf("%+v of %+v: before %v, after %v, and with the losses alone it is granted", question, s, was, is)
		}
		if was && is {
			n.both++
			if left {
				n.kept++
			}
		}
	}
	count(l.wasAllowed.Decide(s, op, at), l.isNow.Decide(s, op, at), l.left.Decide(s, op, at).Allowed, at)
	count(l.wasAllowed.DecideAction(s, q), l.isNow.DecideAction(s, q), l.left.DecideRequest(s, q).Allowed, q)
	return n
}

// TestLossesAreNoGain: after the losses nothing is granted that either side
// denies, whatever the change.
func TestLossesAreNoGain(t *testing.T) {
	seed := seed(t)
	rounds := 500
	if testing.Short() || underRace {
		rounds = 60
	}
	for name, losses := range waysToLose {
		t.Run(name, func(t *testing.T) {
			var all asked
			for round := range rounds {
				r := rand.New(rand.NewPCG(seed, uint64(round)))
				w := authztest.NewWorld(r, []int{3, 20, 60}[round%3])
				l := lose(t, w, losses)
				for range 60 {
					n := l.ask(t)
					all.both, all.kept = all.both+n.both, all.kept+n.kept
				}
				if t.Failed() {
					t.Fatalf("AUTHZ_SEED=%d, round %d", seed, round)
				}
			}
			// An index that denied everything would pass, too: therefore most of what
			// both sides grant must still be granted. (Not all of it, because a change
			// touches much of these small worlds.)
			if all.both < rounds || all.kept < all.both*8/10 {
				t.Errorf("of %d questions that are granted before and after, %d are left (AUTHZ_SEED=%d)", all.both, all.kept, seed)
			}
			t.Logf("%d of %d questions that are granted before and after are left", all.kept, all.both)
		})
	}
}

// TestLossesTakeOnlyWhatChanges: an assignment that grants before and after,
// by a role that did not change, is not lost.
func TestLossesTakeOnlyWhatChanges(t *testing.T) {
	seed := seed(t)
	seen := 0
	for round := range 300 {
		w := authztest.NewWorld(rand.New(rand.NewPCG(seed, uint64(round))), 20)
		l := lose(t, w, waysToLose["between two indexes"])
		redefined := func(id space.ID) bool {
			same := func(r model.Role) bool { return r.ID == id }
			sameAzure := func(r model.AzureRole) bool { return r.ID == id }
			return slices.ContainsFunc(l.changed.PutRoles, same) || slices.Contains(l.changed.RemoveRoles, id) ||
				slices.ContainsFunc(l.changed.PutAzureRoles, sameAzure)
		}
		replaced := func(id space.ID) bool {
			put := slices.ContainsFunc(l.changed.PutAssignments, func(a model.Assignment) bool { return a.ID == id }) ||
				slices.ContainsFunc(l.changed.PutAzureAssignments, func(a model.AzureAssignment) bool { return a.ID == id })
			return put || slices.Contains(l.changed.RemoveAssigns, id) || slices.Contains(l.changed.RemoveAzureAssigns, id)
		}
		check := func(before, after, left authz.Outcome) {
			t.Helper()
			if !before.Allowed || !after.Allowed || redefined(before.Role) || replaced(before.Assignment) {
				return
			}
			seen++
			if !left.Allowed {
				t.Fatalf(
					"AUTHZ_SEED=%d, round %d: lost %+v (%+v), which the change does not touch: %+v",
					seed, round, before, left, l.changed,
				)
			}
		}
		for range 60 {
			s, op, at, q := w.Subject(), w.Operation(), w.Place(), w.Query()
			check(l.before.Decide(s, op, at).Outcome(), l.after.Decide(s, op, at).Outcome(), l.left.Decide(s, op, at).Outcome())
			check(l.before.DecideRequest(s, q).Outcome(), l.after.DecideRequest(s, q).Outcome(), l.left.DecideRequest(s, q).Outcome())
		}
	}
	if seen < 300 {
		t.Errorf("only %d such questions: the test proves nothing", seen)
	}
}

// TestNothingIsLostWhenNothingChanges: by a new version, by another name of a
// role, by a role that allows more, or by what is written in another way.
func TestNothingIsLostWhenNothingChanges(t *testing.T) {
	id := func(n byte) space.ID { return space.ID{15: n} }
	who := model.Identity{Kind: model.DeviceID, Object: id(1)}
	p := model.Snapshot{
		Version: model.Version{Epoch: 1, Number: 1},
		Roles: []model.Role{{ID: id(2), Name: "reader", Permissions: []model.Permission{
			{Actions: model.Read, Condition: "@Resource.Type == 'Device'"},
		}}},
		Assignments: []model.Assignment{{ID: id(3), Role: id(2), Who: who, Path: space.Root}},
		AzureRoles:  []model.AzureRole{{ID: id(4), Name: "azure", DataActions: []string{"A/read"}, NotDataActions: []string{"A/secret/*"}}},
		AzureAssignments: []model.AzureAssignment{
			{ID: id(5), Role: id(4), Who: model.AzurePrincipal{ID: id(1), Type: model.AzureUser}, Scope: "/subscriptions/s"},
		},
		AzureDenies: []model.AzureDeny{{ID: id(6), Scope: "/subscriptions/s", DataActions: []string{"A/write"}}},
	}
	before, _ := authz.Compile(p)
	p.Version.Number++
	p.Roles = []model.Role{{ID: id(2), Name: "Reader", Permissions: []model.Permission{
		{Actions: model.Read | model.Update, Condition: "@Resource.Type Any_of {'Device', 'Sensor'}"},
	}}}
	p.AzureRoles = []model.AzureRole{{ID: id(4), Name: "Azure", DataActions: []string{"a/Write", "a/READ"}}}
	p.AzureAssignments = slices.Clone(p.AzureAssignments)
	p.AzureAssignments[0].Scope = "/Subscriptions/S"
	p.AzureDenies = nil
	after, _, _ := before.Replace(p)
	if c := authz.Losses(before, after); !c.Empty() {
		t.Errorf("nothing is denied that was granted, and yet lost: %+v", c)
	}
	c := authz.Losses(after, before)
	if len(c.PutRoles) != 1 || len(c.PutAzureRoles) != 1 || len(c.PutAzureDenies) != 1 || len(c.RemoveAssigns) > 0 {
		t.Errorf("the other way round both roles and the denial are lost: %+v", c)
	}
}

// TestDenialGoesOnBesideTheOneThatReplacesIt: the new one may deny less, and
// neither may be lifted before it is stored.
func TestDenialGoesOnBesideTheOneThatReplacesIt(t *testing.T) {
	id := func(n byte) space.ID { return space.ID{15: n} }
	hub := "/subscriptions/s"
	deny := func(action string) model.AzureDeny {
		return model.AzureDeny{
			ID:          id(1),
			Scope:       hub,
			DataActions: []string{action},
			Principals:  []model.AzurePrincipal{{Type: model.AzureEveryone}},
		}
	}
	p := model.Snapshot{
		Version:    model.Version{Epoch: 1, Number: 1},
		AzureRoles: []model.AzureRole{{ID: id(2), DataActions: []string{"*"}}},
		AzureAssignments: []model.AzureAssignment{
			{ID: id(3), Role: id(2), Who: model.AzurePrincipal{ID: id(4), Type: model.AzureUser}, Scope: hub},
		},
		AzureDenies: []model.AzureDeny{deny("A/write")},
	}
	before, _ := authz.Compile(p)
	c := model.ChangeSet{From: p.Version, To: model.Version{Epoch: 1, Number: 2}, PutAzureDenies: []model.AzureDeny{deny("A/read")}}
	after, _, err := before.Apply(c)
	if err != nil {
		t.Fatal(err)
	}
	for name, losses := range waysToLose {
		left, _, err := before.Apply(losses(before, after, &c))
		if err != nil {
			t.Fatal(err)
		}
		for action, want := range map[string]bool{"A/write": false, "A/read": false, "A/delete": true} {
			d := left.DecideRequest(&model.Subject{Object: id(4), GroupsKnown: true}, abac.Query{Action: action, Scope: hub})
			if d.Allowed != want || !want && d.Outcome().Assignment != id(1) {
				t.Errorf("%s, %s: %+v, want allowed %v, or denied by the denial's own id", name, action, d.Outcome(), want)
			}
		}
	}
}

// FuzzLosses lets the fuzzer choose the world and several changes, of which the
// first can be stored and the last cannot.
func FuzzLosses(f *testing.F) {
	f.Add(uint64(1), uint64(2), uint8(10), uint8(1))
	f.Add(uint64(3), uint64(4), uint8(40), uint8(3))
	f.Fuzz(func(t *testing.T, a, b uint64, size, changes uint8) {
		w := authztest.NewWorld(rand.New(rand.NewPCG(a, b)), int(size%64))
		for range changes % 4 {
			w.Change()
		}
		for _, losses := range waysToLose {
			l := lose(t, w, losses)
			for range 20 {
				l.ask(t)
			}
		}
	})
}

// TestLossesOfAnAzureRole: one that excludes more is lost; one that returns to
// its built-in form, which allows other things, must not return early.
func TestLossesOfAnAzureRole(t *testing.T) {
	builtIn := model.AzureBuiltInRoles()[0]
	const hub = "/subscriptions/s"
	role := func(actions, exclude []string) []model.AzureRole {
		return []model.AzureRole{{ID: builtIn.ID, DataActions: actions, NotDataActions: exclude}}
	}
	for name, c := range map[string]struct {
		from, to []model.AzureRole
		left     map[string]bool // by action
	}{
		"excludes more": {
			role([]string{"A/*"}, nil),
			role([]string{"A/*"}, []string{"A/write"}),
			map[string]bool{"A/write": false},
		},
		"excludes less": {
			role([]string{"A/*"}, []string{"A/write"}),
			role([]string{"A/*"}, nil),
			map[string]bool{"A/write": false, "A/read": true},
		},
		"returns": {
			role([]string{"A/read"}, nil),
			nil,
			map[string]bool{"A/read": false, builtIn.DataActions[0]: false},
		},
		"is defined anew": {
			nil,
			role([]string{"A/read"}, nil),
			map[string]bool{"A/read": false, builtIn.DataActions[0]: false},
		},
		"is written anew": {
			nil,
			[]model.AzureRole{builtIn},
			map[string]bool{builtIn.DataActions[0]: true},
		},
		"says it otherwise": {
			role([]string{"A/read"}, nil),
			role([]string{"a/READ", "A/read"}, nil),
			map[string]bool{"A/read": true},
		},
	} {
		p := model.Snapshot{
			Version:    model.Version{Epoch: 1, Number: 1},
			AzureRoles: c.from,
			AzureAssignments: []model.AzureAssignment{
				{ID: space.ID{1}, Role: builtIn.ID, Who: model.AzurePrincipal{ID: space.ID{2}, Type: model.AzureUser}, Scope: hub},
			},
		}
		before, _ := authz.Compile(p)
		p.AzureRoles, p.Version.Number = c.to, 2
		after, _, _ := before.Replace(p)
		change := model.ChangeSet{From: before.Version(), To: p.Version, PutAzureRoles: c.to}
		if c.to == nil {
			change.RemoveAzureRoles = []space.ID{builtIn.ID}
		}
		for way, losses := range waysToLose {
			left, _, err := before.Apply(losses(before, after, &change))
			if err != nil {
				t.Fatal(err)
			}
			for action, want := range c.left {
				d := left.DecideRequest(&model.Subject{Object: space.ID{2}, GroupsKnown: true}, abac.Query{Action: action, Scope: hub})
				if exact := way == "between two indexes"; d.Allowed && !want || exact && d.Allowed != want {
					t.Errorf("%s, a role that %s: %s is allowed %v, want %v", way, name, action, d.Allowed, want)
				}
			}
		}
	}
}
