package twin

import (
	"errors"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

func TestParse(t *testing.T) {
	d, err := Parse([]byte(`{"desired":{"a":1,"$version":7,"$metadata":{"x":1}},"reported":{"$version":3}}`))
	if err != nil {
		t.Fatal(err)
	}
	if d.Desired.Version != 7 || d.Reported.Version != 3 || string(d.Desired.Value.Bytes()) != `{"a":1}` {
		t.Errorf("%+v", d)
	}
	if got, want := string(d.Body()), `{"desired":{"a":1,"$version":7},"reported":{"$version":3}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestRefused(t *testing.T) {
	for name, body := range map[string]string{
		"no object": `[]`, "half no object": `{"desired":[]}`, "version a string": `{"desired":{"$version":"7"}}`,
		"version a fraction": `{"desired":{"$version":7.0}}`, "negative version": `{"desired":{"$version":-1}}`,
		"no version":   `{"desired":{}}`,
		"two versions": `{"desired":{"$version":1,"$version":2}}`, "trailing": `{} x`,
	} {
		if _, err := Parse([]byte(body)); !errors.Is(err, ErrDocument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParsePatch([]byte(`"x"`)); !errors.Is(err, ErrDocument) {
		t.Errorf("patch that is no object: %v", err)
	}
}

func TestMergeTakesThePatchesVersion(t *testing.T) {
	p := Properties{Value: must(t, `{"a":{"b":1,"c":2}}`), Version: 4}
	q, err := ParsePatch([]byte(`{"a":{"b":null},"$version":5}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Merge(q); got.Version != 5 || string(got.Value.Bytes()) != `{"a":{"c":2}}` {
		t.Errorf("%d %s", got.Version, got.Value.Bytes())
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		ok   bool
	}{
		"fine": {`{"a":{"b":"c"}}`, true}, "dot": {`{"a.b":1}`, false}, "blank": {`{"a b":1}`, false}, "dollar": {`{"a":{"$x":1}}`, false},
		"long string": {`{"a":"` + strings.Repeat("x", 4097) + `"}`, false}, "empty key": {`{"":1}`, false},
		"large number": {`{"a":[-1.7e308,5e-324,0.1]}`, true}, "number that becomes zero": {`{"a":1e-999999}`, true},
		"number beyond a double": {`{"a":1e999999}`, false}, "negative": {`{"a":{"b":[-1e309]}}`, false},
		"many digits": {`{"a":` + strings.Repeat("9", 400) + `}`, false},
		"deep":        {strings.Repeat(`{"a":`, 12) + "1" + strings.Repeat("}", 12), false},
	} {
		if err := Check(must(t, c.body), MaxDesired); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Check(must(t, `{"a":"bc"}`), 5); err == nil {
		t.Error("the size is not checked")
	}
}

func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(`{"desired":{"a":1,"$version":7},"reported":{"$version":3}}`), []byte(`{"a":null,"$version":8}`))
	f.Fuzz(func(t *testing.T, body, patch []byte) {
		d, err := Parse(body)
		if err != nil {
			return
		}
		again, err := Parse(d.Body())
		if err != nil || !strictjson.Equal(again.Desired.Value, d.Desired.Value) || again.Desired.Version != d.Desired.Version {
			t.Fatalf("not stable: %v", err)
		}
		if p, err := ParsePatch(patch); err == nil {
			for _, m := range d.Desired.Merge(p).Value.Members() {
				if strings.HasPrefix(m.Name, "$") {
					t.Fatalf("a property is called %q", m.Name)
				}
			}
		}
	})
}

func must(t testing.TB, s string) strictjson.Value {
	t.Helper()
	v, err := strictjson.Parse([]byte(s), strictjson.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}
