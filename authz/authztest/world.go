package authztest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/authz/abac"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// World is a generated building with its policy: small vocabularies, so that random
// questions meet random grants often, and every special case that the rules name.
type World struct {
	Policy     model.Snapshot
	Identities []model.Identity
	Paths      []space.Path
	Objects    []space.ID // Entra principals
	Groups     []space.ID
	Scopes     []string // that are asked about and assigned at
	Conditions map[string]func(abac.Query) abac.Truth

	meanings          map[meaning]verdict
	roles, azureRoles []space.ID
	rand              *rand.Rand
}

// NewWorld generates a world; the same source gives the same world.
func NewWorld(r *rand.Rand, assignments int) *World {
	w := &World{rand: r, Conditions: azureConditions(), meanings: map[meaning]verdict{}}
	w.Policy.Version = model.Version{Epoch: 1, Number: 1}
	w.paths(2 + assignments/8)
	tenants := []space.ID{w.id(), w.id()}
	for range 3 + assignments/10 {
		object := w.id()
		w.Objects = append(w.Objects, object)
		w.Identities = append(w.Identities,
			model.Identity{Kind: model.UserID, Object: object, Tenant: pick(r, tenants)},
			model.Identity{Kind: model.ServicePrincipalID, Object: object, Tenant: pick(r, tenants)},
			model.Identity{Kind: model.DeviceID, Object: object},
			model.Identity{Kind: model.UserDefinedFunctionID, Object: object})
	}
	for _, t := range tenants {
		w.Identities = append(w.Identities, model.Identity{Kind: model.TenantID, Object: t},
			model.Identity{Kind: model.DomainName, Domain: "@example.com", Tenant: t},
			model.Identity{Kind: model.DomainName, Domain: "@example.org", Tenant: t})
	}
	for range 4 {
		w.Groups = append(w.Groups, w.id())
	}
	w.scopes()
	w.defineRoles()
	for range assignments {
		w.Policy.Assignments = append(w.Policy.Assignments, w.Assignment())
	}
	for range assignments/4 + 4 {
		w.Policy.AzureAssignments = append(w.Policy.AzureAssignments, w.AzureAssignment())
	}
	for range r.IntN(4) {
		w.Policy.AzureDenies = append(w.Policy.AzureDenies, w.AzureDeny())
	}
	return w
}

// Oracle is the oracle of the world's policy as it is now.
func (w *World) Oracle() *Oracle {
	return &Oracle{Policy: w.Policy, Conditions: w.Conditions, meanings: w.meanings}
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func (w *World) chance(percent int) bool { return w.rand.IntN(100) < percent }

// id is a random GUID; some share their last digits, which is what the index
// looks at first.
func (w *World) id() (id space.ID) {
	binary.LittleEndian.PutUint64(id[:8], w.rand.Uint64())
	binary.LittleEndian.PutUint64(id[8:], w.rand.Uint64())
	if w.chance(20) {
		copy(id[12:], "same")
	}
	return id
}

func (w *World) paths(n int) {
	w.Paths = []space.Path{space.Root}
	for len(w.Paths) < n {
		parent := pick(w.rand, w.Paths)
		for w.chance(50) && parent.Depth() < 12 {
			parent = parent.Join(w.id())
			w.Paths = append(w.Paths, parent)
		}
		w.Paths = append(w.Paths, parent.Join(w.id()))
	}
}

func (w *World) scopes() {
	w.Scopes = []string{"/", "/providers/Microsoft.Management/managementGroups/mg", "/subscriptions/s1", "/subscriptions/s2"}
	for _, s := range w.Scopes[2:4] {
		for _, g := range []string{"rg", "rg1"} {
			group := s + "/resourceGroups/" + g
			account := group + "/providers/Microsoft.DeviceUpdate/accounts/a"
			w.Scopes = append(w.Scopes, group, group+"/providers/Microsoft.Devices/IotHubs/hub", account, account+"/instances/i")
		}
	}
}

func (w *World) defineRoles() {
	for _, r := range model.SystemRoles() {
		w.roles = append(w.roles, r.ID)
	}
	for range 6 {
		w.Policy.Roles = append(w.Policy.Roles, w.Role(w.id()))
	}
	w.Policy.Roles = append(w.Policy.Roles, w.Role(space.MustID(model.UserRole)))
	for _, r := range w.Policy.Roles {
		w.roles = append(w.roles, r.ID)
	}
	w.roles = append(w.roles, w.id()) // defined nowhere
	for _, r := range model.AzureBuiltInRoles() {
		w.azureRoles = append(w.azureRoles, r.ID)
	}
	for range 4 {
		w.Policy.AzureRoles = append(w.Policy.AzureRoles, w.AzureRole(w.id()))
	}
	for _, r := range w.Policy.AzureRoles {
		w.azureRoles = append(w.azureRoles, r.ID)
	}
	w.azureRoles = append(w.azureRoles, w.id())
}

// Role is a random definition, now and then one that must be refused.
func (w *World) Role(id space.ID) model.Role {
	role := model.Role{ID: id, Name: fmt.Sprintf("Custom %x", id[:2])}
	for range 1 + w.rand.IntN(3) {
		p := model.Permission{Actions: model.Access(w.rand.IntN(16)), Condition: w.condition(3)}
		if w.chance(30) {
			p.NotActions = model.Access(w.rand.IntN(16))
		}
		switch {
		case w.chance(10):
			p.Condition = ""
		case w.chance(5):
			p.Condition = pick(
				w.rand,
				[]string{"@Resource.Owner == 'me'", "@Resource.Type != 'Device'", "(", "true", "@Resource.Type Any_of {}"},
			)
		}
		role.Permissions = append(role.Permissions, p)
	}
	return role
}

func (w *World) condition(depth int) string {
	if depth > 0 && w.chance(60) {
		l, r := w.condition(depth-1), w.condition(depth-1)
		switch w.rand.IntN(5) {
		case 0:
			return "!(" + l + ")"
		case 1:
			return l + " && " + r
		case 2:
			return "(" + l + "||" + r + ")"
		case 3:
			return "( " + l + " ) && !( " + r + " )"
		}
		return l + " || " + r
	}
	types := []string{"Device", "Sensor", "Space", "ExtendedType", "KeyStore", "UserDefinedFunction", "UerDefinedFunction", "Nothing"}
	categories := []string{"WithoutSpecifiedRbacResourceTypes", "DeviceType", "SensorType"}
	switch w.rand.IntN(5) {
	case 0:
		return "Exists @Resource.Category"
	case 1:
		return "!Exists @Resource.Category"
	case 2:
		return "@Resource.Category == '" + pick(w.rand, categories) + "'"
	case 3:
		return "@Resource.Type Any_of {'" + pick(w.rand, types) + "', '" + pick(w.rand, types) + "'}"
	}
	return "@Resource.Type == '" + pick(w.rand, types) + "'"
}

// Assignment is a random assignment, now and then a malformed one.
func (w *World) Assignment() model.Assignment {
	a := model.Assignment{ID: w.id(), Role: pick(w.rand, w.roles), Who: pick(w.rand, w.Identities), Path: pick(w.rand, w.Paths)}
	if w.chance(2) {
		a.Who.Tenant = space.ID{}
	}
	return a
}

// Operation is a random operation, now and then one that cannot be asked.
func (w *World) Operation() model.Operation {
	op := model.Operation{Access: 1 << w.rand.IntN(4), Type: model.ResourceType(1 + w.rand.IntN(int(model.ResourceTypes)-1))}
	if w.chance(50) {
		op.Type = pick(w.rand, []model.ResourceType{model.Device, model.Sensor, model.Space, model.ExtendedType})
	}
	if w.chance(30) {
		op.Category = pick(
			w.rand,
			[]model.Category{model.WithoutSpecifiedRbacResourceTypes, model.DeviceType, model.SensorType, model.UserBlobType},
		)
	}
	if w.chance(1) {
		op.Access = model.Access(w.rand.IntN(256))
	}
	return op
}

// Place is a known path, or one below it that nobody has heard of.
func (w *World) Place() space.Path {
	p := pick(w.rand, w.Paths)
	for w.chance(25) {
		p = p.Join(w.id())
	}
	return p
}

// Subject is a random subject with some of the world's identities and groups.
func (w *World) Subject() *model.Subject {
	s := &model.Subject{GroupsKnown: w.chance(70)}
	for range 1 + w.rand.IntN(3) {
		s.Identities = append(s.Identities, pick(w.rand, w.Identities))
	}
	if w.chance(90) {
		s.Object = pick(w.rand, w.Objects)
	}
	for range w.rand.IntN(3) {
		if g := pick(w.rand, w.Groups); !slices.Contains(s.Groups, g) {
			s.Groups = append(s.Groups, g)
		}
	}
	return s
}

// mangle writes an ARM id in another case.
func (w *World) mangle(s string) string {
	if w.chance(50) {
		return s
	}
	return pick(w.rand, []func(string) string{strings.ToUpper, strings.ToLower})(s)
}
