package authz_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

var update = flag.Bool("update", false, "write the golden files")

// fixed is an id that reads well in golden files.
func fixed(n byte) space.ID { return space.ID{15: n} }

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s:\n%s", name, diff)
	}
}

func forms(t *testing.T, x authz.Explanation) string {
	t.Helper()
	b, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join([]string{x.Text(), x.Tree(), string(b), ""}, "\n")
}

func explained() (*authz.Index, *model.Subject, space.Path) {
	site := space.Root.Join(fixed(1))
	room := site.Join(fixed(2)).Join(fixed(3))
	who := model.Identity{Kind: model.UserID, Object: fixed(10), Tenant: fixed(11)}
	members := model.Identity{Kind: model.TenantID, Object: fixed(11)}
	hub := "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/hub"
	a := func(n byte, i model.Identity, role string, at space.Path) model.Assignment {
		return model.Assignment{ID: fixed(n), Who: i, Role: space.MustID(role), Path: at}
	}
	ix, _ := authz.Compile(model.Snapshot{
		Version: model.Version{Epoch: 1, Number: 7},
		Roles: []model.Role{
			{ID: fixed(90), Name: "Odd", Permissions: []model.Permission{{Actions: model.Read, Condition: "@Resource.Owner == 'me'"}}},
		},
		Assignments: []model.Assignment{
			a(20, who, model.DeviceInstallerRole, site),
			a(21, who, model.GatewayDeviceRole, site.Join(fixed(2)).Join(fixed(4))),
			a(22, who, model.SpaceAdministratorRole, space.Root.Join(fixed(5))),
			a(23, members, model.UserRole, site.Join(fixed(2))),
			{ID: fixed(24), Who: members, Role: fixed(90), Path: space.Root},
			a(25, who, model.KeyAdministratorRole, space.Root.Join(fixed(6))),
		},
		AzureAssignments: []model.AzureAssignment{
			{
				ID:    fixed(30),
				Role:  space.MustID(model.IotHubDataReaderRole),
				Who:   model.AzurePrincipal{ID: fixed(10), Type: model.AzureUser},
				Scope: hub,
			},
			{
				ID:    fixed(31),
				Role:  space.MustID(model.IotHubDataContributorRole),
				Who:   model.AzurePrincipal{ID: fixed(12), Type: model.AzureGroup},
				Scope: hub + "2",
			},
			{
				ID:        fixed(32),
				Role:      space.MustID(model.IotHubTwinContributorRole),
				Who:       model.AzurePrincipal{ID: fixed(10), Type: model.AzureUser},
				Scope:     hub,
				Condition: "@Principal[x] StringEquals 'y'",
			},
		},
		AzureDenies: []model.AzureDeny{
			{
				ID:          fixed(40),
				Name:        "locked",
				Scope:       "/subscriptions/s",
				DataActions: []string{"*/delete"},
				Principals:  []model.AzurePrincipal{{Type: model.AzureEveryone}},
			},
		},
	})
	s := &model.Subject{Identities: []model.Identity{who, members}, Object: fixed(10), Groups: []space.ID{fixed(12)}, GroupsKnown: true}
	return ix, s, room
}

func TestExplainGolden(t *testing.T) {
	ix, s, room := explained()
	golden(t, "explain-denied.golden", forms(t, ix.Explain(s, createSensor, room)))
	golden(t, "explain-granted.golden", forms(t, ix.Explain(s, readSensor, room)))
	const hub = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/hub"
	golden(t, "explain-action-denied.golden", forms(t, ix.ExplainAction(s, model.IotHubTwinsWrite, hub)))
	golden(t, "explain-action-deny-assignment.golden", forms(t, ix.ExplainAction(s, model.IotHubConfigurationsDelete, hub)))
}

func TestDecisionNamesTheNearestMiss(t *testing.T) {
	ix, s, room := explained()
	x := ix.Explain(s, createSensor, room)
	if len(x.Misses) != 6 || x.Misses[0].Assignment != x.Assignment || x.Misses[0].Why != x.Reason {
		t.Errorf("decided by %s, nearest miss %+v", x.Assignment, x.Misses[0])
	}
}

func TestReviewersQuestions(t *testing.T) {
	ix, s, room := explained()
	var who []string
	for _, g := range ix.WhoCan(readSensor, room) {
		who = append(who, g.Holder()+" "+g.RoleName)
	}
	want := []string{
		"UserId:" + fixed(10).String() + "/" + fixed(11).String() + " DeviceInstaller",
		"TenantId:" + fixed(11).String() + " User",
	}
	if diff := cmp.Diff(want, who); diff != "" {
		t.Error(diff)
	}
	if got := len(ix.WhatCan(s)); got != 9 {
		t.Errorf("what-can lists %d grants, want 6 and 3", got)
	}
	const hub = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/hub"
	readers := ix.WhoCanAction(model.IotHubTwinsRead, hub)
	if len(readers) != 1 || readers[0].Assignment != fixed(30) {
		t.Errorf("who can read twins: %v", readers)
	}
	if len(ix.WhoCanAction(model.IotHubConfigurationsDelete, hub+"2")) != 0 {
		t.Error("what is denied to everyone, somebody can")
	}
}

func TestHasAnyGrant(t *testing.T) {
	ix, s, room := explained()
	const hub = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/hub"
	nobody := &model.Subject{Object: fixed(99), GroupsKnown: true}
	azureOnly := &model.Subject{Object: fixed(10), GroupsKnown: true}
	unusable := subject(model.Identity{Kind: model.TenantID, Object: fixed(11)})
	site := space.Root.Join(fixed(1))
	for _, c := range []struct {
		name   string
		s      *model.Subject
		under  space.Path
		scopes []string
		want   bool
	}{
		{"above", s, room, nil, true},
		{"below", s, space.Root.Join(fixed(1)).Join(fixed(2)), nil, true},
		{"elsewhere", s, space.Root.Join(fixed(70)), nil, false},
		{"by the hub", azureOnly, site, []string{hub}, true},
		{"another hub", azureOnly, site, []string{hub + "3"}, false},
		{"nobody", nobody, site, []string{hub}, false},
		{"a role that was refused", unusable, space.Root.Join(fixed(70)), nil, false},
	} {
		if got := ix.HasAnyGrant(c.s, c.under, c.scopes...); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}
