package authz

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// TestTablesHoldWhatWasPut: identities with consecutive ids, some with hundreds of grants,
// are added, moved and removed until none is left; after each change set the tables hold
// exactly those that are there. AUTHZ_TABLES says how many times; 0: few.
func TestTablesHoldWhatWasPut(t *testing.T) {
	rounds := 4
	if n, err := strconv.Atoi(os.Getenv("AUTHZ_TABLES")); err == nil && n > 0 {
		rounds = n
	}
	roles := model.SystemRoles()
	for round := range rounds {
		r := rand.New(rand.NewPCG(uint64(round), 7))
		ids := []int{1, 2, 30, 33, 400}[round%5] // identities
		want := map[space.ID]model.Assignment{}
		ix, _ := Compile(model.Snapshot{})
		for step := range 120 {
			c := model.ChangeSet{From: ix.version, To: ix.version}
			c.To.Number++
			puts := r.IntN([]int{2, 8, 80}[r.IntN(3)])
			if step > 80 {
				puts = r.IntN(2) // and slowly go
			}
			for range puts {
				a := model.Assignment{Role: roles[r.IntN(len(roles))].ID, Path: space.Root, Who: model.Identity{Kind: model.DeviceID}}
				binary.BigEndian.PutUint64(a.ID[8:], r.Uint64N(1000)+1)
				binary.BigEndian.PutUint64(a.Who.Object[8:], r.Uint64N(uint64(ids))+1)
				if r.IntN(3) == 0 {
					a.Who.Kind, a.Who.Tenant = model.UserID, space.ID{15: byte(r.IntN(3) + 1)}
				}
				if r.IntN(2) == 0 {
					a.Path = space.Root.Join(space.ID{15: byte(r.IntN(5))})
				}
				if !slices.ContainsFunc(c.PutAssignments, func(b model.Assignment) bool { return a.ID == b.ID }) {
					c.PutAssignments = append(c.PutAssignments, a)
				}
			}
			for id := range want {
				if r.IntN(20) == 0 || step == 119 {
					c.RemoveAssigns = append(c.RemoveAssigns, id)
				}
			}
			if step == 119 {
				c.PutAssignments = nil
			}
			for _, id := range c.RemoveAssigns {
				delete(want, id)
			}
			for _, a := range c.PutAssignments {
				want[a.ID] = a
			}
			next, _, err := ix.Apply(c)
			if err != nil {
				t.Fatal(err)
			}
			ix = next
			holds(t, ix, want)
			if t.Failed() {
				t.Fatalf("round %d, step %d", round, step)
			}
		}
	}
}

func holds(t *testing.T, ix *Index, want map[space.ID]model.Assignment) {
	t.Helper()
	got, identities := 0, 0
	ix.each(func(c *cell) {
		identities++
		who := ix.identity(c)
		if ix.find(&who) != c {
			t.Errorf("%v is not found where it is", who)
		}
		if !slices.IsSortedFunc(c.held, func(a, b grant) int { return compareGrants(&a, &b) }) || c.marks != marks(c.held) {
			t.Errorf("the grants of %v are not in order", who)
		}
		sum := uint64(0)
		for i := range c.held {
			got++
			sum += ix.hash.grant(&c.held[i], ix.roles.slots[c.held[i].role])
			if a := ix.assignment(c, &c.held[i]); want[a.ID] != a {
				t.Errorf("holds %v, want %v", a, want[a.ID])
			}
			bucket, fp := ix.bucket(&c.held[i].id)
			if !slices.Contains(*ix.byID.at(bucket), fp|uint64(c.fp)) {
				t.Errorf("%v is not found by its id", c.held[i].id)
			}
		}
		if sum != c.sum {
			t.Errorf("the fingerprint of %v is another one", who)
		}
	})
	refs := 0
	for n := range ix.byID.len() {
		refs += len(*ix.byID.at(n))
	}
	if got != len(want) || got != ix.grants || refs != got || identities != ix.identities {
		t.Errorf(
			"%d grants of %d identities, %d by id; it counts %d of %d; want %d",
			got, identities, refs, ix.grants, ix.identities, len(want),
		)
	}
	for _, b := range ix.people {
		if b.used() == cells {
			t.Error("no free cell ends a search")
		}
	}
}

// TestManyAzureAssignmentsOfOnePrincipal: twice as many assignments take twice as long, not
// four times.
func TestManyAzureAssignmentsOfOnePrincipal(t *testing.T) {
	cost := func(n uint64) uint64 {
		s := model.Snapshot{}
		for i := range n {
			a := model.AzureAssignment{
				Role:  space.ID{1},
				Scope: "/subscriptions/s",
				Who:   model.AzurePrincipal{ID: space.ID{2}, Type: model.AzureUser},
			}
			binary.BigEndian.PutUint64(a.ID[8:], i+1)
			s.AzureAssignments = append(s.AzureAssignments, a)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ix, _ := Compile(s)
		runtime.ReadMemStats(&after)
		if held := ix.azure.held[space.ID{2}]; uint64(len(held)) != n {
			t.Fatalf("holds %d of %d", len(held), n)
		}
		return after.TotalAlloc - before.TotalAlloc
	}
	if once, twice := cost(2000), cost(4000); twice > 3*once {
		t.Errorf("%d bytes for 2000, %d for 4000", once, twice)
	}
}

// TestDenialsOfOneID: deny assignments with the same id all deny, and are removed together.
func TestDenialsOfOneID(t *testing.T) {
	who := model.AzurePrincipal{ID: space.ID{2}, Type: model.AzureUser}
	everything := model.AzureRole{ID: space.ID{1}, DataActions: []string{"*"}}
	denial := func(action string) model.AzureDeny {
		return model.AzureDeny{
			ID:          space.ID{3},
			DataActions: []string{action},
			Scope:       "/",
			AtScopes:    []string{"/subscriptions/s"},
			Principals:  []model.AzurePrincipal{who},
		}
	}
	both := []model.AzureDeny{denial("a/read"), denial("a/write")}
	s := model.Snapshot{AzureRoles: []model.AzureRole{everything},
		AzureAssignments: []model.AzureAssignment{{ID: space.ID{4}, Role: everything.ID, Who: who, Scope: "/subscriptions/s"}}}
	bare, _ := Compile(s)
	s.AzureDenies = both
	compiled, _ := Compile(s)
	applied, keys, err := bare.Apply(model.ChangeSet{PutAzureDenies: both})
	if err != nil || len(keys) != 1 {
		t.Fatal(err, keys)
	}
	gone, keys, err := compiled.Apply(model.ChangeSet{RemoveAzureDenies: []space.ID{{3}}})
	if err != nil || len(keys) != 1 {
		t.Fatal(err, keys)
	}
	subject := &model.Subject{Object: who.ID, GroupsKnown: true}
	for name, c := range map[string]struct {
		ix  *Index
		may bool
	}{"bare": {bare, true}, "compiled": {compiled, false}, "applied": {applied, false}, "gone": {gone, true}} {
		for _, action := range []string{"a/read", "a/write"} {
			if got := c.ix.DecideAction(subject, action, "/subscriptions/s/x").Allowed; got != c.may {
				t.Errorf("%s: may %s: %v", name, action, got)
			}
		}
	}
	// The scopes at which it is listed cannot be read, so it applies everywhere.
	s.AzureDenies = []model.AzureDeny{denial("a/read")}
	s.AzureDenies[0].AtScopes = []string{"subscriptions/s"}
	ix, problems := Compile(s)
	if ix.DecideAction(subject, "a/read", "/subscriptions/s/x").Allowed || len(problems) != 1 || problems[0].Kind != ConservativeDeny {
		t.Errorf("a denial that is listed nobody knows where does not deny; problems %v", problems)
	}
}

// TestADeviceChangesNoRealm: an identity without a tenant adds no realm.
func TestADeviceChangesNoRealm(t *testing.T) {
	ix, _ := Compile(model.Snapshot{})
	a := model.Assignment{
		ID:   space.ID{1},
		Role: space.ID{2},
		Path: space.Root,
		Who:  model.Identity{Kind: model.DeviceID, Object: space.ID{3}},
	}
	next, _, err := ix.Apply(model.ChangeSet{PutAssignments: []model.Assignment{a}})
	if err != nil || reflect.ValueOf(next.realms.byID).Pointer() != reflect.ValueOf(ix.realms.byID).Pointer() {
		t.Errorf("the realms were copied for a device (%v)", err)
	}
}

// TestUndefinedRolesDiffer: a refusal names the role that is not defined, so refusals for
// two such roles differ.
func TestUndefinedRolesDiffer(t *testing.T) {
	who := model.Identity{Kind: model.DeviceID, Object: space.ID{3}}
	a := model.Assignment{ID: space.ID{1}, Role: space.ID{2}, Path: space.Root, Who: who}
	ix, _ := Compile(model.Snapshot{Assignments: []model.Assignment{a}})
	a.Role = space.ID{4}
	next, keys, err := ix.Apply(model.ChangeSet{PutAssignments: []model.Assignment{a}})
	s := &model.Subject{Identities: []model.Identity{who}}
	if err != nil || len(keys) != 0 || ix.RightsVersion(s) == next.RightsVersion(s) {
		t.Errorf("error %v, keys %v, and the same version: %v", err, keys, ix.RightsVersion(s) == next.RightsVersion(s))
	}
}

// TestADenialOfNothingKnown: the deny assignment that stands for one that could not be
// read denies everything.
func TestADenialOfNothingKnown(t *testing.T) {
	who := model.AzurePrincipal{ID: space.ID{2}, Type: model.AzureUser}
	ix, problems := Compile(model.Snapshot{AzureRoles: []model.AzureRole{{ID: space.ID{1}, DataActions: []string{"*"}}},
		AzureAssignments: []model.AzureAssignment{{ID: space.ID{4}, Role: space.ID{1}, Who: who, Scope: "/subscriptions/s"}},
		AzureDenies:      []model.AzureDeny{{ID: space.ID{5}, DataActions: []string{"*"}}}})
	if ix.DecideAction(&model.Subject{Object: who.ID, GroupsKnown: true}, "a/read", "/subscriptions/s").Allowed || len(problems) != 1 {
		t.Errorf("allowed, or problems %v", problems)
	}
}

// TestManyGrantsInOneDelta: twice as many grants of one identity cost twice as much to
// give and to take, not four times.
func TestManyGrantsInOneDelta(t *testing.T) {
	who := model.Identity{Kind: model.DeviceID, Object: space.ID{3}}
	bare, _ := Compile(model.Snapshot{})
	cost := func(n uint64) uint64 {
		var give, take model.ChangeSet
		for i := range n {
			a := model.Assignment{Role: space.ID{2}, Who: who, Path: space.Root}
			binary.BigEndian.PutUint64(a.ID[8:], i+1)
			give.PutAssignments = append(give.PutAssignments, a)
			take.RemoveAssigns = append(take.RemoveAssigns, a.ID)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		full, _, err := bare.Apply(give)
		if err != nil || full.Len() != int(n) {
			t.Fatal(full.Len(), err)
		}
		empty, _, err := full.Apply(take)
		runtime.ReadMemStats(&after)
		if err != nil || empty.Len() != 0 || empty.identities != 0 {
			t.Fatal(empty.Len(), empty.identities, err)
		}
		return after.TotalAlloc - before.TotalAlloc
	}
	if once, twice := cost(1000), cost(2000); twice > 3*once {
		t.Errorf("%d bytes for 1000, %d for 2000", once, twice)
	}
}
