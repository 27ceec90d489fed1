package authztest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/abac"
	"github.com/gatehouse/gatehouse/authz/authztest"
	"github.com/gatehouse/gatehouse/authz/authztest/scenario"
	"github.com/gatehouse/gatehouse/authz/condition"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// policy is a world in words and what must be answered in it. Names stand
// for ids: the first use of a name makes one up. A path is names separated by
// slashes; a name that is a GUID is that GUID.
type policy struct {
	scenario.Head `yaml:",inline"`
	World         world
	Then          []assertion
}

type world struct {
	Roles       []roleText
	Assignments []assignmentText
	Azure       struct {
		Roles       []azureRoleText
		Assignments []azureText
		Denies      []azureText
	}
	Problems []string // kinds that compiling must report, in order
}

type roleText struct {
	Name        string
	Permissions []struct {
		Actions    string
		NotActions string `yaml:"notActions"`
		Condition  string
	}
}

type assignmentText struct{ Name, Role, To, At string }

type azureRoleText struct {
	Name           string
	DataActions    []string `yaml:"dataActions"`
	NotDataActions []string `yaml:"notDataActions"`
}

type azureText struct {
	Name, Role, To, At, Condition string
	AtScopes                      []string `yaml:"atScopes"`
	DataActions                   []string `yaml:"dataActions"`
	NotDataActions                []string `yaml:"notDataActions"`
	Principals, Except            []string
	NotBelow                      bool `yaml:"notBelow"`
}

type assertion struct {
	Who        []string // identities
	Entra      string   // object in the Azure model
	Groups     []string
	Overage    bool // groups are not known
	Allow      string
	Deny       string
	At, Reason string
	By         string // name of the deciding assignment
	Attributes map[string]string
	Limit      bool // what is refused is a size: the oracle knows none
}

// names makes and remembers ids.
type names map[string]space.ID

func (n names) id(name string) space.ID {
	name = strings.TrimSpace(name)
	if id, err := space.ParseID(name); err == nil {
		return id
	}
	if _, ok := n[name]; !ok {
		n[name] = space.NewID()
	}
	return n[name]
}

func (n names) path(t *testing.T, text string) space.Path {
	t.Helper()
	if text == "nowhere" {
		return space.Path{}
	}
	raw := ""
	for seg := range strings.SplitSeq(strings.Trim(text, "/"), "/") {
		if seg == "" {
			return space.Root
		}
		id := n.id(seg).String()
		if strings.ToUpper(seg) == seg && strings.ToLower(seg) != seg { // an upper-case name: the same id, in upper case
			id = strings.ToUpper(n.id(strings.ToLower(seg)).String())
		}
		if strings.HasPrefix(seg, " ") {
			id = " " + id
		}
		raw += "/" + id
	}
	p, err := space.ParsePath(raw)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// identity reads "device d1", "user u1 of t1", "domain @example.com of t1".
func (n names) identity(t *testing.T, text string) model.Identity {
	t.Helper()
	kinds := map[string]model.IdentityKind{
		"user": model.UserID, "device": model.DeviceID, "domain": model.DomainName, "tenant": model.TenantID,
		"service": model.ServicePrincipalID, "function": model.UserDefinedFunctionID,
	}
	f := strings.Fields(text)
	if len(f) != 2 && (len(f) != 4 || f[2] != "of") || kinds[f[0]] == model.NoIdentity {
		t.Fatalf("identity %q", text)
	}
	i := model.Identity{Kind: kinds[f[0]]}
	if i.Kind == model.DomainName {
		i.Domain = f[1]
	} else {
		i.Object = n.id(f[1])
	}
	if len(f) == 4 {
		i.Tenant = n.id(f[3])
	}
	return i
}

// role is one of the built-in roles, without blanks, or a name of the world.
func (n names) role(name string) space.ID {
	for _, r := range model.SystemRoles() {
		if r.Name == name {
			return r.ID
		}
	}
	for _, r := range model.AzureBuiltInRoles() {
		if r.Name == name {
			return r.ID
		}
	}
	return n.id(name)
}

// principal reads "user u1", "group g1", "everyone", "stranger x" (a type that is not known).
func (n names) principal(text string) model.AzurePrincipal {
	typ, name, _ := strings.Cut(text, " ")
	p := model.AzurePrincipal{}
	switch typ {
	case "everyone":
		return model.AzurePrincipal{Type: model.AzureEveryone}
	case "user":
		p.Type = model.AzureUser
	case "service":
		p.Type = model.AzureServicePrincipal
	case "group":
		p.Type = model.AzureGroup
	}
	p.ID = n.id(name)
	return p
}

func (n names) snapshot(t *testing.T, w *world) model.Snapshot {
	t.Helper()
	var s model.Snapshot
	for _, r := range w.Roles {
		role := model.Role{ID: n.role(r.Name), Name: r.Name}
		for _, p := range r.Permissions {
			a, err := model.ParseAccess(p.Actions)
			not, err2 := model.ParseAccess(p.NotActions)
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			role.Permissions = append(role.Permissions, model.Permission{Actions: a, NotActions: not, Condition: stretched(p.Condition)})
		}
		s.Roles = append(s.Roles, role)
	}
	for i, a := range w.Assignments {
		s.Assignments = append(s.Assignments, model.Assignment{
			ID: n.id(orNumber(a.Name, i)), Role: n.role(a.Role), Who: n.identity(t, a.To), Path: n.path(t, a.At),
		})
	}
	for _, r := range w.Azure.Roles {
		s.AzureRoles = append(
			s.AzureRoles,
			model.AzureRole{ID: n.role(r.Name), Name: r.Name, DataActions: r.DataActions, NotDataActions: r.NotDataActions},
		)
	}
	for i, a := range w.Azure.Assignments {
		s.AzureAssignments = append(s.AzureAssignments, model.AzureAssignment{
			ID:        n.id(orNumber(a.Name, 100+i)),
			Role:      n.role(a.Role),
			Who:       n.principal(a.To),
			Scope:     a.At,
			AtScopes:  a.AtScopes,
			Condition: a.Condition,
		})
	}
	for i, d := range w.Azure.Denies {
		deny := model.AzureDeny{
			ID: n.id(orNumber(d.Name, 200+i)), Name: d.Name, Scope: d.At, AtScopes: d.AtScopes, DataActions: d.DataActions,
			NotDataActions: d.NotDataActions, Condition: d.Condition, DoNotApplyToChildScopes: d.NotBelow,
		}
		for _, p := range d.Principals {
			deny.Principals = append(deny.Principals, n.principal(p))
		}
		for _, p := range d.Except {
			deny.ExcludePrincipals = append(deny.ExcludePrincipals, n.principal(p))
		}
		s.AzureDenies = append(s.AzureDenies, deny)
	}
	return s
}

// stretched writes out "deep X", which is X in too many parentheses, and
// "long X", which is X with too much behind it.
func stretched(text string) string {
	if inner, ok := strings.CutPrefix(text, "deep "); ok {
		return strings.Repeat("(", condition.MaxDepth+1) + inner + strings.Repeat(")", condition.MaxDepth+1)
	}
	if inner, ok := strings.CutPrefix(text, "long "); ok {
		return inner + strings.Repeat(" || "+inner, condition.MaxLength/len(inner))
	}
	return text
}

func orNumber(name string, i int) string {
	if name != "" {
		return name
	}
	return fmt.Sprintf("assignment-%d", i)
}

// TestScenarios runs every scenario by engine and oracle.
func TestScenarios(t *testing.T) {
	scenario.Run(t, func(t *testing.T, p policy) { p.run(t) })
}

func (sc *policy) run(t *testing.T) {
	n := names{}
	snapshot := n.snapshot(t, &sc.World)
	ix, problems := authz.Compile(snapshot)
	var kinds []string
	for _, p := range problems {
		kinds = append(kinds, string(p.Kind))
	}
	if strings.Join(kinds, " ") != strings.Join(sc.World.Problems, " ") {
		t.Errorf("problems %v, want %v", problems, sc.World.Problems)
	}
	if len(sc.Then) == 0 {
		t.Error("asserts nothing")
	}
	for i := range sc.Then {
		n.check(t, ix, &sc.Then[i], fmt.Sprintf("assertion %d", i+1), snapshot)
	}
}

func (n names) check(t *testing.T, ix *authz.Index, a *assertion, label string, snapshot model.Snapshot) {
	t.Helper()
	s := &model.Subject{GroupsKnown: !a.Overage}
	for _, who := range a.Who {
		s.Identities = append(s.Identities, n.identity(t, who))
	}
	for _, g := range a.Groups {
		s.Groups = append(s.Groups, n.id(g))
	}
	if a.Entra != "" {
		s.Object = n.id(a.Entra)
	}
	asked, want := a.Allow, true
	if asked == "" {
		asked, want = a.Deny, false
	}
	oracle := &authztest.Oracle{Policy: snapshot}
	var got authz.Explanation
	var plain bool
	if strings.HasPrefix(asked, "Microsoft.") {
		q := abac.Query{Action: asked, Scope: a.At}
		for name, v := range a.Attributes {
			q.Attributes = append(q.Attributes, abac.Attribute{Source: abac.Request, Name: name, Value: v})
		}
		got = ix.ExplainRequest(s, q)
		if d := ix.DecideRequest(s, q).Outcome(); d != got.Outcome {
			t.Errorf("%s: explained %+v, decided %+v", label, got.Outcome, d)
		}
		plain = got.Allowed // conditions mean nothing to the bare oracle: the differential test gives it their meaning
	} else {
		op, err := model.ParseOperation(asked)
		if err != nil {
			t.Fatal(err)
		}
		at := n.path(t, a.At)
		got = ix.Explain(s, op, at)
		plain = oracle.Decide(s, op, at) && !a.Limit
	}
	if got.Allowed != want || plain != want || a.Reason != "" && got.Reason.String() != a.Reason {
		t.Errorf("%s: oracle says %v, engine:\n%s", label, plain, got.Text())
	}
	if a.Reason == "" && !want {
		t.Errorf("%s: a denial must state its reason (it is %s)", label, got.Reason)
	}
	if a.By != "" && got.Assignment != n.id(a.By) {
		t.Errorf("%s: decided by %s, want %s", label, got.Assignment, a.By)
	}
}
