package topic

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
)

type property struct{ Key, Value string }

func TestParseBag(t *testing.T) {
	got, err := ParseBag([]property{{"kept", ""}}, "a=1&%24.ct=application%2Fjson&e=&p=a%2bb%20+")
	want := []property{{"kept", ""}, {"a", "1"}, {"$.ct", "application/json"}, {"e", ""}, {"p", "a+b +"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if enc := string(AppendBag(nil, got[1:])); enc != "a=1&$.ct=application%2Fjson&e=&p=a%2Bb%20%2B" {
		t.Errorf("encoded %q", enc)
	}
	for _, bad := range []string{
		"a", "a=1&", "&a=1", "=1", "a=1&a=2", "a=1&%61=2", "a=%", "a=%4", "a=%zz", "a=%4g", "a=1=2", "a=%00", "%00=1",
		"a=\xff", "a=%ff", "a=%c0%af", strings.Repeat("&", 100), "a=1&&b=2",
	} {
		if got, err := ParseBag([]property{{"kept", ""}}, bad); !errors.Is(err, ErrBag) || len(got) != 1 {
			t.Errorf("ParseBag(%q) = %q, %v, want refused", bad, got, err)
		}
	}
	var b strings.Builder
	for i := range MaxProperties + 1 {
		b.WriteString("&k" + strings.Repeat("x", i) + "=v")
	}
	if _, err := ParseBag[property](nil, b.String()[1:]); !errors.Is(err, ErrBag) {
		t.Error("a bag of too many properties passed")
	}
}

func FuzzBag(f *testing.F) {
	for _, s := range []string{"", "a=1", "a=1&b=2", "%24.ct=x%2Fy", "$.on=o", "a=%", "a=%4", "a&b", "a=1&a=2", "a=%C3%A4", "a=ä", "a=%c3%a4",
		"a=%41"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		bag, err := ParseBag[property](nil, s)
		// net/url is the oracle for what an escape decodes to.
		if err == nil {
			items := strings.Split(s, "&")
			if s == "" {
				items = nil
			}
			if len(items) != len(bag) {
				t.Fatalf("%q: %d items, %d properties", s, len(items), len(bag))
			}
			for i, item := range items {
				k, v, _ := strings.Cut(item, "=")
				uk, err1 := url.PathUnescape(k)
				uv, err2 := url.PathUnescape(v)
				if err1 != nil || err2 != nil || bag[i] != (property{uk, uv}) {
					t.Fatalf("%q: %q, net/url says %q %q", s, bag[i], uk, uv)
				}
			}
			enc := string(AppendBag(nil, bag))
			again, err := ParseBag[property](nil, enc)
			if err != nil || !slices.Equal(bag, again) {
				t.Fatalf("%q: encoded %q decodes to %q, %v", s, enc, again, err)
			}
			if string(AppendBag(nil, again)) != enc {
				t.Fatalf("%q: encoding is not canonical", s)
			}
			if CanonicalBag(s) != (s == enc) {
				t.Fatalf("CanonicalBag(%q) = %v, encoding is %q", s, CanonicalBag(s), enc)
			}
		}
	})
}
