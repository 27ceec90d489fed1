package authz_test

import (
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// ARM compares ids without regard to the case of ASCII letters, and of no others. By the folding of Unicode
// the Kelvin sign would be a k, and the long s an s: a grant must not reach the resource of that name, and
// a denial must.
func TestTheScopeOfAGrantFoldsASCIIOnly(t *testing.T) {
	const plain = "/subscriptions/6d1f3f1c-0000-4000-8000-000000000001/resourceGroups/kiosks/providers/Microsoft.Devices/IotHubs/hub"
	kelvin, long := strings.Replace(plain, "kiosks", "\u212aiosks", 1), strings.Replace(plain, "kiosks", "kio\u017fks", 1)
	who := space.NewID()
	s := &model.Subject{Object: who, GroupsKnown: true}
	var contributor space.ID
	for _, r := range model.AzureBuiltInRoles() {
		if r.Name == "IoT Hub Data Contributor" {
			contributor = r.ID
		}
	}
	grant := func(scope string) model.AzureAssignment {
		return model.AzureAssignment{
			ID:    space.NewID(),
			Role:  contributor,
			Scope: scope,
			Who:   model.AzurePrincipal{Type: model.AzureServicePrincipal, ID: who},
		}
	}
	deny := func(scope string) model.AzureDeny {
		return model.AzureDeny{
			ID:          space.NewID(),
			Scope:       scope,
			DataActions: []string{model.IotHubTwinsWrite},
			Principals:  []model.AzurePrincipal{{Type: model.AzureServicePrincipal, ID: who}},
		}
	}
	for _, c := range []struct {
		granted, asked string
		want           bool
	}{
		{plain, plain, true},
		{plain, strings.ToUpper(plain), true},
		{strings.ToUpper(plain), plain, true},
		{plain, kelvin, false},
		{kelvin, plain, false},
		{plain, long, false},
		{long, plain, false},
		{kelvin, kelvin, true},
	} {
		ix, bad := authz.Compile(model.Snapshot{AzureAssignments: []model.AzureAssignment{grant(c.granted)}})
		if len(bad) > 0 {
			t.Fatal(bad)
		}
		if got := ix.DecideAction(s, model.IotHubTwinsWrite, c.asked).Allowed; got != c.want {
			t.Errorf("granted at %q, asked for %q: %v", c.granted, c.asked, got)
		}
	}
	for _, scope := range []string{plain, kelvin, long} {
		ix, bad := authz.Compile(model.Snapshot{
			AzureAssignments: []model.AzureAssignment{grant(plain)},
			AzureDenies:      []model.AzureDeny{deny(scope)},
		})
		if len(bad) > 0 {
			t.Fatal(bad)
		}
		if ix.DecideAction(s, model.IotHubTwinsWrite, plain).Allowed {
			t.Errorf("denied at %q: allowed", scope)
		}
	}
}

// Who is concerned by a change for a principal or a group: also a subject of whom no groups are known,
// because a denial for a group applies to it, and nobody who is known in the space model only.
func TestWhomAKeyConcerns(t *testing.T) {
	user, group := space.NewID(), space.NewID()
	identity := model.Identity{Kind: model.DeviceID, Object: user}
	member := model.Subject{Object: user, GroupsKnown: true, Groups: []space.ID{group}}
	for name, c := range map[string]struct {
		key     authz.Key
		subject model.Subject
		want    bool
	}{
		"itself":                     {authz.Key{Principal: user}, model.Subject{Object: user, GroupsKnown: true}, true},
		"another":                    {authz.Key{Principal: group}, model.Subject{Object: user, GroupsKnown: true}, false},
		"a member":                   {authz.Key{Principal: group}, member, true},
		"groups unknown":             {authz.Key{Principal: group}, model.Subject{Object: user}, true},
		"everyone":                   {authz.Key{Everyone: true}, model.Subject{Object: user, GroupsKnown: true}, true},
		"everyone, of no principal":  {authz.Key{Everyone: true}, model.Subject{Identities: []model.Identity{identity}}, false},
		"groups of no principal":     {authz.Key{Principal: group}, model.Subject{Identities: []model.Identity{identity}}, false},
		"an identity":                {authz.Key{Identity: identity}, model.Subject{Identities: []model.Identity{identity}}, true},
		"an identity, by its object": {authz.Key{Identity: identity}, model.Subject{Object: user}, false},
	} {
		if got := c.key.Concerns(&c.subject); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
