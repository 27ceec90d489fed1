package management

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// TestWhatIsNotStoredIsRefusedByName: a success means that the request was stored as written.
func TestWhatIsNotStoredIsRefusedByName(t *testing.T) {
	h := start(t)
	in := func(n int, rest string) string {
		return fmt.Sprintf(`{"name":"new one","spaceId":%q,%s}`, num(n), rest)
	}
	up := func(rest string) string { return fmt.Sprintf(`{"name":"new one","parentSpaceId":%q,%s}`, num(2), rest) }
	key := parse[string](h, h.want(201, "admin", "POST", "/keystores", `{"name":"house","spaceId":"`+num(2).String()+`"}`))
	h.want(201, "admin", "POST", "/keystores/"+key+"/keys", nil)
	for _, tt := range []struct{ method, path, body, field string }{
		{"POST", "/spaces", up(`"properties":[{"name":"a","value":"b"}]`), "properties"},
		{"POST", "/spaces", up(`"location":{"latitude":1}`), "location"},
		{"POST", "/spaces", up(`"TimeZoneId":3`), "timeZoneId"},
		{"POST", "/spaces", up(`"subtype":"Lobby"`), "subtype"},
		{"POST", "/spaces", up(`"id":"` + num(77).String() + `"`), "id"},
		{"POST", "/spaces", up(`"devices":[{"name":"abc"}]`), "devices"},
		{"POST", "/spaces", up(`"children":[{"name":"in","timeZoneId":3}]`), "children: timeZoneId"},
		{"POST", "/spaces", up(`"users":[{"upn":"bob@example.com","metadata":{"a":"b"}}]`), "users: metadata"},
		{"PATCH", "/spaces/" + num(4).String(), `{"description":"x","children":[{"name":"in"}]}`, "children"},
		{"PATCH", "/spaces/" + num(4).String(), `{"description":"x","colour":"red"}`, "colour"},
		{"PATCH", "/spaces/" + num(4).String(), `{"id":"` + num(3).String() + `"}`, "id"},
		{"POST", "/devices", in(2, `"hardwareId":"h1","properties":[{"name":"a"}]`), "properties"},
		{"POST", "/devices", in(2, `"hardwareId":"h1","location":{"latitude":1}`), "location"},
		{"POST", "/devices", in(2, `"hardwareId":"h1","sensors":[{"portType":"a"}]`), "sensors: portType"},
		{"PATCH", "/devices/" + num(21).String(), `{"friendlyName":"x","properties":[]}`, "properties"},
		{"PATCH", "/devices/" + num(21).String(), `{"friendlyName":"x","createIoTHubDevice":true}`, "createiothubdevice"},
		{"POST", "/sensors", fmt.Sprintf(`{"deviceId":%q,"location":"x"}`, num(21)), "location"},
		{"PATCH", "/sensors/" + num(31).String(), `{"dataSubtype":"x"}`, "dataSubtype"},
		{"PUT", "/users", fmt.Sprintf(`{"upn":"bob@example.com","spaceId":%q,"metadata":{"a":"b"}}`, num(2)), "metadata"},
		{"PATCH", "/users/" + num(45).String(), `{"lastName":"x","managerName":"y"}`, "managerName"},
		{"POST", "/keystores", in(2, `"keys":[{"value":"x"}]`), "keys"},
		{"PATCH", "/keystores/" + key, `{"name":"other","keys":[]}`, "keys"},
		{"PATCH", "/keystores/" + key + "/keys/last", `{"status":"Active","value":"x"}`, "value"},
		{"POST", "/roleassignments", fmt.Sprintf(`{"roleId":%q,"objectId":%q,"objectIdType":"DeviceId","path":"/","condition":"x"}`,
			model.UserRole, num(21)), "condition"},
	} {
		before := h.server.Version()
		a := h.want(400, "admin", tt.method, tt.path, tt.body)
		if !strings.Contains(a.body, `"`+tt.field+": ") || h.server.Version() != before {
			t.Errorf("%s %s %s: %s: want %s by name, and no change", tt.method, tt.path, tt.body, a.body, tt.field)
		}
	}
	// What is null states nothing.
	h.want(201, "admin", "POST", "/spaces", up(`"properties":null,"timeZoneId":null`))
	// The document of an answer may be sent back.
	for _, path := range []string{"/spaces/" + num(4).String(), "/devices/" + num(21).String(), "/sensors/" + num(31).String()} {
		h.want(204, "admin", "PATCH", path, h.want(200, "admin", "GET", path+"?includes=FullPath,ConnectionString", nil).body)
	}
}

// TestWhatASpaceBringsAlong is stored, each part under the right that it needs by itself.
func TestWhatASpaceBringsAlong(t *testing.T) {
	h := start(t)
	body := fmt.Sprintf(`{"name":"Wing","parentSpaceId":%q,"users":[{"upn":"bob@example.com","firstName":"Bob"}],
		"children":[{"name":"Room 1","children":[{"name":"Corner"}]},{"name":"Room 2"}]}`, num(2))
	before := h.server.Version().Number
	id := parse[string](h, h.want(201, "floor", "POST", "/spaces", body))
	if now := h.server.Version().Number; now != before+1 {
		t.Errorf("%d transactions, want one", now-before)
	}
	list := parse[[]wire.Space](h, h.want(200, "floor", "GET", "/spaces?spaceId="+id+"&traverse=Down&$orderby=name&includes=FullPath", nil))
	var names []string
	for _, s := range list {
		names = append(names, s.FullName)
	}
	want := "Building/Floor 1/Wing/Room 1/Corner, Building/Floor 1/Wing/Room 1, Building/Floor 1/Wing/Room 2, Building/Floor 1/Wing"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	people := parse[[]wire.User](h, h.want(200, "floor", "GET", "/users?spaceId="+id, nil))
	if len(people) != 1 || people[0].UPN != "bob@example.com" || people[0].FirstName != "Bob" {
		t.Fatalf("users: %+v", people)
	}
	// Nobody moves a user here whom it may not change there.
	h.want(204, "admin", "PATCH", "/users/"+people[0].ID.String(), `{"spaceId":"`+num(3).String()+`"}`)
	cursor := h.server.Version()
	h.want(403, "floor", "POST", "/spaces", body)
	if h.server.Version() != cursor {
		t.Error("a part of a refused space was stored")
	}
	h.want(400, "floor", "POST", "/spaces", fmt.Sprintf(
		`{"name":"W","parentSpaceId":%q,"children":[{"name":"R","parentSpaceId":%q}]}`, num(2), num(3)))
}

// withToken is authenticate, for a token of one that proves the domain too.
func withToken(who model.Identity, domain string) func(*http.Request) (Caller, error) {
	return func(r *http.Request) (Caller, error) {
		c, err := authenticate(r)
		if err == nil && c.Subject.Identities[0] == who {
			c.Subject.Identities = append(c.Subject.Identities, model.Identity{Kind: model.DomainName, Domain: domain, Tenant: home})
		}
		return c, err
	}
}

func TestCheckKnowsItsUsers(t *testing.T) {
	h := start(t, func(o *Options) {
		o.Authenticate = withToken(people()["stranger"], "@partner.example")
	})
	h.want(201, "admin", "POST", "/roleassignments", assignmentBody(model.UserRole, "@example.com", "DomainName", "null", floor2.String()))
	h.want(201, "admin", "POST", "/roleassignments", assignmentBody(model.UserRole, "@partner.example", "DomainName", "null", room.String()))
	h.want(201, "admin", "POST", "/roleassignments",
		assignmentBody(model.KeyAdministratorRole, home.String(), "TenantId", "null", floor2.String()))
	ask := func(user int, at space.Path, resource string) string {
		return fmt.Sprintf("/roleassignments/check?userId=%s&path=%s&accessType=Read&resourceType=%s",
			num(user), url.QueryEscape(at.String()), resource)
	}
	for _, tt := range []struct{ who, path, want string }{
		{"admin", ask(45, floor2, "Sensor"), "true"},   // ann@example.com has a record: her domain
		{"admin", ask(45, floor2, "KeyStore"), "true"}, // and her tenant
		{"admin", ask(700, floor2, "Sensor"), "false"}, // nothing is known of this one
		{"admin", ask(45, floor2, "KeyStore") + "&tenantId=" + num(900).String(), "false"},
		{"stranger", ask(107, room, "Sensor"), "true"}, // of oneself, the token's domain
		{"stranger", ask(107, floor2, "Sensor"), "false"},
	} {
		if a := h.want(200, tt.who, "GET", tt.path, nil); a.body != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.who, tt.path, a.body, tt.want)
		}
	}
	h.want(403, "stranger", "GET", ask(45, floor2, "Sensor"), nil)
}

func TestTheLastAdministratorStays(t *testing.T) {
	h := start(t)
	own := "/roleassignments/" + num(51).String()
	a := h.want(409, "admin", "DELETE", own, nil)
	if !strings.Contains(a.body, "force=true") {
		t.Error("the answer does not say how:", a.body)
	}
	other := parse[string](h, h.want(201, "admin", "POST", "/roleassignments",
		assignmentBody(model.SpaceAdministratorRole, num(107).String(), "UserId", `"`+home.String()+`"`, "/")))
	h.want(204, "admin", "DELETE", "/roleassignments/"+num(52).String(), nil) // of a floor: not at /
	h.want(204, "admin", "DELETE", own, nil)
	h.want(409, "stranger", "DELETE", "/roleassignments/"+other, nil)
	h.want(204, "stranger", "DELETE", "/roleassignments/"+other+"?force=true", nil)
}

// TestADeviceGetsItsOwnConnectionString, and nobody else's by that.
func TestADeviceGetsItsOwnConnectionString(t *testing.T) {
	h := start(t)
	list := parse[[]wire.Device](h, h.want(200, "gateway", "GET", "/devices?includes=ConnectionString", nil))
	for _, d := range list {
		own := d.ID == num(21)
		if (d.ConnectionString != "") != own || (d.Authentication.SymmetricKey != nil) != own {
			t.Errorf("device %s: %q", d.ID, d.ConnectionString)
		}
	}
	if len(list) != 2 {
		t.Errorf("%d devices", len(list))
	}
}

func TestAServicePrincipalAsUser(t *testing.T) {
	h := start(t, func(o *Options) { o.ServicePrincipal = func(id space.ID) bool { return id == num(201) } })
	tenant := `"` + home.String() + `"`
	h.want(201, "admin", "POST", "/roleassignments",
		assignmentBody(model.UserRole, num(200).String(), "ServicePrincipalId", tenant, floor1.String()))
	for who, warned := range map[int]bool{200: true, 201: true, 202: false} {
		a := h.want(201, "admin", "POST", "/roleassignments", assignmentBody(model.UserRole, num(who).String(), "UserId", tenant, "/"))
		all := strings.Join(a.header.Values("Warning"), "\n")
		if strings.Contains(all, "ServicePrincipalId") != warned || !strings.Contains(all, "discouraged") {
			t.Errorf("%d: %q", who, all)
		}
	}
}
