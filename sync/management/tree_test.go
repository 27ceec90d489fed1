package management

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

func TestCollections(t *testing.T) {
	h := start(t)
	f1, f2, rm := num(2).String(), num(3).String(), num(4).String()
	for _, tt := range []struct{ who, path, want string }{
		{"admin", "/devices", "21 22 23"},
		{"admin", "/Devices/", "21 22 23"},
		{"gateway", "/devices", "21 22"},
		{"stranger", "/devices", ""},
		{"admin", "/devices?spaceId=" + f1, "21"},
		{"admin", "/devices?spaceId=" + f1 + "&traverse=down", "21 22"},
		{"admin", "/devices?spaceId=" + rm + "&traverse=Up", "21 22"},
		{"admin", "/devices?spaceId=" + rm + "&traverse=Span&minLevel=1", "21 22"},
		{"admin", "/devices?spaceId=" + f1 + "&traverse=Down&minLevel=1&minRelative=true", "22"},
		{"admin", "/devices?maxLevel=2", "21 23"},
		{"admin", "/devices?spaceId=" + num(99).String(), ""},
		{"admin", "/devices?hardwareIds=hw22;HW23", "22 23"},
		{"admin", "/devices?gateways=dev-21", "22"},
		{"admin", "/devices?names=device%2021,device%2023", "21 23"},
		{"admin", "/sensors?deviceIds=" + num(22).String(), "32"},
		{"admin", "/sensors?spaceId=" + f2, "33"},
		{"gateway", "/sensors", "31 32"},
		{"admin", "/spaces", "1 2 3 4"},
		{"admin", "/spaces?useParentSpace=true&spaceId=" + num(1).String(), "2 3"},
		{"gateway", "/spaces", ""},
		{"devices1", "/spaces", "2 4"},
		{"support", "/userdefinedfunctions", "41"},
		{"devices1", "/userdefinedfunctions", ""},
	} {
		if got := h.ids(tt.who, tt.path); got != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.who, tt.path, got, tt.want)
		}
	}
	for _, path := range []string{
		"/devices?traverse=Sideways", "/devices?spaceId=x", "/devices?$top=1001", "/devices?$top=-1",
		"/devices?$orderby=Colour", "/devices?minLevel=x",
	} {
		h.want(400, "admin", "GET", path, nil)
	}
	for _, kind := range []string{"/devices/" + num(23).String(), "/sensors/" + num(33).String(), "/spaces/" + num(3).String()} {
		h.want(200, "admin", "GET", kind, nil)
		h.want(403, "devices1", "GET", kind, nil)
	}
	h.want(404, "devices1", "GET", "/devices/"+num(99).String(), nil)
}

func TestTheLimitOfThousand(t *testing.T) {
	h := start(t)
	c := Content{}
	for i := range 1001 {
		c.Sensors = append(
			c.Sensors,
			wire.Sensor{ID: num(10000 + i), DeviceID: num(21), SpaceID: num(2), HardwareID: fmt.Sprint("many", i)},
		)
	}
	if err := h.server.Import(c); err != nil {
		t.Fatal(err)
	}
	a := h.want(400, "admin", "GET", "/sensors", nil)
	if !strings.Contains(a.body, "400.600.000.000") {
		t.Error(a.body)
	}
	h.want(400, "admin", "GET", "/sensors?$skip=3", nil)
	if got := len(parse[[]wire.Sensor](h, h.want(200, "admin", "GET", "/sensors?$top=1000&$skip=500", nil))); got != 504 {
		t.Error("got", got)
	}
	if got := len(parse[[]wire.Sensor](h, h.want(200, "admin", "GET", "/sensors?$skip=4", nil))); got != 1000 {
		t.Error("got", got)
	}
}

func TestKeysAreShownOnlyToWhoMayReadThem(t *testing.T) {
	h := start(t)
	path := "/devices/" + num(22).String() + "?includes=ConnectionString,FullPath"
	const key = "MDEyMzQ1Njc4OWFiY2RlZg=="
	for who, want := range map[string]bool{"admin": true, "site": true, "support": false, "devices1": false, "gateway": false} {
		a := h.want(200, who, "GET", path, nil)
		if strings.Contains(a.body, key) != want {
			t.Errorf("%s: %s", who, a.body)
		}
		d := parse[wire.Device](h, a)
		if d.DeviceID != "dev-22" || d.Authentication == nil || d.Authentication.Type != "sas" || len(d.SpacePaths) != 1 ||
			d.SpacePaths[0] != room ||
			d.FullName != "Building/Floor 1/Room" {
			t.Errorf("%s: %s", who, a.body)
		}
		if want && d.ConnectionString != "HostName=demo-hub.azure-devices.net;DeviceId=dev-22;SharedAccessKey="+key {
			t.Error(d.ConnectionString)
		}
	}
	a := h.want(200, "admin", "GET", "/devices/"+num(22).String(), nil)
	if strings.Contains(a.body, "authentication") || strings.Contains(a.body, "connectionString") ||
		strings.Contains(a.body, "spacePaths") {
		t.Error("only what includes= asks for:", a.body)
	}
	a = h.want(200, "support", "GET", "/userdefinedfunctions?includes=ConnectionString", nil)
	if strings.Contains(a.body, key) {
		t.Error("a function's key:", a.body)
	}
}

func TestDeviceRules(t *testing.T) {
	h := start(t)
	dev := func(n int) string { return "/devices/" + num(n).String() }
	post := func(at int, more string) string {
		return fmt.Sprintf(`{"name":"new one","hardwareId":"NEW%d","spaceId":%q%s}`, at, num(at), more)
	}
	for _, tt := range []struct {
		name, who, method, path, body string
		status                        int
	}{
		{"installer updates", "installer", "PATCH", dev(21), `{"FriendlyName":"x"}`, 204},
		{"installer must not set a status", "installer", "PATCH", dev(21), `{"status":"Disabled"}`, 403},
		{"nor credentials", "installer", "PATCH", dev(21), `{"authentication":{"type":"certificateAuthority"}}`, 403},
		{"nor modules", "installer", "PATCH", dev(21), `{"modules":[]}`, 403},
		{"nor move", "installer", "PATCH", dev(21), `{"spaceId":"` + num(4).String() + `"}`, 403},
		{"nor the hub id", "installer", "PATCH", dev(21), `{"deviceId":"other"}`, 403},
		{"administrator does", "devices1", "PATCH", dev(21), `{"status":"Disabled"}`, 204},
		{"moves within", "devices1", "PATCH", dev(21), `{"spaceId":"` + num(4).String() + `"}`, 204},
		{"not to where it may not create", "devices1", "PATCH", dev(21), `{"spaceId":"` + num(3).String() + `"}`, 403},
		{"not from where it may not update", "devices1", "PATCH", dev(23), `{"spaceId":"` + num(2).String() + `"}`, 403},
		{"gateway elsewhere: Update on both", "devices1", "PATCH", dev(22), `{"gatewayId":"dev-23"}`, 403},
		{"by any of its names", "devices1", "PATCH", dev(22), `{"gatewayId":"hw23"}`, 403},
		{"gateway, both", "installer", "PATCH", dev(22), `{"gatewayId":"dev-23"}`, 204},
		{"leaving a gateway elsewhere, too", "devices1", "PATCH", dev(22), `{"gatewayId":null}`, 403},
		{"cleared", "installer", "PATCH", dev(22), `{"gatewayId":null}`, 204},
		{"a name that nobody has yet", "installer", "PATCH", dev(23), `{"gatewayId":"NEW2"}`, 204},
		{"cannot be taken to act for it", "devices1", "POST", "/devices", post(2, ""), 403},
		{"unless both may be updated", "admin", "POST", "/devices", post(2, ""), 201},
		{"hardwareId is unique", "admin", "POST", "/devices", post(2, ""), 400},
		{"also in other case", "admin", "PATCH", dev(21), `{"hardwareId":"hw22"}`, 400},
		{"deviceId is unique", "admin", "POST", "/devices", post(3, `,"deviceId":"dev-21"`), 400},
		{"a topic in the id", "admin", "POST", "/devices", post(3, `,"deviceId":"a/b"`), 400},
		{"a type named and numbered", "admin", "POST", "/devices", post(3, `,"type":"Thermostat","typeId":7`), 400},
		{
			"in a sensor that comes along", "admin", "POST", "/devices",
			post(3, `,"sensors":[{"hardwareId":"T","dataType":"Temperature","dataTypeId":3}]`), 400,
		},
		{"no such space", "admin", "POST", "/devices", post(99, ""), 404},
		{"no right there", "devices1", "POST", "/devices", post(3, ""), 403},
		{"with sensors", "devices1", "POST", "/devices", post(4, `,"sensors":[{"hardwareId":"NS"}]`), 201},
		{"no name", "admin", "POST", "/devices", `{"hardwareId":"q","spaceId":"` + num(2).String() + `"}`, 400},
		{"delete", "devices1", "DELETE", dev(23), "", 403},
		{"delete", "gateway", "DELETE", dev(21), "", 403},
		{"delete", "devices1", "DELETE", dev(21), "", 204},
		{"gone", "admin", "GET", dev(21), "", 404},
	} {
		a := h.do(tt.who, tt.method, tt.path, tt.body)
		if a.status != tt.status {
			t.Fatalf("%s: %s %s %s %s: got %d %s, want %d", tt.name, tt.who, tt.method, tt.path, tt.body, a.status, a.body, tt.status)
		}
	}
	if got := h.ids("admin", "/sensors?deviceIds="+num(21).String()); got != "" {
		t.Error("a device takes its sensors along:", got)
	}
	if got := h.ids("admin", "/roleassignments?path=/&traverse=Down&objectId="+num(21).String()); got != "" {
		t.Error("and what was granted to it:", got)
	}
	if a := h.do("gateway", "GET", "/devices", nil); a.body != "[]" {
		t.Error("the rights of a deleted device are gone:", a)
	}
}

// What a credential is bound to is changed by nobody who may not change the
// credential: a device token of this API is bound to the hardwareId.
func TestHardwareIDIsACredential(t *testing.T) {
	h := start(t)
	dev := "/devices/" + num(21).String()
	h.want(403, "installer", "PATCH", dev, `{"hardwareId":"of another"}`)
	h.want(204, "installer", "PATCH", dev, `{"hardwareId":"HW21","friendlyName":"x"}`) // the same again
	h.want(204, "devices1", "PATCH", dev, `{"hardwareId":"renewed"}`)
}

// A certificate names one device: a gateway refuses all that share one, so
// nobody may lock a device out by naming its certificate elsewhere.
func TestThumbprintIsUnique(t *testing.T) {
	h := start(t)
	body := func(n int, at int, prints ...string) string {
		auth := fmt.Sprintf(
			`{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":%q,"secondaryThumbprint":%q}}`,
			prints[0],
			prints[1],
		)
		return fmt.Sprintf(`{"name":"with certificate","hardwareId":"C%d","spaceId":%q,"authentication":%s}`, n, num(at), auth)
	}
	a, b, c := strings.Repeat("a1", 32), strings.Repeat("b2", 32), strings.Repeat("c3", 32)
	id := parse[string](h, h.want(201, "admin", "POST", "/devices", body(1, 3, a, b)))
	h.want(400, "devices1", "POST", "/devices", body(2, 2, c, strings.ToUpper(b)))
	h.want(201, "devices1", "POST", "/devices", body(3, 2, c, c))
	h.want(204, "admin", "PATCH", "/devices/"+id, `{"friendlyName":"its own are no collision"}`)
	h.want(
		400,
		"devices1",
		"PATCH",
		"/devices/"+num(21).String(),
		`{"authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"`+a+`"}}}`,
	)
	h.want(400, "devices1", "PATCH", "/devices/"+num(21).String(),
		`{"modules":[{"moduleId":"m","authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"`+a+`"}}}]}`)
}

func TestSensorRules(t *testing.T) {
	h := start(t)
	post := func(device int, more string) string {
		return fmt.Sprintf(`{"deviceId":%q%s}`, num(device), more)
	}
	for _, tt := range []struct {
		name, who, method, path, body string
		status                        int
	}{
		{"the gateway role's own right", "gateway", "POST", "/sensors", post(22, `,"hardwareId":"G1"`), 201},
		{"not elsewhere", "gateway", "POST", "/sensors", post(23, ""), 403},
		{"not in a space elsewhere", "gateway", "POST", "/sensors", post(22, `,"spaceId":"`+num(3).String()+`"`), 403},
		{"not for a device elsewhere", "gateway", "POST", "/sensors", post(23, `,"spaceId":"`+num(2).String()+`"`), 403},
		{"unique", "gateway", "POST", "/sensors", post(22, `,"hardwareId":"g1"`), 400},
		{"no such device", "admin", "POST", "/sensors", post(99, ""), 404},
		{"no update", "gateway", "PATCH", "/sensors/" + num(32).String(), `{"port":"1"}`, 403},
		{"update", "installer", "PATCH", "/sensors/" + num(32).String(), `{"port":"1"}`, 204},
		{"move needs create", "installer", "PATCH", "/sensors/" + num(32).String(), `{"spaceId":"` + num(2).String() + `"}`, 403},
		{"other device needs create", "installer", "PATCH", "/sensors/" + num(32).String(), `{"deviceId":"` + num(21).String() + `"}`, 403},
		{"move", "devices1", "PATCH", "/sensors/" + num(32).String(), `{"spaceId":"` + num(2).String() + `"}`, 204},
		{"delete", "gateway", "DELETE", "/sensors/" + num(32).String(), "", 403},
		{"delete", "devices1", "DELETE", "/sensors/" + num(32).String(), "", 204},
	} {
		a := h.do(tt.who, tt.method, tt.path, tt.body)
		if a.status != tt.status {
			t.Fatalf("%s: got %d %s, want %d", tt.name, a.status, a.body, tt.status)
		}
	}
}

func TestMovingADeviceLeavesItsSensors(t *testing.T) {
	h := start(t)
	h.want(204, "admin", "PATCH", "/devices/"+num(21).String(), `{"spaceId":"`+num(3).String()+`"}`)
	if got := h.ids("admin", "/sensors?spaceId="+num(2).String()); got != "31" {
		t.Error("got", got)
	}
}

func TestMovingASpaceRewritesTheAssignments(t *testing.T) {
	h := start(t)
	patch := func(who string, id, parent int) answer {
		return h.do(who, "PATCH", "/spaces/"+num(id).String(), `{"parentSpaceId":"`+num(parent).String()+`"}`)
	}
	h.want(
		201,
		"admin",
		"POST",
		"/roleassignments",
		assignmentBody(model.UserRole, num(107).String(), "UserId", `"`+home.String()+`"`, room.String()),
	)
	for name, a := range map[string]answer{"below itself": patch("admin", 2, 4), "onto itself": patch("admin", 2, 2)} {
		if a.status != 400 {
			t.Error(name, a)
		}
	}
	if a := patch("floor", 4, 3); a.status != 403 {
		t.Error("Create at the new place is needed:", a)
	}
	if a := patch("admin", 2, 99); a.status != 404 {
		t.Error("no such parent:", a)
	}
	if a := patch("admin", 2, 3); a.status != 204 {
		t.Fatal(a)
	}
	moved := floor2.Join(num(2))
	if got := h.ids("admin", "/roleassignments?path="+floor1.String()+"&traverse=Down"); got != "" {
		t.Error("left behind:", got)
	}
	list := parse[[]wire.Assignment](h, h.want(200, "floor", "GET", "/roleassignments?path="+moved.String()+"&traverse=Down", nil))
	if len(list) != 7 {
		t.Errorf("got %d assignments", len(list))
	}
	if got := h.ids("stranger", "/sensors"); got != "32" {
		t.Error("the right moved along:", got)
	}
	if got := h.ids("floor", "/devices"); got != "21 22" {
		t.Error("got", got)
	}
	d := parse[wire.Device](h, h.want(200, "admin", "GET", "/devices/"+num(22).String()+"?includes=FullPath", nil))
	if d.SpacePaths[0] != moved.Join(num(4)) {
		t.Error("got", d.SpacePaths)
	}
}

func TestSpaces(t *testing.T) {
	h := start(t)
	h.want(403, "devices1", "POST", "/spaces", `{"name":"x","parentSpaceId":"`+num(2).String()+`"}`)
	h.want(403, "floor", "POST", "/spaces", `{"name":"x"}`)
	id := parse[string](h, h.want(201, "floor", "POST", "/spaces", `{"Name":"x","parentSpaceId":"`+num(4).String()+`"}`))
	w := parse[wire.Space](h, h.want(200, "floor", "GET", "/spaces/"+id+"/?includes=fullpath", nil))
	if w.SpacePaths[0] != room.Join(space.MustID(id)) {
		t.Error(w.SpacePaths)
	}
	h.want(204, "floor", "PATCH", "/spaces/"+id, `{"name":"y"}`)
	h.want(403, "devices1", "DELETE", "/spaces/"+num(2).String(), nil)
	h.want(204, "admin", "PATCH", "/sensors/"+num(33).String(), `{"spaceId":"`+num(4).String()+`"}`)
	h.want(400, "admin", "DELETE", "/spaces/"+num(2).String(), nil) // S33's device is on floor 2
	h.want(204, "admin", "DELETE", "/sensors/"+num(33).String(), nil)
	h.want(204, "admin", "DELETE", "/spaces/"+num(2).String(), nil)
	for path, want := range map[string]string{
		"/spaces": "1 3", "/devices": "23", "/sensors": "", "/roleassignments?path=/&traverse=Down": "51 53",
		"/userdefinedfunctions": "",
	} {
		if got := h.ids("admin", path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
