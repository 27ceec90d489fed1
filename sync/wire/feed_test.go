package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

func TestFeedMustBeInOrder(t *testing.T) {
	del := func(n int, id space.ID) string {
		return fmt.Sprintf(`{"number":%d,"type":"Device","access":"Delete","id":%q}`, n, id)
	}
	good := `{"epoch":7,"from":3,"to":5,"changes":[` + del(4, who) + `,` + del(5, other) + `]}`
	if f, err := ParseFeed([]byte(good)); err != nil || len(f.Changes) != 2 || f.To != (model.Version{Epoch: 7, Number: 5}) {
		t.Fatalf("got %+v, %v", f, err)
	}
	bad := map[string]string{
		"no epoch":       `{"from":3,"to":5}`,
		"backwards":      `{"epoch":7,"from":5,"to":3}`,
		"before from":    `{"epoch":7,"from":3,"to":5,"changes":[` + del(3, who) + `]}`,
		"after to":       `{"epoch":7,"from":3,"to":5,"changes":[` + del(6, who) + `]}`,
		"out of order":   `{"epoch":7,"from":3,"to":5,"changes":[` + del(5, who) + `,` + del(4, other) + `]}`,
		"same one twice": `{"epoch":7,"from":3,"to":5,"changes":[` + del(4, who) + `,` + del(5, who) + `]}`,
		"no object": `{"epoch":7,"from":3,"to":5,"changes":[{"number":4,"type":"Device","access":"Update",` +
			`"id":"` + who.String() + `"}]}`,
		"no id": `{"epoch":7,"from":3,"to":5,"changes":[{"number":4,"type":"Device","access":"Delete"}]}`,
		"unknown access": `{"epoch":7,"from":3,"to":5,"changes":[{"number":4,"type":"Device","access":"Read",` +
			`"id":"` + who.String() + `"}]}`,
		"negative number": `{"epoch":7,"from":-3,"to":5}`,
	}
	for name, doc := range bad {
		if _, err := ParseFeed([]byte(doc)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// An object that cannot be understood takes rights away and never leaves any.
func TestDeltaFailsClosed(t *testing.T) {
	feed := func(kind, object string) ParsedFeed {
		f, err := ParseFeed(
			fmt.Appendf(
				nil,
				`{"epoch":7,"from":3,"to":4,"changes":[{"number":4,"type":%q,"access":"Update","id":%q,"object":%s}]}`,
				kind,
				who,
				object,
			),
		)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	d, err := ToDelta(feed(TypeAssignment, `{"id":"`+who.String()+`","objectIdType":"Alien"}`), home)
	if err != nil || len(d.Problems) != 1 || !cmp.Equal(d.Policy.RemoveAssigns, []space.ID{who}) || len(d.Policy.PutAssignments) != 0 {
		t.Errorf("assignment: %+v, %v", d, err)
	}
	d, err = ToDelta(feed(TypeDevice, `{"id":"`+other.String()+`","spaceId":"`+other.String()+`"}`), home)
	if err != nil || !cmp.Equal(d.Data.RemoveDevices, []space.ID{who}) || len(d.Data.PutDevices) != 0 {
		t.Errorf("a change whose object is another one: %+v, %v", d, err)
	}
	everything := []model.AzureDeny{{ID: who, Name: "cannot be read", DataActions: []string{"*"}}}
	d, err = ToDelta(feed(TypeAzureDeny, `{"name":"`+who.String()+`"}`), home)
	if err != nil || len(d.Problems) != 1 || !cmp.Equal(d.Policy.PutAzureDenies, everything) || len(d.Policy.RemoveAzureDenies) != 0 {
		t.Errorf("a denial that cannot be read: %+v, %v", d, err)
	}
	held, why, err := HeldAzureDeny(object(t, `{"name":"`+who.String()+`","properties":{"scope":"/s","principals":7}}`))
	if err != nil || why == nil || !cmp.Equal(held, everything[0]) {
		t.Errorf("the same in a full answer: %+v, %v, %v", held, why, err)
	}
	if _, _, err = HeldAzureDeny(object(t, `{"properties":{"scope":"/s"}}`)); err == nil {
		t.Error("a denial without an id is taken for one")
	}
	if d, err = ToDelta(feed("Blimp", `{}`), home); err != nil || !d.Empty() {
		t.Errorf("unknown types are ignored: %+v, %v", d, err)
	}
}

func TestAzureItemsRoundTrip(t *testing.T) {
	a := model.AzureAssignment{ID: who, Role: role, Who: model.AzurePrincipal{ID: other, Type: model.AzureServicePrincipal},
		Scope: "/subscriptions/s/resourceGroups/g", Condition: "x", AtScopes: []string{"/subscriptions/s"}}
	r := model.AzureRole{ID: role, Name: "R", DataActions: []string{"*"}, NotDataActions: []string{"a/b"}}
	d := model.AzureDeny{ID: who, Name: "D", DataActions: []string{"*"}, NotDataActions: []string{"a/b"}, Scope: "/s",
		DoNotApplyToChildScopes: true, Principals: []model.AzurePrincipal{{Type: model.AzureEveryone}},
		ExcludePrincipals: []model.AzurePrincipal{{ID: other, Type: model.AzureGroup}}, Condition: "c"}
	check := func(in, want any, parse func(Object) (any, error)) {
		t.Helper()
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parse(object(t, string(b)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	check(FromAzureAssignment(a), a, func(o Object) (any, error) { return ParseAzureAssignment(o) })
	check(FromAzureRole(r), r, func(o Object) (any, error) { return ParseAzureRole(o) })
	check(FromAzureDeny(d), d, func(o Object) (any, error) { return ParseAzureDeny(o) })
}

// Combining several permissions into one may grant less, but never deny less.
func TestAzureClausesFoldSafely(t *testing.T) {
	clauses := `"permissions":[{"dataActions":["x/*"],"notDataActions":["x/a"]},{"dataActions":["x/a"]}]`
	r, err := ParseAzureRole(object(t, `{"name":"`+role.String()+`","properties":{`+clauses+`}}`))
	if err != nil || !cmp.Equal(r.NotDataActions, []string{"x/a"}) {
		t.Errorf("role: %+v, %v", r, err)
	}
	d, err := ParseAzureDeny(object(t, `{"name":"`+role.String()+`","properties":{"scope":"/",`+clauses+`}}`))
	if err != nil || len(d.NotDataActions) != 0 || len(d.DataActions) != 2 {
		t.Errorf("deny: %+v, %v", d, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(
		[]byte(
			`{"epoch":7,"from":3,"to":4,"changes":[{"number":4,"type":"SpaceRoleAssignment","access":"Update",` +
				`"id":"0fc863aa-eb51-4704-a312-7d635d70e000",` +
				`"object":{"id":"0fc863aa-eb51-4704-a312-7d635d70e000"}}]}`,
		),
	)
	f.Add(
		[]byte(
			`{"id":"0fc863aa-eb51-4704-a312-7d635d70e000","spaceId":"0fc863aa-eb51-4704-a312-7d635d70e000",` +
				`"authentication":{"type":"sas","symmetricKey":{"primaryKey":"MDEyMzQ1Njc4OWFiY2RlZg=="}},` +
				`"modules":[{"moduleId":"m"}]}`,
		),
	)
	f.Add([]byte(`{"roleId":"98e44ad7-28d4-4007-853b-b9968ad132d1","objectId":"@a.b","objectIdType":"DomainName","path":"/"}`))
	f.Add(
		[]byte(
			`{"name":"0fc863aa-eb51-4704-a312-7d635d70e000","properties":{"scope":"/",` +
				`"permissions":[{"dataActions":["*"]}],"principals":[{"type":"SystemDefined"}]}}`,
		),
	)
	f.Add([]byte(`{"path":"/","certificate":"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if feed, err := ParseFeed(data); err == nil {
			if feed.To.Number < feed.From.Number {
				t.Fatal("a feed that goes back")
			}
			_, _ = ToDelta(feed, home)
		}
		o, err := ParseObject(data)
		if err != nil {
			return
		}
		if a, err := ParseNewAssignment(o, home); err == nil {
			b, err := json.Marshal(FromAssignment(a))
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseObject(b)
			if err != nil {
				t.Fatalf("%s: %v", b, err)
			}
			a2, err := ParseNewAssignment(again, home)
			if err != nil || a2 != a {
				t.Fatalf("%s: %+v, %v; want %+v", b, a2, err, a)
			}
		}
		if d, err := DeviceRecord(o); err == nil && d.ID.IsZero() {
			t.Fatal("a device without an id")
		}
		_, _ = ParseRole(o)
		_, _ = SpaceRecord(o)
		_, _ = SensorRecord(o)
		_, _ = FunctionRecord(o)
		_, _ = ParseCA(o)
		_, _ = ParseUser(o)
		_, _ = ParseKeyStore(o)
		_, _ = ParseAzureAssignment(o)
		_, _ = ParseAzureRole(o)
		_, _ = ParseAzureDeny(o)
	})
}
