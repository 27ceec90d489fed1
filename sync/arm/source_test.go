package arm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/arm"
)

func newAzure() *azure {
	reader := model.IotHubDataReaderRole
	return &azure{
		assignments: []object{
			assignment(1, reader, num(101).String(), "User", hub),
			assignment(2, strings.ToUpper(reader), num(102).String(), "ServicePrincipal", strings.ToUpper(group)),
			assignment(3, reader, num(103).String(), "Group", "/providers/Microsoft.Management/managementGroups/mg"),
			assignment(4, num(50).String(), num(104).String(), "User", instance),
			assignment(5, reader, num(105).String(), "User", group+"/providers/Microsoft.Devices/IotHubs/another"),
		},
		definitions: []object{
			definition(reader, "Microsoft.Devices/IotHubs/*/read"), definition(num(50).String(), "Microsoft.DeviceUpdate/*"),
			definition(num(51).String(), "not assigned"),
		},
		denies:      []object{denial(7, hub, "Microsoft.Devices/IotHubs/twins/write")},
		permissions: []object{{"actions": []string{"*/read"}, "notActions": []string{}}},
	}
}

func TestEverythingInForceIsRead(t *testing.T) {
	for _, pageSize := range []int{0, 1, 2} {
		azure := newAzure()
		azure.pageSize = pageSize
		f := read(t, connect(t, proxy(t, azure, nil)))
		if len(f.Problems) > 0 {
			t.Error(f.Problems)
		}
		var ids []string
		for _, a := range f.Policy.AzureAssignments {
			ids = append(ids, a.ID.String()[34:])
		}
		if got := strings.Join(ids, " "); got != "01 02 03 04" {
			t.Errorf("pages of %d: assignments %s", pageSize, got)
		}
		if a := byID(&f, 2); a.Scope != strings.ToLower(group) || a.Role != space.MustID(model.IotHubDataReaderRole) || a.AtScopes != nil {
			t.Errorf("the assignment of the resource group: %+v", a)
		}
		if a := byID(&f, 3); fmt.Sprint(a.AtScopes) != fmt.Sprint([]string{strings.ToLower(hub), strings.ToLower(instance)}) &&
			fmt.Sprint(a.AtScopes) != fmt.Sprint([]string{strings.ToLower(instance), strings.ToLower(hub)}) {
			t.Errorf("the assignment of the management group: %+v", a)
		}
		if len(f.Policy.AzureRoles) != 2 || len(f.Policy.AzureDenies) != 1 {
			t.Errorf("roles %+v, denials %+v", f.Policy.AzureRoles, f.Policy.AzureDenies)
		}
	}
}

func TestUnchangedContentKeepsItsVersion(t *testing.T) {
	azure := newAzure()
	s := connect(t, proxy(t, azure, nil))
	first := read(t, s)
	asked := len(azure.asked)
	slices.Reverse(azure.assignments) // ARM promises no order
	azure.assignments[0]["properties"].(object)["scope"] = strings.ToUpper(azure.assignments[0]["properties"].(object)["scope"].(string))
	second := read(t, s)
	if first.Version != second.Version || 2*(len(azure.asked)-asked) != asked {
		t.Errorf("%v, then %v; %d requests, then %d", first.Version, second.Version, asked, len(azure.asked)-asked)
	}
	azure.assignments = azure.assignments[:4]
	if third := read(t, s); third.Version.Number != first.Version.Number+1 || third.Version.Epoch != first.Version.Epoch {
		t.Errorf("%v after %v", third.Version, first.Version)
	}
}

func TestGroupsOfTheOwnPrincipals(t *testing.T) {
	azure := newAzure()
	azure.members = map[string][]string{num(104).String(): {num(103).String()}}
	f := read(t, connect(t, proxy(t, azure, nil), func(o *arm.Options) { o.Principals = []space.ID{num(104), num(101)} }))
	if a := byID(&f, 3); !slices.Equal(a.Members, []space.ID{num(104)}) {
		t.Errorf("members %v", a.Members)
	}
	if a := byID(&f, 4); a.Members != nil {
		t.Errorf("an assignment that names the principal itself has members %v", a.Members)
	}
}

// What cannot be read grants nothing, and a denial that cannot be read denies everything. Each is named.
func TestWhatCannotBeRead(t *testing.T) {
	properties := func(row object) object { return row["properties"].(object) }
	for name, c := range map[string]struct {
		spoil func(a *azure)
		names string // a part of the problem
		check func(p *model.Snapshot) bool
	}{
		"an assignment without scope": {
			func(a *azure) { properties(a.assignments[0])["scope"] = "" }, num(1).String(),
			func(p *model.Snapshot) bool { return len(p.AzureAssignments) == 3 },
		},
		"a scope that is no ARM id": {
			func(a *azure) { properties(a.assignments[0])["scope"] = nil }, num(1).String(),
			func(p *model.Snapshot) bool { return len(p.AzureAssignments) == 3 },
		},
		"a built-in role that cannot be read": {
			func(a *azure) { properties(a.definitions[0])["permissions"] = "all" }, model.IotHubDataReaderRole,
			func(p *model.Snapshot) bool { return rightless(p, model.IotHubDataReaderRole) },
		},
		"a role with a condition": {
			func(a *azure) {
				properties(a.definitions[1])["permissions"].([]object)[0]["condition"] = "@Resource[a] StringEquals 'b'"
			},
			num(50).String(), func(p *model.Snapshot) bool { return rightless(p, num(50).String()) },
		},
		"a role that is not listed": {
			func(a *azure) { a.definitions = a.definitions[1:] }, model.IotHubDataReaderRole,
			func(p *model.Snapshot) bool { return rightless(p, model.IotHubDataReaderRole) },
		},
		"a role whose name is no GUID": {
			func(a *azure) { a.definitions[0]["name"] = "Owner" }, model.IotHubDataReaderRole,
			func(p *model.Snapshot) bool { return rightless(p, model.IotHubDataReaderRole) },
		},
		"a denial without actions that can be read": {
			func(a *azure) { properties(a.denies[0])["permissions"] = 5 }, num(7).String(), deniesAll,
		},
		"a denial whose id cannot be read": {
			func(a *azure) { a.denies[0]["id"], a.denies[0]["name"] = 1, 2 }, "denies more", deniesAll,
		},
		"a denial for somebody who cannot be read": {
			func(a *azure) { properties(a.denies[0])["principals"] = []object{{"id": "me"}} }, num(7).String(), deniesAll,
		},
		"a denial with a condition on a permission": {
			func(a *azure) { properties(a.denies[0])["permissions"].([]object)[0]["condition"] = "x" }, num(7).String(),
			func(p *model.Snapshot) bool { return len(p.AzureDenies) == 1 && p.AzureDenies[0].Condition == "" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			azure := newAzure()
			c.spoil(azure)
			f := read(t, connect(t, proxy(t, azure, nil)))
			if !c.check(&f.Policy) {
				t.Errorf("assignments %v, roles %+v, denials %+v", len(f.Policy.AzureAssignments), f.Policy.AzureRoles, f.Policy.AzureDenies)
			}
			if len(f.Problems) != 1 || !strings.Contains(f.Problems[0].String(), c.names) {
				t.Errorf("problems %v", f.Problems)
			}
		})
	}
}

func rightless(p *model.Snapshot, role string) bool {
	return slices.ContainsFunc(p.AzureRoles, func(r model.AzureRole) bool { return r.ID.String() == role && len(r.DataActions) == 0 })
}

func deniesAll(p *model.Snapshot) bool {
	d := p.AzureDenies
	return len(d) == 1 && len(d[0].DataActions) == 1 && d[0].DataActions[0] == "*" && d[0].Scope == "" && len(d[0].Principals) == 0
}

func TestConditionsOfOtherVersions(t *testing.T) {
	for version, kept := range map[any]bool{"2.0": true, "1.0": false, "3.0": false, nil: false, "": false} {
		azure := newAzure()
		p := azure.assignments[0]["properties"].(object)
		p["condition"], p["conditionVersion"] = "(ActionMatches{'*/read'})", version
		f := read(t, connect(t, proxy(t, azure, nil)))
		if a := byID(&f, 1); (a.Condition == p["condition"]) != kept || a.Condition == "" {
			t.Errorf("version %v: %q", version, a.Condition)
		}
	}
}

func TestContradictingRowsAreKeptApart(t *testing.T) {
	azure := newAzure()
	other := assignment(2, model.IotHubDataContributorRole, num(102).String(), "ServicePrincipal", instance)
	azure.assignments = append(azure.assignments, other)
	f := read(t, connect(t, proxy(t, azure, nil)))
	n := 0
	for _, a := range f.Policy.AzureAssignments {
		if a.ID == num(2) {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d rows with one id: the engine refuses both only if it sees both", n)
	}
}

func TestOwnRights(t *testing.T) {
	for _, c := range []struct {
		actions, except []string
		may             bool
	}{
		{[]string{"*"}, nil, true},
		{[]string{"*/read"}, nil, true},
		{[]string{"microsoft.authorization/*/READ"}, nil, true},
		{[]string{"*"}, []string{"Microsoft.Authorization/*/read"}, false},
		{[]string{"*"}, []string{"Microsoft.Authorization/denyAssignments/read"}, false},
		{[]string{"Microsoft.Authorization/roleAssignments/read"}, nil, false},
		{[]string{"Microsoft.Devices/*"}, nil, false},
		{nil, nil, false},
	} {
		azure := newAzure()
		azure.permissions = []object{{"actions": c.actions, "notActions": c.except}}
		if r, err := connect(t, proxy(t, azure, nil)).Rights(t.Context()); err != nil || r.Assignments != c.may {
			t.Errorf("%v but %v: %v, %v", c.actions, c.except, r, err)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, u := range []string{
		"", "http://arm.example", "https://", "https://user:pw@arm.example", "arm.example", "https://h/?q", "https://h/#f",
	} {
		if _, err := arm.New(arm.Options{URL: u, Scopes: []string{hub}, Token: token("x")}); err == nil {
			t.Errorf("%q was accepted", u)
		}
	}
	if _, err := arm.New(arm.Options{URL: "https://arm.example", Token: token("x")}); err == nil {
		t.Error("without a scope there is nothing to read")
	}
}
