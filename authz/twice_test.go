package authz_test

import (
	"testing"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// Two assignments of one id in one change set grant nothing: nobody can tell which of them is meant.
func TestAnAssignmentIDThatIsUsedTwiceGrantsNothing(t *testing.T) {
	a, b, c := device(), device(), device()
	ix := compile(t)
	list := []model.Assignment{assign(a, admins, space.Root), assign(b, admins, space.Root), assign(c, admins, space.Root)}
	list[1].ID = list[0].ID
	next, _, err := ix.Apply(model.ChangeSet{From: ix.Version(), To: ix.Version(), PutAssignments: list})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, false, true} {
		if got := next.Decide(subject(list[i].Who), readSensor, space.Root).Allowed; got != want {
			t.Errorf("assignment %d: allowed %v, want %v", i, got, want)
		}
	}
	if len(next.Problems()) == 0 {
		t.Error("no problem is reported")
	}
}

// A member of an excluded group is excluded from a denial only when its groups are known.
func TestAnExclusionByGroupNeedsKnownGroups(t *testing.T) {
	who, group := space.NewID(), space.NewID()
	const scope = "/subscriptions/6d1f3f1c-0000-4000-8000-000000000001"
	var contributor space.ID
	for _, r := range model.AzureBuiltInRoles() {
		if r.Name == "IoT Hub Data Contributor" {
			contributor = r.ID
		}
	}
	ix, bad := authz.Compile(model.Snapshot{
		AzureAssignments: []model.AzureAssignment{{
			ID:    space.NewID(),
			Role:  contributor,
			Scope: scope,
			Who:   model.AzurePrincipal{Type: model.AzureUser, ID: who},
		}},
		AzureDenies: []model.AzureDeny{{
			ID:                space.NewID(),
			Scope:             scope,
			DataActions:       []string{model.IotHubTwinsWrite},
			Principals:        []model.AzurePrincipal{{Type: model.AzureEveryone}},
			ExcludePrincipals: []model.AzurePrincipal{{Type: model.AzureGroup, ID: group}},
		}},
	})
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	for _, known := range []bool{false, true} {
		s := &model.Subject{Object: who, Groups: []space.ID{group}, GroupsKnown: known}
		if got := ix.DecideAction(s, model.IotHubTwinsWrite, scope).Allowed; got != known {
			t.Errorf("groups known %v: allowed %v", known, got)
		}
	}
}
