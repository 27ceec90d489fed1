package management

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

func assignmentBody(role, object, kind, tenant, path string) string {
	return fmt.Sprintf(`{"roleId":%q,"objectId":%q,"objectIdType":%q,"tenantId":%s,"path":%q}`, role, object, kind, tenant, path)
}

func TestAnswersOfTheReference(t *testing.T) {
	h := start(t)
	tenant := `"` + home.String() + `"`
	good := assignmentBody(model.UserRole, num(107).String(), "UserId", tenant, floor1.String())
	duplicate := assignmentBody(model.SpaceAdministratorRole, num(102).String(), "UserId", tenant, floor1.String())
	const (
		denied = `{"message":"Authorization has been denied for this request."}`
		system = `{"error":{"code":"403.600.000.001","message":"System error."}}`
		exists = `{"error":{"code":"400.600.000.000","message":"SpaceRoleAssignment already exists."}}`
	)
	tests := []struct {
		name, who, method, path, body string
		status                        int
		answer                        string // exact when it begins with {, else a part
	}{
		{"no token", "", "GET", "/system/roles", "", 401, denied},
		{"bad token", "nobody", "GET", "/system/roles", "", 401, denied},
		{"roles", "stranger", "GET", "/system/roles", "", 200, `"accessControlPath":"/system"`},
		{"folded route", "stranger", "GET", "/System/ROLES/", "", 200, "GatewayDevice"},
		{"wrong route", "admin", "GET", "/system/rules", "", 404, ""},
		{"wrong method", "admin", "PUT", "/roleassignments", "", 404, ""},
		{"no path", "admin", "GET", "/roleassignments", "", 400, "path"},
		{"bad path", "admin", "GET", "/roleassignments?path=x", "", 400, "path"},
		{"bad traverse", "admin", "GET", "/roleassignments?path=/&traverse=Up", "", 400, "traverse"},
		{"twice", "admin", "GET", "/roleassignments?path=/&Path=/", "", 400, "twice"},
		{"filter", "admin", "GET", "/roleassignments?path=/&$filter=x", "", 400, "$filter"},
		{"post, no right", "stranger", "POST", "/roleassignments", good, 403, system},
		{"post, right elsewhere", "floor", "POST", "/roleassignments",
			assignmentBody(model.UserRole, num(107).String(), "UserId", tenant, floor2.String()), 403, system},
		{"post, right below only", "floor", "POST", "/roleassignments",
			assignmentBody(model.UserRole, num(107).String(), "UserId", tenant, building.String()), 403, system},
		{"duplicate", "admin", "POST", "/roleassignments", duplicate, 400, exists},
		{"no tenant", "admin", "POST", "/roleassignments",
			assignmentBody(model.UserRole, num(107).String(), "UserId", "null", "/"), 400, "tenantId"},
		{"tenant for a device", "admin", "POST", "/roleassignments",
			assignmentBody(model.UserRole, num(21).String(), "DeviceId", tenant, "/"), 400, "tenantId"},
		{"unknown role", "admin", "POST", "/roleassignments",
			assignmentBody("98e44ad7-28d4-0007-853b-b9968ad132d1", num(107).String(), "UserId", tenant, "/"), 404, ""},
		{"unknown space", "admin", "POST", "/roleassignments",
			assignmentBody(model.UserRole, num(107).String(), "UserId", tenant, building.Join(num(9)).String()), 404, ""},
		{"a real space under a wrong parent", "admin", "POST", "/roleassignments",
			assignmentBody(model.UserRole, num(107).String(), "UserId", tenant, floor2.Join(num(4)).String()), 404, ""},
		{"unknown device", "admin", "POST", "/roleassignments",
			assignmentBody(model.UserRole, num(99).String(), "DeviceId", "null", "/"), 404, ""},
		{"no JSON", "admin", "POST", "/roleassignments", "{", 400, ""},
		{"huge", "admin", "POST", "/roleassignments", `{"a":"` + strings.Repeat("x", 2<<20) + `"}`, 413, ""},
		{"delete unknown", "admin", "DELETE", "/roleassignments/" + num(99).String(), "", 404, ""},
		{"delete without right", "support", "DELETE", "/roleassignments/" + num(52).String(), "", 403, system},
		{"delete malformed", "admin", "DELETE", "/roleassignments/x", "", 400, ""},
		{"over-long query", "admin", "GET", "/devices?x=" + strings.Repeat("y", maxQuery), "", 404, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := *h
			h.T = t
			before := h.server.Version()
			a := h.want(tt.status, tt.who, tt.method, tt.path, tt.body)
			if strings.HasPrefix(tt.answer, "{") && a.body != tt.answer || !strings.Contains(a.body, tt.answer) {
				t.Errorf("got %s", a.body)
			}
			if h.server.Version() != before {
				t.Error("a refusal made a version")
			}
		})
	}
}

func TestCreateListDelete(t *testing.T) {
	h := start(t)
	body := assignmentBody(
		" "+model.UserRole,
		" "+num(107).String(),
		"UserId",
		`" `+home.String()+`"`,
		"/ "+num(1).String()+"/ "+num(2).String(),
	)
	a := h.want(201, "floor", "POST", "/roleassignments/", body)
	id := parse[string](h, a)
	if got := a.header.Get("Location"); got != Base+"/roleassignments/"+id || a.header.Get("Warning") != "" {
		t.Errorf("Location %q, Warning %q", got, a.header.Get("Warning"))
	}
	list := parse[[]wire.Assignment](
		h,
		h.want(200, "support", "GET", "/roleassignments?path="+floor1.String()+"&objectId="+num(107).String(), nil),
	)
	want := wire.Assignment{
		ID:           space.MustID(id),
		RoleID:       space.MustID(model.UserRole),
		ObjectID:     num(107).String(),
		ObjectIDType: "UserId",
		TenantID:     home,
		Path:         floor1,
	}
	if len(list) != 1 || list[0] != want {
		t.Errorf("got %+v", list)
	}
	if got := h.ids("stranger", "/sensors"); got != "31 32" {
		t.Errorf("the new right is in force at once: %s", got)
	}
	h.want(204, "floor", "DELETE", "/RoleAssignments/"+strings.ToUpper(id)+"/", nil)
	if got := h.ids("stranger", "/sensors"); got != "" {
		t.Errorf("and gone at once: %s", got)
	}
	h.want(404, "floor", "DELETE", "/roleassignments/"+id, nil)
}

func TestRootAssignmentWarns(t *testing.T) {
	h := start(t)
	a := h.want(201, "admin", "POST", "/roleassignments", assignmentBody(model.UserRole, "@example.com", "DomainName", "null", "/"))
	if !strings.HasPrefix(a.header.Get("Warning"), "299 ") {
		t.Errorf("Warning: %q", a.header.Get("Warning"))
	}
}

func TestAssignmentsAreFilteredByTheCallersRights(t *testing.T) {
	h := start(t)
	for _, tt := range []struct{ who, query, want string }{
		{"admin", "path=/&traverse=down", "51 52 53 54 55 56 57 58"},
		{"admin", "path=/", "51 53"},
		{"admin", "path=" + floor1.String(), "52 54 55 56 57 58"},
		{"admin", "path=" + room.String(), ""},
		{"support", "path=/&traverse=Down", "52 54 55 56 57 58"},
		{"support", "path=/", ""},
		{"support", "path=/&traverse=Down&site=" + floor1.String(), "51 52 53 54 55 56 57 58"},
		{"support", "path=/&traverse=Down&site=" + floor2.String(), ""},
		{"support", "path=/&traverse=Down&site=" + room.String(), "51 52 53 54 55 56 57 58"},
		{"stranger", "path=/&traverse=Down", ""},
		{"installer", "path=/&traverse=Down", ""},
		{"installer", "path=/&traverse=Down&personal=true", "53"},
		{"admin", "path=/&traverse=Down&objectId=" + num(106).String(), "56 57"},
		{"admin", "path=/&traverse=Down&$top=2&$skip=1&$orderby=Id", "52 53"},
		{"admin", "path=/&traverse=Down&$top=2&$orderby=Id%20desc", "58 57"},
	} {
		if got := h.ids(tt.who, "/roleassignments?"+tt.query); got != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.who, tt.query, got, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	h := start(t)
	h.want(201, "admin", "POST", "/roleassignments", assignmentBody(model.UserRole, "@Example.com", "DomainName", "null", floor2.String()))
	h.want(
		201,
		"admin",
		"POST",
		"/roleassignments",
		assignmentBody(model.KeyAdministratorRole, num(900).String(), "TenantId", "null", floor2.String()),
	)
	check := func(who string, user int, at space.Path, access, resource, more string) answer {
		return h.do(who, "GET", fmt.Sprintf("/roleassignments/check?userId=%s&path=%s&accessType=%s&resourceType=%s%s",
			num(user), url.QueryEscape(at.String()), access, resource, more), nil)
	}
	for _, tt := range []struct {
		user             int
		at               space.Path
		access, resource string
		more             string
		want             string
	}{
		{103, room, "Update", "Sensor", "", "true"},
		{103, room, "update", "sensor", "", "true"},
		{103, room, "Delete", "Sensor", "", "false"},
		{103, room, "Read", "Space", "", "true"},
		{102, floor1, "Delete", "UerDefinedFunction", "", "true"},
		{102, floor2, "Delete", "UserDefinedFunction", "", "false"},
		{102, floor1.Join(num(99)), "Read", "Space", "", "false"},
		{103, room, "Update", "Sensor", "&tenantId=" + num(900).String(), "false"},
		{700, floor2, "Read", "Sensor", "", "false"},
		{700, floor2, "Read", "Sensor", "&domain=@example.com", "true"},
		{700, floor2, "Read", "Sensor", "&domain=someone@EXAMPLE.com", "true"},
		{700, floor2, "Read", "KeyStore", "&tenantId=" + num(900).String(), "true"},
	} {
		a := check("admin", tt.user, tt.at, tt.access, tt.resource, tt.more)
		if a.status != 200 || a.body != tt.want {
			t.Errorf("%+v: got %d %s", tt, a.status, a.body)
		}
	}
	for name, a := range map[string]answer{
		"no such type":   check("admin", 103, room, "Read", "Toaster", ""),
		"no such access": check("admin", 103, room, "Execute", "Sensor", ""),
		"a set":          check("admin", 103, room, "Read,Update", "Sensor", ""),
		"bad domain":     check("admin", 103, room, "Read", "Sensor", "&domain=x"),
	} {
		if a.status != 400 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if a := check("installer", 103, room, "Update", "Sensor", ""); a.body != "true" {
		t.Error("everybody may ask about themselves:", a)
	}
	if a := check("installer", 102, room, "Update", "Sensor", ""); a.status != 403 {
		t.Error("but not about others:", a)
	}
}
