package arm

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

const (
	group = "/subscriptions/5b1d7d5c-0000-4000-8000-000000000001/resourceGroups/rg"
	hub   = group + "/providers/Microsoft.Devices/IotHubs/hub"
)

func num(n int) space.ID { return space.MustID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)) }

var owner, staff = num(1), num(50)

// open is a server of which num(1) is the owner. The token of a caller is its object id; num(2) is
// in the group staff.
func open(t *testing.T, change ...func(*Options)) *Server {
	t.Helper()
	o := Options{
		Authenticate: func(r *http.Request) (model.Subject, error) {
			id, err := space.ParseID(r.Header.Get("Authorization"))
			if err != nil {
				return model.Subject{}, errors.New("nobody")
			}
			return model.Subject{Object: id}, nil
		},
		Groups: func(id space.ID) []space.ID {
			if id == num(2) {
				return []space.ID{staff}
			}
			return nil
		},
		Owners: []Owner{{ID: owner, Type: "ServicePrincipal"}},
		Now:    func() time.Time { return time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC) },
	}
	for _, f := range change {
		f(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type answered struct {
	status int
	code   string // error.code
	header http.Header
	body   map[string]any
}

func (a answered) ids() string {
	var out []string
	for _, v := range a.body["value"].([]any) {
		out = append(out, strings.TrimLeft(v.(map[string]any)["name"].(string)[24:], "0"))
	}
	return strings.Join(out, " ")
}

func (a answered) first() map[string]any { return a.body["value"].([]any)[0].(map[string]any) }

func ask(t *testing.T, s *Server, as space.ID, method, path, filter, body string) answered {
	t.Helper()
	q := url.Values{"api-version": {"2022-04-01"}}
	if filter != "" {
		q.Set("$filter", filter)
	}
	return send(t, s, as, method, path+"?"+q.Encode(), body)
}

func send(t *testing.T, s *Server, as space.ID, method, address, body string) answered {
	t.Helper()
	r := httptest.NewRequest(method, address, strings.NewReader(body))
	r.Header.Set("Authorization", as.String())
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	a := answered{status: w.Code, header: w.Header(), body: map[string]any{}}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &a.body); err != nil {
			t.Fatal(err)
		}
	}
	if e, ok := a.body["error"].(map[string]any); ok {
		a.code = e["code"].(string)
	}
	return a
}

func rowAt(scope string, n int) string {
	return scope + provider + "roleAssignments/" + num(n).String()
}

func assign(role string, who space.ID, more string) string {
	return fmt.Sprintf(`{"properties":{"roleDefinitionId":"%sroleDefinitions/%s","principalId":"%s"%s}}`, provider, role, who, more)
}

func TestLifeOfAnAssignment(t *testing.T) {
	s := open(t)
	reader := model.IotHubDataReaderRole
	for _, c := range []struct {
		name, method, path, body string
		as                       space.ID
		status                   int
		code                     string
	}{
		{"by nobody", "PUT", rowAt(hub, 10), assign(reader, num(2), ""), num(3), 403, "AuthorizationFailed"},
		{"created", "PUT", rowAt(hub, 10), assign(reader, num(2), ""), owner, 201, ""},
		{"again, in another case", "PUT", strings.ToUpper(rowAt(hub, 10)), assign(reader, num(2), ""), owner, 200, ""},
		{"with a condition", "PUT", rowAt(hub, 10), assign(reader, num(2), `,"condition":"x","conditionVersion":"2.0"`), owner, 200, ""},
		{"a condition without version", "PUT", rowAt(hub, 10), assign(reader, num(2), `,"condition":"x"`), owner, 400, "InvalidConditionVersion"},
		{"for another", "PUT", rowAt(hub, 10), assign(reader, num(4), ""), owner, 400, "RoleAssignmentUpdateNotPermitted"},
		{"elsewhere", "PUT", rowAt(group, 10), assign(reader, num(2), ""), owner, 400, "RoleAssignmentUpdateNotPermitted"},
		{"twice", "PUT", rowAt(hub, 11), assign(reader, num(2), ""), owner, 409, "RoleAssignmentExists"},
		{"of no role", "PUT", rowAt(hub, 12), assign(num(99).String(), num(2), ""), owner, 404, "RoleDefinitionDoesNotExist"},
		{"for nobody", "PUT", rowAt(hub, 12), assign(reader, space.ID{}, ""), owner, 400, "InvalidRequestContent"},
		{"without body", "PUT", rowAt(hub, 12), "", owner, 400, "InvalidRequestContent"},
		{"with a name", "PUT", hub + provider + "roleAssignments/x", assign(reader, num(2), ""), owner, 400, "InvalidName"},
		{"read", "GET", rowAt(hub, 10), "", owner, 200, ""},
		{"read elsewhere", "GET", rowAt(group, 10), "", owner, 404, "RoleAssignmentNotFound"},
		{"read by nobody", "GET", rowAt(hub, 10), "", num(3), 403, "AuthorizationFailed"},
		{"deleted by nobody", "DELETE", rowAt(hub, 10), "", num(2), 403, "AuthorizationFailed"},
		{"deleted", "DELETE", rowAt(hub, 10), "", owner, 200, ""},
		{"deleted again", "DELETE", rowAt(hub, 10), "", owner, 204, ""},
		{"read when it is gone", "GET", rowAt(hub, 10), "", owner, 404, "RoleAssignmentNotFound"},
		{"no token", "GET", rowAt(hub, 10), "", space.ID{}, 401, "InvalidAuthenticationToken"},
		{"patched", "PATCH", rowAt(hub, 10), "", owner, 405, "MethodNotAllowed"},
		{"of another type", "GET", hub + provider + "locks", "", owner, 404, "InvalidResourceType"},
	} {
		if a := ask(t, s, c.as, c.method, c.path, "", c.body); a.status != c.status || a.code != c.code {
			t.Errorf("%s: %d %s, want %d %s", c.name, a.status, a.code, c.status, c.code)
		}
	}
	if a := send(t, s, owner, "GET", rowAt(hub, 10), ""); a.code != "MissingApiVersionParameter" {
		t.Error(a)
	}
}

func TestFiltersAndPages(t *testing.T) {
	s := open(t, func(o *Options) { o.PageSize, o.Owners = 2, nil })
	s.rows.Assignments = map[space.ID]*assignment{}
	for n, scope := range []string{"/", "/providers/Microsoft.Management/managementGroups/mg", group, hub, hub + "/x/y", group + "2"} {
		who := num(2)
		if n == 2 {
			who = staff
		} else if n == 3 {
			who = owner
		}
		s.rows.Assignments[num(10+n)] = &assignment{
			ID: num(10 + n), RoleDefinitionID: provider + "roleDefinitions/" + ownerRole, PrincipalID: who, Scope: scope,
		}
	}
	for filter, want := range map[string]string{
		"":          "10 11 12 13 14",
		"atScope()": "10 11 12 13",
		"principalId eq '" + num(2).String() + "'":               "10 11 14",
		"assignedTo('" + num(2).String() + "')":                  "10 11 12 14",
		"atScope() and assignedTo('" + num(2).String() + "')":    "10 11 12",
		"atScope() and principalId eq '" + num(2).String() + "'": "UnsupportedQuery",
		"assignedTo('x')": "UnsupportedQuery",
		"something":       "UnsupportedQuery",
	} {
		got := ""
		a := ask(t, s, num(2), "GET", hub+provider+"roleAssignments", filter, "")
		for a.code == "" {
			got = strings.TrimSpace(got + " " + a.ids())
			next, more := a.body["nextLink"].(string)
			if !more {
				break
			}
			a = send(t, s, num(2), "GET", strings.Replace(next, "api-version=2022-04-01", "api-version=2018-01-01-preview", 1), "")
		}
		if got+a.code != want {
			t.Errorf("%q: %s%s, want %s", filter, got, a.code, want)
		}
	}
}

func TestDefinitionsAndDenials(t *testing.T) {
	s := open(t)
	role := group + provider + "roleDefinitions/" + num(70).String()
	custom := `{"properties":{"roleName":"Mine","permissions":[{"dataActions":["Microsoft.Devices/IotHubs/twins/read"]}]}}`
	if a := ask(t, s, owner, "PUT", role, "", custom); a.status != 201 {
		t.Error(a)
	}
	list := ask(t, s, owner, "GET", hub+provider+"roleDefinitions", "roleName eq 'mine'", "")
	shown := list.first()["properties"].(map[string]any)
	if want := "[map[actions:[] dataActions:[Microsoft.Devices/IotHubs/twins/read] notActions:[] notDataActions:[]]]"; want !=
		fmt.Sprint(shown["permissions"]) {
		t.Error(shown)
	}
	if a := ask(t, s, owner, "GET", hub+provider+"roleDefinitions", "", ""); len(a.body["value"].([]any)) != 15 {
		t.Errorf("%d definitions", len(a.body["value"].([]any)))
	}
	if a := ask(t, s, owner, "PUT", group+provider+"roleDefinitions/"+readerRole, "", custom); a.code != "InvalidRoleDefinition" {
		t.Error(a)
	}
	deny := `{"properties":{"denyAssignmentName":"no","permissions":[{"dataActions":["*"]}],"principals":[{"id":"` +
		num(2).String() + `","type":"User"}]}}`
	if a := ask(t, s, owner, "PUT", hub+provider+"denyAssignments/"+num(80).String(), "", deny); a.status != 201 {
		t.Error(a)
	}
	if a := ask(t, s, owner, "GET", hub+provider+"denyAssignments", "atScope()", ""); a.ids() != "80" {
		t.Error(a)
	}
	if a := ask(t, s, owner, "GET", hub+provider+"permissions", "", ""); fmt.Sprint(a.first()["actions"]) != "[*]" {
		t.Error(a)
	}
	if a := ask(t, s, num(3), "GET", hub+provider+"permissions", "", ""); a.status != 200 || len(a.body["value"].([]any)) != 0 {
		t.Error(a)
	}
}

func TestThrottle(t *testing.T) {
	s := open(t)
	list := hub + provider + "roleAssignments"
	for n := range burst[reads] {
		if a := ask(t, s, owner, "GET", list, "", ""); a.status != 200 ||
			a.header.Get("x-ms-ratelimit-remaining-subscription-reads") != fmt.Sprint(burst[reads]-1-n) {
			t.Fatalf("request %d: %d %v", n, a.status, a.header)
		}
	}
	if a := ask(t, s, owner, "GET", list, "", ""); a.status != 429 || a.header.Get("Retry-After") != "1" {
		t.Error(a)
	}
	if a := ask(t, s, owner, "DELETE", rowAt(hub, 1), "", ""); a.status != 204 {
		t.Error("deletes are counted apart: ", a)
	}
	if a := ask(t, s, num(2), "GET", list, "", ""); a.status != 403 {
		t.Error("each principal is counted apart: ", a)
	}
}

func TestRowsOutliveARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rows.json")
	s := open(t, func(o *Options) { o.File = file })
	ask(t, s, owner, "PUT", rowAt(hub, 10), "", assign(readerRole, num(2), ""))
	s = open(t, func(o *Options) { o.File, o.Owners = file, []Owner{{ID: num(77)}} })
	if a := ask(t, s, num(2), "GET", hub+provider+"roleAssignments", "principalId eq '"+num(2).String()+"'", ""); a.ids() != "10" {
		t.Error(a)
	}
	if a := ask(t, s, num(77), "GET", hub+provider+"roleAssignments", "", ""); a.status != 403 {
		t.Error("an owner was made of a store that was not empty")
	}
	s.o.File = filepath.Join(t.TempDir(), "gone", "rows.json")
	if a := ask(t, s, owner, "DELETE", rowAt(hub, 10), "", ""); a.status != 500 {
		t.Error(a)
	}
	if a := ask(t, s, owner, "GET", rowAt(hub, 10), "", ""); a.status != 200 {
		t.Error("a change that was not stored is in force")
	}
}

func TestWhatAzAsksForFirst(t *testing.T) {
	s := open(t, func(o *Options) { o.Subscription, o.Tenant = "s1", num(90) })
	if a := send(t, s, num(3), "GET", "/subscriptions?api-version=2019-11-01", ""); a.first()["subscriptionId"] != "s1" {
		t.Error(a)
	}
	if a := send(t, s, num(3), "GET", "/tenants?api-version=2019-11-01", ""); !strings.Contains(fmt.Sprint(a.body), num(90).String()) {
		t.Error(a)
	}
}
