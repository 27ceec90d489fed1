package topic

import (
	"errors"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	l := Limits{Bytes: 64, Levels: 4}
	for _, ok := range []string{"a", "/", "a//b", "$SYS/x", "ä/ö", " ", "a/b/c/d", strings.Repeat("x", 64)} {
		if err := l.Name(ok); err != nil {
			t.Errorf("Name(%q): %v", ok, err)
		}
	}
	// Overlong and surrogate UTF-8, wildcards, NUL, depth, length (classes 1, 11).
	for _, bad := range []string{"", "a+", "+", "#", "a/#", "a\x00", "\xc0\xaf", "\xed\xa0\x80", "\xff", "a/b/c/d/e",
		strings.Repeat("x", 65)} {
		if err := l.Name(bad); !errors.Is(err, ErrName) {
			t.Errorf("Name(%q) = %v, want refused", bad, err)
		}
	}
	huge := Limits{Bytes: 1 << 20, Levels: 1 << 20}
	if err := huge.Name(strings.Repeat("x", 65536)); !errors.Is(err, ErrName) {
		t.Error("a name longer than the protocol can carry passed")
	}
	if err := huge.Name(strings.Repeat("/", 65535)); err != nil {
		t.Error("a configured bound above the protocol's is not honoured:", err)
	}
}

func TestFilters(t *testing.T) {
	l := DefaultLimits()
	for _, ok := range []string{"#", "+", "/", "+/+", "a/#", "/#", "+/#", "a/+/b", "$SYS/#", "a//+"} {
		if err := l.Filter(ok); err != nil {
			t.Errorf("Filter(%q): %v", ok, err)
		}
	}
	// a+b and a# are what docs/spec/broker-boundary.md B26 saw accepted.
	for _, bad := range []string{"", "a+b", "a#", "#/a", "a/#/b", "+a", "a+", "a/+b", "##", "++", "a\x00", "\xff",
		strings.Repeat("+/", 32000) + "+"} {
		if err := l.Filter(bad); !errors.Is(err, ErrFilter) {
			t.Errorf("Filter(%.20q) = %v, want refused", bad, err)
		}
	}
}

func TestSplitShared(t *testing.T) {
	tests := []struct {
		in, group, filter string
		bad               bool
	}{
		{in: "a/b", filter: "a/b"},
		{in: "$share/g/a/#", group: "g", filter: "a/#"},
		{in: "$SHARE/g/a", group: "g", filter: "a"},
		{in: "$ShArE/G/#", group: "G", filter: "#"},
		{in: "$share/g//", group: "g", filter: "/"},
		{in: "$shared/g/a", filter: "$shared/g/a"},
		{in: "$\u017fhare/g/a", filter: "$\u017fhare/g/a"}, // folds to s in Unicode only
		{in: "a/$share/g", filter: "a/$share/g"},
		{in: "$share", bad: true},
		{in: "$share/", bad: true},
		{in: "$share/g", bad: true},
		{in: "$share/g/", bad: true},
		{in: "$share//a", bad: true},
		{in: "$share/+/a", bad: true},
		{in: "$share/#", bad: true},
		{in: "$share/g+/a", bad: true},
		{in: "$share/g/$Share/h/a", bad: true},
		{in: "$share/g/a+", bad: true},
	}
	for _, tt := range tests {
		got, err := DefaultLimits().Subscription(tt.in)
		if (err != nil) != tt.bad {
			t.Errorf("%q: error %v, want one: %v", tt.in, err, tt.bad)
			continue
		}
		if !tt.bad && (got.Group != tt.group || got.Filter != tt.filter) {
			t.Errorf("%q = %+v, want group %q filter %q", tt.in, got, tt.group, tt.filter)
		}
	}
	a, _ := SplitShared("$SHARE/g/x")
	b, _ := SplitShared("$share/g/x")
	if a.String() != b.String() || a.String() != "$share/g/x" {
		t.Errorf("one subscription, two spellings: %q and %q", a, b)
	}
}

func TestMatch(t *testing.T) {
	yes := [][2]string{
		{"a/#", "a"}, {"a/#", "a/b/c"}, {"+/#", "a"}, {"#", "a/b"}, {"+", "a"}, {"+/+", "/a"}, {"/+", "/a"},
		{"$SYS/#", "$SYS"}, {"$SYS/+", "$SYS/x"}, {"a/+", "a/$x"}, {"a/#", "a/$x"}, {"a/", "a/"}, {"a/+", "a/"},
	}
	no := [][2]string{
		{"a/b", "a/b/c/d"}, {"#", "$SYS/x"}, {"+/x", "$SYS/x"}, {"+/#", "$SYS/x"}, {"a/#", "ab"}, {"a", "a/"}, {"a/+", "a"},
		{"+", "a/b"}, {"+", "/a"}, {"a/b", "a"}, {"A", "a"}, {"dev1/#", "dev10/x"}, {"#", "$"},
	}
	for _, p := range yes {
		if !Match(p[0], p[1]) {
			t.Errorf("Match(%q, %q) = false", p[0], p[1])
		}
	}
	for _, p := range no {
		if Match(p[0], p[1]) {
			t.Errorf("Match(%q, %q) = true", p[0], p[1])
		}
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	l := DefaultLimits()
	sink := 0
	n := testing.AllocsPerRun(100, func() {
		if Match("spaces/a/+/devices/#", "spaces/a/b/devices/c/events") {
			sink++
		}
		if Contains("spaces/#", "spaces/+/b") && Overlaps("a/+", "+/b") {
			sink++
		}
		if l.Name("devices/d/messages/events/a=b") == nil && l.Filter("a/+/#") == nil {
			sink++
		}
		if s, err := l.Subscription("$SHARE/g/a/#"); err == nil && s.Shared() && CanonicalBag("a=b&c=%2F") {
			sink++
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
	if sink == 0 {
		t.Error("nothing was exercised")
	}
}
