package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
)

var (
	home   = space.MustID("7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001")
	role   = space.MustID("98e44ad7-28d4-4007-853b-b9968ad132d1")
	who    = space.MustID("0fc863aa-eb51-4704-a312-7d635d70e000")
	other  = space.MustID("a0c20ae6-e830-4c60-993d-a00ce6032724")
	place1 = space.MustPath("/000e349c-c0ea-43d4-93cf-6b00abd23a44/d84e82e6-84d5-45a4-bd9d-006a000e3bab")
)

func object(t *testing.T, doc string) Object {
	t.Helper()
	o, err := ParseObject([]byte(doc))
	if err != nil {
		t.Fatalf("ParseObject(%s): %v", doc, err)
	}
	return o
}

// The first example of the source page, blanks and all, in three spellings.
func TestNewAssignmentOfTheSourcePage(t *testing.T) {
	want := model.Assignment{
		Role: role, Path: place1,
		Who: model.Identity{Kind: model.UserID, Object: who, Tenant: other},
	}
	for _, names := range []string{
		"roleId objectId objectIdType tenantId path", "RoleId ObjectId ObjectIdType TenantId Path",
		"ROLEID objectid OBJECTidTYPE tenantID pATH",
	} {
		n := strings.Fields(names)
		doc := fmt.Sprintf(`{%q:"98e44ad7-28d4-4007-853b-b9968ad132d1",%q:" 0fc863aa-eb51-4704-a312-7d635d70e000",%q:"UserId",
			%q:" a0c20ae6-e830-4c60-993d-a00ce6032724",%q:"/ 000e349c-c0ea-43d4-93cf-6b00abd23a44/ d84e82e6-84d5-45a4-bd9d-006a000e3bab"}`,
			n[0], n[1], n[2], n[3], n[4])
		got, err := ParseNewAssignment(object(t, doc), home)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(space.Path{})); diff != "" {
			t.Error(names, diff)
		}
	}
}

func TestTenantRules(t *testing.T) {
	const given, none = `,"tenantId":"a0c20ae6-e830-4c60-993d-a00ce6032724"`, ""
	tests := []struct {
		kind, object, tenant string
		refused              string // field
		want                 space.ID
	}{
		{"UserId", who.String(), given, "", other},
		{"UserId", who.String(), none, "tenantId", space.ID{}},
		{"ServicePrincipalId", who.String(), given, "", other},
		{"ServicePrincipalId", who.String(), `,"tenantId":null`, "tenantId", space.ID{}},
		{"DomainName", "@Example.com", given, "", other},
		{"DomainName", "@Example.com", none, "", home},
		{"DomainName", "example.com", none, "objectId", space.ID{}},
		{"DomainName", "@", none, "objectId", space.ID{}},
		{"DomainName", "@a@b", none, "objectId", space.ID{}},
		{"TenantId", who.String(), none, "", space.ID{}},
		{"TenantId", who.String(), given, "tenantId", space.ID{}},
		{"DeviceId", who.String(), none, "", space.ID{}},
		{"DeviceId", who.String(), given, "tenantId", space.ID{}},
		{"deviceid", who.String(), none, "", space.ID{}},
		{"DeviceId", "00000000-0000-0000-0000-000000000000", none, "objectId", space.ID{}},
		{"DeviceId", "1836BA0C8513", none, "objectId", space.ID{}},
		{"UserDefinedFunctionId", who.String(), none, "", space.ID{}},
		{"Group", who.String(), none, "objectIdType", space.ID{}},
	}
	for _, tt := range tests {
		doc := fmt.Sprintf(`{"roleId":%q,"objectId":%q,"objectIdType":%q,"path":"/"%s}`, role, tt.object, tt.kind, tt.tenant)
		a, err := ParseNewAssignment(object(t, doc), home)
		if tt.refused != "" {
			var e *Error
			if !errors.As(err, &e) || e.Field != tt.refused || !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: got %v, want a refusal of %s", doc, err, tt.refused)
			}
			continue
		}
		if err != nil || a.Who.Tenant != tt.want {
			t.Errorf("%s: tenant %v, %v; want %v", doc, a.Who.Tenant, err, tt.want)
		}
	}
}

func TestSyncedAssignmentWithoutTenantMeansHome(t *testing.T) {
	doc := fmt.Sprintf(`{"id":%q,"roleId":%q,"objectId":%q,"objectIdType":"UserId","path":"/"}`, other, role, who)
	a, err := ParseAssignment(object(t, doc), home)
	if err != nil || a.Who.Tenant != home {
		t.Fatalf("got %v, %v", a.Who.Tenant, err)
	}
}

func TestAssignmentOmitsWhatIsNull(t *testing.T) {
	b, err := json.Marshal(
		FromAssignment(model.Assignment{ID: other, Role: role, Path: space.Root, Who: model.Identity{Kind: model.DeviceID, Object: who}}),
	)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"a0c20ae6-e830-4c60-993d-a00ce6032724","roleId":"98e44ad7-28d4-4007-853b-b9968ad132d1",` +
		`"objectId":"0fc863aa-eb51-4704-a312-7d635d70e000","objectIdType":"DeviceId","path":"/"}`
	if string(b) != want {
		t.Errorf("got %s", b)
	}
}

func TestDocumentsAreBounded(t *testing.T) {
	bad := map[string]string{
		"twice":          `{"path":"/","Path":"/x"}`,
		"twice, escaped": `{"path":"/","\u0070ath":"/x"}`,
		"trailing":       `{} {}`,
		"empty":          ``,
		"an array":       `[]`,
		"not UTF-8":      "{\"a\":\"\xff\"}",
		"deep":           strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40),
		"many members": func() string {
			var b strings.Builder
			b.WriteString(`{"a":1`)
			for i := range 300 {
				fmt.Fprintf(&b, `,"m%d":1`, i)
			}
			return b.String() + "}"
		}(),
	}
	for name, doc := range bad {
		if _, err := ParseObject([]byte(doc)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Reading and writing every published role must give back the published text.
func TestSystemRolesRoundTrip(t *testing.T) {
	data, err := os.ReadFile("../../authz/model/testdata/system-roles.json")
	if err != nil {
		t.Fatal(err)
	}
	list, err := ParseList(data)
	if err != nil {
		t.Fatal(err)
	}
	var again []Role
	for _, o := range list {
		r, err := ParseRole(o)
		if err != nil {
			t.Fatal(err)
		}
		again = append(again, FromRole(r))
	}
	var want, got any
	out, _ := json.Marshal(again)
	if err := errors.Join(json.Unmarshal(data, &want), json.Unmarshal(out, &got)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownActions(t *testing.T) {
	r, err := ParseRole(object(t, fmt.Sprintf(`{"id":%q,"name":"X","permissions":[
		{"actions":["Read","Execute"],"notActions":[]},
		{"actions":["Read","Delete"],"notActions":["*"]}]}`, role)))
	if err != nil {
		t.Fatal(err)
	}
	want := []model.Permission{{Actions: model.Read}}
	if diff := cmp.Diff(want, r.Permissions); diff != "" {
		t.Error(diff)
	}
}

func TestDeviceCarriesItsCredential(t *testing.T) {
	secret := device.Auth{Kind: device.AuthSAS, Primary: device.Secret("0123456789abcdef"), Secondary: device.Secret("fedcba9876543210")}
	var print device.Thumbprint
	print[0], print[31] = 0xab, 0x01
	for _, auth := range []device.Auth{
		{}, secret, {Kind: device.AuthSelfSigned, Thumbprints: []device.Thumbprint{print}}, {Kind: device.AuthCA},
	} {
		w := Device{ID: who, SpaceID: other, Name: "d", Status: "Active", DeviceID: "dev-1", Authentication: FromAuth(auth),
			Modules: []Module{{ModuleID: "m", Authentication: FromAuth(auth)}}}
		b, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DeviceRecord(object(t, string(b)))
		if err != nil {
			t.Fatal(err)
		}
		want := device.Device{ID: who, HubID: "dev-1", Name: "d", Space: other, Status: device.Active, Auth: auth,
			Modules: []device.Module{{ID: "m", Auth: auth}}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	if s := fmt.Sprintf("%v %+v", FromAuth(secret).SymmetricKey, *FromAuth(secret).SymmetricKey); strings.Contains(s, "MDEy") {
		t.Error("a key was printed:", s)
	}
}

func TestDeviceRefusals(t *testing.T) {
	for _, doc := range []string{
		`{"deviceId":"a/b"}`, `{"deviceId":"a+"}`, `{"deviceId":"#"}`, `{"deviceId":"\u0000"}`,
		`{"status":"Asleep"}`, `{"hardwareId":"` + strings.Repeat("x", 37) + `"}`,
		`{"authentication":{"type":"magic"}}`,
		`{"authentication":{"type":"sas","symmetricKey":{"primaryKey":"AAAA"}}}`,
		`{"authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"da39a3ee5e6b4b0d3255bfef95601890afd80709"}}}`,
		`{"modules":[{"moduleId":"m"},{"moduleId":"m"}]}`,
		`{"name":1}`, `{"typeId":"1"}`, `{"typeId":1.5}`,
	} {
		if _, err := ParseDevice(object(t, doc)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v", doc, err)
		}
	}
}
