package model_test

import (
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/google/go-cmp/cmp"
)

// The answer of GET /system/roles is written down in testdata, so that a change of a role has to be made twice.
func TestSystemRolesAreThePublishedOnes(t *testing.T) {
	var published []struct {
		ID          space.ID
		Name        string
		Permissions []struct {
			Actions, NotActions []string
			Condition           string
		}
	}
	text, err := os.ReadFile("testdata/system-roles.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &published); err != nil {
		t.Fatal(err)
	}
	var want []model.Role
	for _, p := range published {
		r := model.Role{ID: p.ID, Name: p.Name}
		for _, q := range p.Permissions {
			m := model.Permission{Condition: q.Condition}
			for _, a := range q.Actions {
				x, err := model.ParseAccess(a)
				if err != nil {
					t.Fatal(err)
				}
				m.Actions |= x
			}
			r.Permissions = append(r.Permissions, m)
		}
		want = append(want, r)
	}
	if diff := cmp.Diff(want, model.SystemRoles()); diff != "" {
		t.Error(diff)
	}
}

func TestNamesReadBack(t *testing.T) {
	for r := model.NoResource + 1; r < model.ResourceTypes; r++ {
		if got, err := model.ParseResourceType(" " + r.String() + " "); err != nil || got != r || r.String() == "" {
			t.Errorf("%d %q: got %v, %v", r, r, got, err)
		}
	}
	for c := model.NoCategory + 1; c < model.Categories; c++ {
		if got, err := model.ParseCategory(c.String()); err != nil || got != c || c.String() == "" {
			t.Errorf("%d %q: got %v, %v", c, c, got, err)
		}
	}
	for k := model.UserID; k <= model.UserDefinedFunctionID; k++ {
		if got, err := model.ParseIdentityKind(k.String()); err != nil || got != k {
			t.Errorf("%d %q: got %v, %v", k, k, got, err)
		}
	}
	for a := range model.AllAccess + 1 {
		if got, err := model.ParseAccess(a.String()); err != nil || got != a {
			t.Errorf("%d %q: got %v, %v", a, a, got, err)
		}
	}
	for p := model.AzureUser; p <= model.AzureEveryone; p++ {
		if got := model.ParseAzurePrincipalType(p.String()); got != p {
			t.Errorf("%d %q: got %v", p, p, got)
		}
	}
	if got := model.ParseAzurePrincipalType("ForeignGroup"); got != model.UnknownPrincipal {
		t.Errorf("ForeignGroup: got %v", got)
	}
	if got, err := model.ParseResourceType("UerDefinedFunction"); err != nil || got != model.UserDefinedFunction {
		t.Errorf("the published misspelling: got %v, %v", got, err)
	}
}

func TestOperationAndIdentityText(t *testing.T) {
	for _, s := range []string{"Read Sensor", "Create ExtendedType/DeviceType", "Delete UserDefinedFunction"} {
		o, err := model.ParseOperation(s)
		if err != nil || o.String() != s {
			t.Errorf("%q: got %q, %v", s, o, err)
		}
	}
	for _, s := range []string{"", "Read", "Look Sensor", "Read,Create Sensor", "Read Thing", "Read Space/Thing", " Sensor"} {
		if o, err := model.ParseOperation(s); err == nil {
			t.Errorf("%q: accepted as %q", s, o)
		}
	}
	const a, b = "0fc863aa-eb51-4704-a312-7d635d70e000", "a0c20ae6-e830-4c60-993d-a00ce6032724"
	for _, s := range []string{
		"UserId:" + a + "/" + b, "ServicePrincipalId:" + a + "/" + b, "DeviceId:" + a, "TenantId:" + b,
		"UserDefinedFunctionId:" + a, "DomainName:@example.com/" + b,
	} {
		i, err := model.ParseIdentity(s)
		if err != nil || i.String() != s {
			t.Errorf("%q: got %q, %v", s, i, err)
		}
	}
	for _, s := range []string{
		"UserId:" + a, "DeviceId:" + a + "/" + b, "TenantId:" + a + "/" + b, "DomainName:example.com/" + b,
		"DomainName:@example.com", "DomainName:@a@b/" + b, "GroupId:" + a, a, "UserId:x/" + b,
		"DeviceId:00000000-0000-0000-0000-000000000000",
	} {
		if i, err := model.ParseIdentity(s); err == nil {
			t.Errorf("%q: accepted as %q", s, i)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	who, err := model.ParseIdentity("DeviceId:0fc863aa-eb51-4704-a312-7d635d70e000")
	if err != nil {
		t.Fatal(err)
	}
	good := model.Assignment{ID: space.NewID(), Role: space.NewID(), Who: who, Path: space.Root}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*model.Assignment){
		"id": func(a *model.Assignment) { a.ID = space.ID{} }, "role": func(a *model.Assignment) { a.Role = space.ID{} },
		"path": func(a *model.Assignment) { a.Path = space.Path{} }, "who": func(a *model.Assignment) { a.Who.Kind = 0 },
		"tenant": func(a *model.Assignment) { a.Who.Tenant = space.NewID() },
	} {
		bad := good
		spoil(&bad)
		if err := bad.Validate(); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
