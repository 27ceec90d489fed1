package topic

import (
	"strings"
	"testing"
)

// naiveMatch is clause 4.7 read aloud: levels as lists, recursion, no thrift.
func naiveMatch(filter, name []string, first bool) bool {
	if len(filter) == 0 {
		return len(name) == 0
	}
	if filter[0] == "#" {
		return len(name) == 0 || !first || !strings.HasPrefix(name[0], "$")
	}
	if len(name) == 0 {
		return false
	}
	ok := filter[0] == name[0]
	if filter[0] == "+" {
		ok = !first || !strings.HasPrefix(name[0], "$")
	}
	return ok && naiveMatch(filter[1:], name[1:], false)
}

func naive(filter, name string) bool {
	return naiveMatch(strings.Split(filter, "/"), strings.Split(name, "/"), true)
}

var generous = Limits{Bytes: 65535, Levels: 65535}

func FuzzMatch(f *testing.F) {
	for _, s := range [][2]string{{"a/#", "a"}, {"+/#", "a"}, {"#", "$SYS/x"}, {"a/b", "a/b/c/d"}, {"+/+", "/a"}, {"/", "/"}, {"+", ""}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, filter, name string) {
		got := Match(filter, name) // never panics, whatever it is given
		if generous.Filter(filter) != nil || generous.Name(name) != nil {
			return
		}
		if want := naive(filter, name); got != want {
			t.Fatalf("Match(%q, %q) = %v, want %v", filter, name, got, want)
		}
	})
}

// names is every name that can tell the two filters apart: their own literals,
// one fresh literal, one fresh hidden literal, and up to one level more.
func names(filters ...string) []string {
	fresh := strings.Repeat("x", 40) // longer than any filter under test
	alphabet, depth := map[string]bool{fresh: true, "$" + fresh: true}, 0
	for _, f := range filters {
		levels := strings.Split(f, "/")
		depth = max(depth, len(levels)+1)
		for _, l := range levels {
			if l != "+" && l != "#" {
				alphabet[l] = true
			}
		}
	}
	var all []string
	var grow func(prefix string, left int)
	grow = func(prefix string, left int) {
		for l := range alphabet {
			all = append(all, prefix+l)
			if left > 1 {
				grow(prefix+l+"/", left-1)
			}
		}
	}
	grow("", depth)
	return all
}

func FuzzContainsOverlaps(f *testing.F) {
	for _, s := range [][2]string{
		{"#", "+/#"}, {"+/#", "#"}, {"#", "$SYS/#"}, {"a/#", "a/+/#"}, {"a/+/#", "a/#"}, {"+/b", "a/+"}, {"+", "$a"},
		{"$SYS/+", "+/x"}, {"/+", "+/"}, {"a/+", "a/$x"}, {"#", "#"}, {"a", "a/#"}, {"+/+", "+/#"}, {"//", "+/+/+"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		contains, overlaps := Contains(a, b), Overlaps(a, b)
		small := Limits{Bytes: 32, Levels: 3}
		if small.Filter(a) != nil || small.Filter(b) != nil {
			return
		}
		wantContains, wantOverlaps := true, false
		for _, n := range names(a, b) {
			inA, inB := naive(a, n), naive(b, n)
			wantContains = wantContains && (inA || !inB)
			wantOverlaps = wantOverlaps || inA && inB
		}
		if contains != wantContains {
			t.Fatalf("Contains(%q, %q) = %v, want %v", a, b, contains, wantContains)
		}
		if overlaps != wantOverlaps {
			t.Fatalf("Overlaps(%q, %q) = %v, want %v", a, b, overlaps, wantOverlaps)
		}
	})
}

// smallFilters is every filter of one or two of these levels; some are malformed.
func smallFilters() []string {
	levels := []string{"a", "$a", "+", ""}
	var filters []string
	for _, x := range append(levels, "#") {
		filters = append(filters, x)
		for _, y := range append(levels, "#") {
			filters = append(filters, x+"/"+y)
		}
	}
	return filters
}

// TestIntersectExhaustively holds Intersect to the meaning of its name, over every pair of small filters.
func TestIntersectExhaustively(t *testing.T) {
	filters := append(smallFilters(), "a/b/#", "a/+/c", "+/b/c", "a/#", "+/+/#")
	checked := 0
	for _, a := range filters {
		for _, b := range filters {
			if generous.Filter(a) != nil || generous.Filter(b) != nil {
				continue
			}
			both, ok := Intersect(a, b)
			if ok && generous.Filter(both) != nil {
				t.Errorf("Intersect(%q, %q) = %q, which is no filter", a, b, both)
			}
			for _, n := range names(a, b) {
				if n == "" {
					continue // no topic name
				}
				if got, want := ok && naive(both, n), naive(a, n) && naive(b, n); got != want {
					t.Errorf("Intersect(%q, %q) = %q, %v: for %q %v, want %v", a, b, both, ok, n, got, want)
				}
			}
			checked++
		}
	}
	if checked < 400 {
		t.Errorf("only %d pairs", checked)
	}
}

// TestContainsExhaustively runs the same oracle over every pair of small filters.
func TestContainsExhaustively(t *testing.T) {
	filters := smallFilters()
	checked := 0
	for _, a := range filters {
		for _, b := range filters {
			if generous.Filter(a) != nil || generous.Filter(b) != nil {
				continue
			}
			wantContains, wantOverlaps := true, false
			for _, n := range names(a, b) {
				inA, inB := naive(a, n), naive(b, n)
				wantContains = wantContains && (inA || !inB)
				wantOverlaps = wantOverlaps || inA && inB
			}
			if got := Contains(a, b); got != wantContains {
				t.Errorf("Contains(%q, %q) = %v, want %v", a, b, got, wantContains)
			}
			if got := Overlaps(a, b); got != wantOverlaps {
				t.Errorf("Overlaps(%q, %q) = %v, want %v", a, b, got, wantOverlaps)
			}
			checked++
		}
	}
	if checked < 400 {
		t.Errorf("only %d pairs", checked)
	}
}

func FuzzShared(f *testing.F) {
	for _, s := range []string{"$share/g/a", "$SHARE/g/#", "$share//x", "$share/+/x", "$share/g", "a/b", "$share/g/$share/h/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sub, err := SplitShared(s)
		if err != nil {
			if !isShare(strings.SplitN(s, "/", 2)[0]) {
				t.Fatalf("%q refused though it is not shared: %v", s, err)
			}
			return
		}
		if again, err := SplitShared(sub.String()); err != nil || again != sub {
			t.Fatalf("%q: %+v is read back as %+v, %v", s, sub, again, err)
		}
		if inner, _, _ := Cut(sub.Filter); isShare(inner) {
			t.Fatalf("%q: a share is left in %q", s, sub.Filter)
		}
		if sub.Shared() && strings.ContainsAny(sub.Group, "+#/") {
			t.Fatalf("%q: group %q", s, sub.Group)
		}
	})
}
