package arm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// facts are what one pass reads.
type facts struct {
	assignments map[space.ID][]*model.AzureAssignment // of one id: more than one only if they contradict each other
	roles       map[space.ID]model.AzureRole
	denies      map[space.ID][]*model.AzureDeny
	problems    map[wire.Problem]bool
}

// pass reads everything once. Assignments come first and denials last, so that a denial which was
// made before an assignment is in the answer if the assignment is.
func (s *Source) pass(ctx context.Context) (wire.Full, error) {
	f := &facts{
		assignments: map[space.ID][]*model.AzureAssignment{}, roles: map[space.ID]model.AzureRole{},
		denies: map[space.ID][]*model.AzureDeny{}, problems: map[wire.Problem]bool{},
	}
	for _, scope := range s.api.o.Scopes {
		err := s.api.list(ctx, scope, "roleAssignments", "atScope()", func(row wire.Object) error {
			f.assignment(row, scope)
			return nil
		})
		if err != nil {
			return wire.Full{}, err
		}
	}
	if err := s.memberships(ctx, f); err != nil {
		return wire.Full{}, err
	}
	if err := s.definitions(ctx, f); err != nil {
		return wire.Full{}, err
	}
	for _, scope := range s.api.o.Scopes {
		n := 0
		err := s.api.list(ctx, scope, "denyAssignments", "atScope()", func(row wire.Object) error {
			n++
			f.deny(row, scope, n)
			return nil
		})
		if err != nil {
			return wire.Full{}, err
		}
	}
	return f.full(), nil
}

// memberships asks for each of the gateway's own principals which assignments reach it. Those of
// groups reach it because it is a member.
func (s *Source) memberships(ctx context.Context, f *facts) error {
	for _, who := range s.api.o.Principals {
		for _, scope := range s.api.o.Scopes {
			filter := fmt.Sprintf("atScope() and assignedTo('%s')", who)
			err := s.api.list(ctx, scope, "roleAssignments", filter, func(row wire.Object) error {
				a, err := wire.ParseAzureAssignment(row)
				if err != nil {
					return nil //nolint:nilerr // it was named when the list of all was read
				}
				for _, known := range f.assignments[a.ID] {
					if known.Who.Type == model.AzureGroup && known.Who == a.Who && !slices.Contains(known.Members, who) {
						known.Members = append(known.Members, who)
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// definitions reads the role definitions that assignments name. One that ARM does not list, or that
// cannot be read, is kept without any action: left out, a built-in role would have its published ones.
func (s *Source) definitions(ctx context.Context, f *facts) error {
	wanted := map[space.ID]bool{}
	for _, list := range f.assignments {
		for _, a := range list {
			wanted[a.Role] = true
		}
	}
	for _, scope := range s.api.o.Scopes {
		if len(wanted) == 0 {
			break
		}
		err := s.api.list(ctx, scope, "roleDefinitions", "", func(row wire.Object) error {
			id, err := idOf(row)
			if err != nil || !wanted[id] {
				return nil //nolint:nilerr // it is found missing below, if an assignment names it
			}
			delete(wanted, id)
			role, err := readRole(row)
			if err != nil {
				f.problem(wire.TypeAzureRole, id.String(), "it grants nothing, because it cannot be read: "+err.Error())
				role = model.AzureRole{ID: id, Name: role.Name}
			}
			f.roles[id] = role
			return nil
		})
		if err != nil {
			return err
		}
	}
	for id := range wanted {
		f.problem(wire.TypeAzureRole, id.String(), "an assignment names it, and Azure has no such definition at "+
			strings.Join(s.api.o.Scopes, " or "))
		f.roles[id] = model.AzureRole{ID: id}
	}
	return nil
}

// readRole reads a role definition. A condition of a permission is not evaluated anywhere, so a
// role with one cannot be read.
func readRole(row wire.Object) (model.AzureRole, error) {
	role, err := wire.ParseAzureRole(row)
	if err != nil {
		return role, err
	}
	conditional, err := conditionalPermissions(row)
	if err == nil && conditional {
		err = errors.New("a permission of it has a condition")
	}
	return role, err
}

func conditionalPermissions(row wire.Object) (bool, error) {
	p, _, err := row.Object("properties")
	if err != nil {
		return false, err
	}
	clauses, err := p.List("permissions")
	for _, c := range clauses {
		if c.Present("condition") {
			text, err := c.String("condition", 16<<10)
			if err != nil || text != "" {
				return true, err
			}
		}
	}
	return false, err
}

// assignment adds a row that is in force at scope.
func (f *facts) assignment(row wire.Object, scope string) {
	a, err := wire.ParseAzureAssignment(row)
	if err == nil {
		a.Condition, err = condition(row, a.Condition)
	}
	if err != nil {
		f.problem(wire.TypeAzureAssignment, shown(row), "it grants nothing, because it cannot be read: "+err.Error())
		return
	}
	a.Scope, a.AtScopes = place(a.Scope, scope)
	for _, known := range f.assignments[a.ID] {
		same := a
		if same.AtScopes, same.Members = known.AtScopes, known.Members; reflect.DeepEqual(same, *known) {
			known.AtScopes = union(known.AtScopes, a.AtScopes)
			return
		}
	}
	f.assignments[a.ID] = append(f.assignments[a.ID], &a)
}

// deny adds the nth row of a list, which is in force at scope.
func (f *facts) deny(row wire.Object, scope string, nth int) {
	d, why, err := wire.HeldAzureDeny(row)
	if err != nil { // not even its id can be read
		h := sha256.Sum256([]byte(fmt.Sprint(scope, " ", nth)))
		d, why = model.AzureDeny{ID: space.ID(h[:16]), Name: "cannot be read", DataActions: []string{"*"}}, err
	}
	if why == nil {
		if d.Condition, why = condition(row, d.Condition); why != nil {
			d.Condition = "" // it then applies whatever is asked
		}
	}
	if why == nil {
		var conditional bool
		if conditional, why = conditionalPermissions(row); conditional && why == nil {
			why = errors.New("a permission of it has a condition, which is not looked at")
		}
	}
	if why != nil {
		f.problem(wire.TypeAzureDeny, d.ID.String(), "it denies more than it may say, because it cannot be read: "+why.Error())
	}
	if d.Scope != "" {
		d.Scope, d.AtScopes = place(d.Scope, scope)
	}
	for _, known := range f.denies[d.ID] {
		same := d
		if same.AtScopes = known.AtScopes; reflect.DeepEqual(same, *known) {
			known.AtScopes = union(known.AtScopes, d.AtScopes)
			return
		}
	}
	f.denies[d.ID] = append(f.denies[d.ID], &d)
}

// condition is the condition of a row in the version that can be evaluated. One of another version
// is returned as a text that is no condition, so that it neither grants nor lifts a denial, and
// the engine names it.
func condition(row wire.Object, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	p, _, err := row.Object("properties")
	if err != nil {
		return "", err
	}
	version, err := p.String("conditionVersion", 16)
	if err != nil || version == "2.0" {
		return text, err
	}
	return fmt.Sprintf("conditionVersion %q is not known: %s", version, text), nil
}

// place is the scope of a row in the one spelling in which it is compared, because ARM's answers mix
// them, and, for one that covers a resource only where it is listed, the scope at which it was.
func place(of, at string) (string, []string) {
	of = "/" + strings.ToLower(strings.Trim(of, "/ "))
	if of == "/" || strings.HasPrefix(of, "/providers/microsoft.management/managementgroups/") {
		return of, []string{strings.ToLower(at)}
	}
	return of, nil
}

func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

func (f *facts) problem(kind, id, reason string) {
	f.problems[wire.Problem{Type: kind, ID: id, Reason: reason}] = true
}

// idOf is the GUID of a row: its name, or the end of its resource id.
func idOf(row wire.Object) (space.ID, error) {
	text, err := row.String("name", 64)
	if err == nil && text == "" {
		text = rowID(row)
	}
	if err != nil {
		return space.ID{}, err
	}
	return space.ParseID(text[strings.LastIndexByte(text, '/')+1:])
}

// rowID is the resource id of a row; "" if it has none that can be read.
func rowID(row wire.Object) string {
	id, err := row.String("id", 4096)
	if err != nil {
		return ""
	}
	return id
}

// shown names a row for operators.
func shown(row wire.Object) string {
	if id := rowID(row); id != "" {
		return id
	}
	if id, err := row.String("name", 64); err == nil && id != "" {
		return id
	}
	return "a row without id"
}

// full is the facts in one order, so that equal content is equal.
func (f *facts) full() wire.Full {
	var out wire.Full
	for _, list := range f.assignments {
		for _, a := range list {
			slices.Sort(a.AtScopes)
			slices.SortFunc(a.Members, compareIDs)
			out.Policy.AzureAssignments = append(out.Policy.AzureAssignments, *a)
		}
	}
	for _, list := range f.denies {
		for _, d := range list {
			slices.Sort(d.AtScopes)
			out.Policy.AzureDenies = append(out.Policy.AzureDenies, *d)
		}
	}
	for _, r := range f.roles {
		out.Policy.AzureRoles = append(out.Policy.AzureRoles, r)
	}
	for p := range f.problems {
		out.Problems = append(out.Problems, p)
	}
	sortByID(out.Policy.AzureAssignments, func(a *model.AzureAssignment) space.ID { return a.ID })
	sortByID(out.Policy.AzureDenies, func(d *model.AzureDeny) space.ID { return d.ID })
	sortByID(out.Policy.AzureRoles, func(r *model.AzureRole) space.ID { return r.ID })
	slices.SortFunc(out.Problems, func(a, b wire.Problem) int { return strings.Compare(a.String(), b.String()) })
	return out
}

func compareIDs(a, b space.ID) int { return slices.Compare(a[:], b[:]) }

// sortByID sorts by id, and contradicting rows of one id by what they say.
func sortByID[T any](list []T, id func(*T) space.ID) {
	slices.SortFunc(list, func(a, b T) int {
		if c := compareIDs(id(&a), id(&b)); c != 0 {
			return c
		}
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
}
