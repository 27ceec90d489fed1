package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestRefused(t *testing.T) {
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	for name, text := range map[string]string{
		"empty": "", "trailing data": `{} {}`, "trailing comma": `[1,]`, "trailing comma in object": `{"a":1,}`,
		"duplicate key": `{"a":1,"a":2}`, "duplicate key by escape": `{"a":1,"\u0061":2}`, "nested duplicate": `{"x":{"a":1,"a":1}}`,
		"escaped NUL": `{"a":"x\u0000y"}`, "raw NUL": "{\"a\":\"x\x00y\"}", "control": "\"\x01\"",
		"bad UTF-8": "\"\xff\"", "bad UTF-8 after escape": "\"\\n\xff\"", "lone surrogate": `"\ud800"`,
		"swapped surrogates": `"\udc00\ud800"`,
		"leading zero":       `01`, "plus": `+1`, "bare dot": `1.`, "hex": `0x1`, "NaN": `NaN`, "bad escape": `"\x"`, "cut": `{"a":`,
		"cut string": `"abc`, "cut escape": `"\`, "cut unicode": `"\u00`, "deep": deep, "single quotes": `{'a':1}`,
		"sign in unicode escape": `"\u+123"`,
		"byte order mark":        "\ufeff{}", "comment": `{} // x`, "missing comma": `[1 2]`, "comma first": `[,1]`,
	} {
		if _, err := Parse([]byte(text), Limits{}); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: %v, want ErrSyntax", name, err)
		}
	}
}

func TestLimits(t *testing.T) {
	if _, err := Parse([]byte(`[1,2,3]`), Limits{Values: 3}); err == nil {
		t.Error("four values pass a limit of three")
	}
	if _, err := Parse([]byte(`{"abc":1}`), Limits{Key: 2}); err == nil {
		t.Error("a key of three bytes passes a limit of two")
	}
	if _, err := Parse([]byte(`  12`), Limits{Bytes: 3}); err == nil {
		t.Error("four bytes pass a limit of three")
	}
	if _, err := Parse([]byte(`[[]]`), Limits{Depth: 1}); err == nil {
		t.Error("depth two passes a limit of one")
	}
}

func TestKeysAreExact(t *testing.T) {
	v, err := Parse([]byte(`{"Action":3,"action":255}`), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := v.Get("action").Int(); !ok || n != 255 {
		t.Errorf("action = %d, %v", n, ok)
	}
	if v.Get("ACTION").Kind() != Absent {
		t.Error("keys are folded")
	}
}

func TestIntegersAreLiteral(t *testing.T) {
	for text, want := range map[string]bool{
		`3`: true, `-1`: true, `3.0`: false, `3e0`: false, `"3"`: false, `-0`: false, `9223372036854775808`: false,
		`true`: false,
	} {
		v, err := Parse([]byte(text), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := v.Int(); ok != want {
			t.Errorf("%s: integer %v, want %v", text, ok, want)
		}
	}
}

func TestOnlyStringsAreText(t *testing.T) {
	for _, text := range []string{`5`, `true`, `null`, `["5"]`, `{"a":"5"}`} {
		if s, ok := must(t, text).Str(); ok || s != "" {
			t.Errorf("%s reads as the text %q", text, s)
		}
	}
}

// RFC 7396, appendix A.
func TestMergeOfTheRFC(t *testing.T) {
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`}, {`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`}, {`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`}, {`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`}, {`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`}, {`{"a":"b"}`, `["c"]`, `["c"]`}, {`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`}, {`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		if got := string(Merge(must(t, c[0]), must(t, c[1])).Bytes()); got != c[2] {
			t.Errorf("merge(%s, %s) = %s, want %s", c[0], c[1], got, c[2])
		}
	}
}

func must(t testing.TB, s string) Value {
	t.Helper()
	v, err := Parse([]byte(s), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// mergeOracle is RFC 7396's own pseudo code over encoding/json's values.
func mergeOracle(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for k, v := range p {
		if v == nil {
			delete(t, k)
		} else {
			t[k] = mergeOracle(t[k], v)
		}
	}
	return t
}

// decode is the other reader; its numbers stay text, as ours do.
func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

func TestJoinSaysWhenItCannot(t *testing.T) {
	for _, c := range []struct {
		first, second string
		ok            bool
	}{
		{`{"k":null}`, `{"k":{"a":1}}`, false}, {`{"k":1}`, `{"k":{"a":null}}`, false}, {`{"o":{"k":null}}`, `{"o":{"k":{}}}`, false},
		{`{"k":{"a":1}}`, `{"k":{"b":null}}`, true}, {`{"k":{"a":1}}`, `{"k":null}`, true}, {`{}`, `{"k":{"a":1}}`, true},
	} {
		if _, ok := Join(must(t, c.first), must(t, c.second)); ok != c.ok {
			t.Errorf("join(%s,%s): %v", c.first, c.second, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,2.5,"x\u00e9\ud83d\ude00",null,true]}`, `{"a":{"a":1}}`, `"\n"`, `-0.1e+5`, `{"a":1,"a":2}`,
		"\"\\u0000\"",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := Parse(text, Limits{})
		if err != nil {
			return
		}
		std, err := decode(text)
		if err != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", err)
		}
		again, err := Parse(v.Bytes(), Limits{Bytes: 8 << 20})
		if err != nil || !Equal(v, again) {
			t.Fatalf("not stable: %v", err)
		}
		if std2, err := decode(v.Bytes()); err != nil || !reflect.DeepEqual(std, std2) {
			t.Fatalf("meaning changed: %s -> %s", text, v.Bytes())
		}
	})
}

func FuzzMerge(f *testing.F) {
	f.Add(`{"k":{"a":1,"b":2}}`, `{"k":null}`, `{"k":{"a":null}}`)
	f.Add(`{"a":{"b":1}}`, `{"a":{"b":null,"c":2},"d":[null]}`, `{"a":null}`)
	f.Fuzz(func(t *testing.T, a, b, c string) {
		x, err1 := Parse([]byte(a), Limits{})
		y, err2 := Parse([]byte(b), Limits{})
		z, err3 := Parse([]byte(c), Limits{})
		if err1 != nil || err2 != nil || err3 != nil || x.Kind() != Object {
			return
		}
		sx, _ := decode([]byte(a))
		sy, _ := decode([]byte(b))
		merged := Merge(x, y)
		got, _ := decode(merged.Bytes())
		if want := mergeOracle(sx, sy); !reflect.DeepEqual(got, want) {
			t.Fatalf("merge(%s,%s) = %s, want %v", a, b, merged.Bytes(), want)
		}
		if y.Kind() == Object && z.Kind() == Object {
			if joined, ok := Join(y, z); ok {
				if one, two := Merge(x, joined), Merge(Merge(x, y), z); !Equal(one, two) {
					t.Fatalf("join: %s is not %s", one.Bytes(), two.Bytes())
				}
			}
		}
		if merged.Kind() == Object && !hasNull(merged) {
			d, changed := Diff(x, merged)
			if changed == Equal(x, merged) || !Equal(Merge(x, d), merged) {
				t.Fatalf("diff(%s,%s) = %s", a, merged.Bytes(), d.Bytes())
			}
		}
	})
}

func hasNull(v Value) bool {
	for _, m := range v.Members() {
		if m.Value.Kind() == Null || hasNull(m.Value) {
			return true
		}
	}
	return false
}
