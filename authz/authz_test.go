package authz_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

var (
	tenant   = space.MustID("a0c20ae6-e830-4c60-993d-a00ce6032724")
	installs = space.MustID(model.DeviceInstallerRole)
	admins   = space.MustID(model.SpaceAdministratorRole)
	gateways = space.MustID(model.GatewayDeviceRole)

	readSensor   = model.Operation{Access: model.Read, Type: model.Sensor}
	createSensor = model.Operation{Access: model.Create, Type: model.Sensor}
)

func device() model.Identity { return model.Identity{Kind: model.DeviceID, Object: space.NewID()} }

func subject(ids ...model.Identity) *model.Subject { return &model.Subject{Identities: ids} }

func assign(who model.Identity, role space.ID, at space.Path) model.Assignment {
	return model.Assignment{ID: space.NewID(), Role: role, Who: who, Path: at}
}

func compile(t *testing.T, list ...model.Assignment) *authz.Index {
	t.Helper()
	ix, problems := authz.Compile(model.Snapshot{Version: model.Version{Epoch: 1, Number: 1}, Assignments: list})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return ix
}

func TestSixKindsOfIdentity(t *testing.T) {
	object := space.NewID()
	kinds := []model.Identity{
		{Kind: model.UserID, Object: object, Tenant: tenant},
		{Kind: model.ServicePrincipalID, Object: object, Tenant: tenant},
		{Kind: model.DeviceID, Object: object},
		{Kind: model.TenantID, Object: object},
		{Kind: model.UserDefinedFunctionID, Object: object},
		{Kind: model.DomainName, Domain: "@example.com", Tenant: tenant},
		{Kind: model.DomainName, Domain: "@example.com", Tenant: space.NewID()},
		{Kind: model.UserID, Object: object, Tenant: space.NewID()},
	}
	for i, holder := range kinds {
		ix := compile(t, assign(holder, admins, space.Root))
		for j, who := range kinds {
			if got := ix.Decide(subject(who), readSensor, space.Root).Allowed; got != (i == j) {
				t.Errorf("assigned to %v, asked for %v: got %v", holder, who, got)
			}
		}
		if !ix.Decide(subject(append(slices.Clone(kinds[:i]), kinds[i:]...)...), readSensor, space.Root).Allowed {
			t.Errorf("%v among others: refused", holder)
		}
	}
}

func TestReasons(t *testing.T) {
	site := space.Root.Join(space.NewID())
	room, who, ghost := site.Join(space.NewID()), device(), device()
	unknownRole := space.NewID()
	a := assign(who, installs, site)
	ix, problems := authz.Compile(model.Snapshot{
		Roles: []model.Role{
			{ID: unknownRole, Name: "Odd", Permissions: []model.Permission{{Actions: model.Read, Condition: "@Resource.Owner == 'me'"}}},
		},
		Assignments: []model.Assignment{a, assign(ghost, unknownRole, site)},
	})
	if len(problems) != 1 || problems[0].Kind != authz.RefusedRole || problems[0].ID != unknownRole {
		t.Errorf("problems: %v", problems)
	}
	for _, c := range []struct {
		name   string
		s      *model.Subject
		op     model.Operation
		at     space.Path
		reason authz.Reason
	}{
		{"granted", subject(who), readSensor, room, authz.Granted},
		{"lacks", subject(who), createSensor, room, authz.RoleLacksOperation},
		{"outside", subject(who), readSensor, space.Root, authz.OutsideScope},
		{"nothing", subject(device()), readSensor, room, authz.NoAssignment},
		{"nobody", subject(), readSensor, room, authz.NoAssignment},
		{"refused role", subject(ghost), readSensor, room, authz.RoleUnusable},
		{"no place", subject(who), readSensor, space.Path{}, authz.MalformedQuestion},
		{
			"two accesses", subject(who), model.Operation{Access: model.Read | model.Update, Type: model.Sensor}, room,
			authz.MalformedQuestion,
		},
		{"no type", subject(who), model.Operation{Access: model.Read}, room, authz.MalformedQuestion},
		{"wild type", subject(who), model.Operation{Access: model.Read, Type: 200}, room, authz.MalformedQuestion},
	} {
		d := ix.Decide(c.s, c.op, c.at).Outcome()
		if d.Reason != c.reason || d.Allowed != (c.reason == authz.Granted) {
			t.Errorf("%s: %+v", c.name, d)
		}
		if x := ix.Explain(c.s, c.op, c.at); x.Outcome != d {
			t.Errorf("%s: explained as %+v", c.name, x.Outcome)
		}
	}
	if d := ix.Decide(subject(who), readSensor, room).Outcome(); d.Assignment != a.ID || d.Role != installs {
		t.Errorf("granted by %+v", d)
	}
	if d := authz.Empty().Decide(subject(who), readSensor, room); d.Reason != authz.NoPolicy || d.Allowed {
		t.Errorf("before the first snapshot: %+v", d)
	}
}

func TestManyGrantsOfOnePrincipal(t *testing.T) {
	who := device()
	var list []model.Assignment
	var sites []space.Path
	for range 300 {
		site := space.Root.Join(space.NewID())
		sites = append(sites, site)
		list = append(list, assign(who, installs, site.Join(space.NewID())), assign(who, gateways, site))
	}
	ix := compile(t, list...)
	for _, site := range sites {
		if !ix.Decide(subject(who), createSensor, site.Join(space.NewID())).Allowed {
			t.Fatal("refused at a site that is granted")
		}
	}
	if d := ix.Decide(subject(who), createSensor, space.Root.Join(space.NewID())); d.Reason != authz.OutsideScope {
		t.Fatalf("elsewhere: %+v", d)
	}
	if got := ix.ReadableBelow(subject(who), readSensor); len(got) != len(sites) {
		t.Fatalf("%d maximal paths, want the %d sites", len(got), len(sites))
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	site := space.Root.Join(space.NewID())
	user := model.Identity{Kind: model.UserID, Object: space.NewID(), Tenant: tenant}
	domain := model.Identity{Kind: model.DomainName, Domain: "@example.com", Tenant: tenant}
	ix := compile(t, assign(domain, installs, site))
	s := &model.Subject{Identities: []model.Identity{user, domain}, Object: user.Object, GroupsKnown: true}
	for name, f := range map[string]func(){
		"allowed": func() { ix.Decide(s, readSensor, site) },
		"refused": func() { ix.Decide(s, createSensor, site) },
		"rights":  func() { ix.RightsVersion(s) },
		"action":  func() { ix.DecideAction(s, model.IotHubTwinsWrite, "/subscriptions/s/resourceGroups/rg") },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestDelta(t *testing.T) {
	site := space.Root.Join(space.NewID())
	who, other := device(), device()
	first := assign(who, installs, site)
	ix := compile(t, first, assign(other, installs, site))
	v := func(n uint64) model.Version { return model.Version{Epoch: 1, Number: n} }
	before := ix.RightsVersion(subject(other))

	wider := assign(who, admins, space.Root)
	next, keys, err := ix.Apply(model.ChangeSet{From: v(1), To: v(2), PutAssignments: []model.Assignment{wider}})
	if err != nil || len(keys) != 1 || keys[0].Identity != who {
		t.Fatalf("%v, %v", keys, err)
	}
	if !next.Decide(subject(who), createSensor, site).Allowed || ix.Decide(subject(who), createSensor, site).Allowed {
		t.Error("the change is not where it belongs: in the new index only")
	}
	if next.RightsVersion(subject(other)) != before || next.RightsVersion(subject(who)) == ix.RightsVersion(subject(who)) {
		t.Error("rights versions")
	}
	// Installer at the site adds nothing to administrator at the root.
	third, keys, err := next.Apply(model.ChangeSet{From: v(2), To: v(3), RemoveAssigns: []space.ID{first.ID}})
	if err != nil || len(keys) != 0 || third.Len() != 2 {
		t.Fatalf("%v, %v", keys, err)
	}
	fourth, keys, err := third.Apply(model.ChangeSet{From: v(3), To: v(4), RemoveAssigns: []space.ID{wider.ID}})
	if err != nil || len(keys) != 1 || fourth.Decide(subject(who), readSensor, site).Allowed {
		t.Fatalf("%v, %v", keys, err)
	}
	var gap *authz.GapError
	if _, _, err := fourth.Apply(model.ChangeSet{From: v(3), To: v(5)}); !errors.Is(err, authz.ErrGap) || !errors.As(err, &gap) {
		t.Errorf("a gap: %v", err)
	}
	fifth, keys, err := fourth.Apply(model.ChangeSet{From: v(4), To: v(5), PutRoles: []model.Role{{ID: installs, Name: "DeviceInstaller"}}})
	if err != nil || len(keys) != 1 || keys[0].Identity != other || fifth.Decide(subject(other), readSensor, site).Allowed {
		t.Errorf("a role that lost everything: %v, %v", keys, err)
	}
	sixth, _, err := fifth.Apply(model.ChangeSet{From: v(5), To: v(6), RemoveRoles: []space.ID{installs}})
	if err != nil || !sixth.Decide(subject(other), readSensor, site).Allowed {
		t.Errorf("a system role returns to its built-in form: %v", err)
	}
}
