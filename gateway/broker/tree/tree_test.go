package tree

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gatehouse/gatehouse/gateway/topic"
)

// The oracle is a plain map and topic.Match.
func TestAgainstMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lvl := rapid.SampledFrom([]string{"", "a", "b", "c", "$a", "dev1", "dev10"})
		name := rapid.Custom(func(t *rapid.T) string {
			n := strings.Join(rapid.SliceOfN(lvl, 1, 4).Draw(t, "levels"), "/")
			if n == "" {
				return "a"
			}
			return n
		})
		filterLevel := rapid.SampledFrom([]string{"", "a", "b", "$a", "dev1", "+", "+"})
		filter := rapid.Custom(func(t *rapid.T) string {
			f := strings.Join(rapid.SliceOfN(filterLevel, 1, 4).Draw(t, "levels"), "/")
			switch {
			case rapid.Bool().Draw(t, "hash") && f != "":
				return f + "/#"
			case f == "":
				return "#"
			}
			return f
		})
		var subs, names Tree[string]
		inSubs, inNames := map[string]bool{}, map[string]bool{}
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			f, n := filter.Draw(t, "filter"), name.Draw(t, "name")
			if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
				subs, names = subs.Delete(f), names.Delete(n)
				delete(inSubs, f)
				delete(inNames, n)
			} else {
				subs, names = subs.Put(f, f), names.Put(n, n)
				inSubs[f], inNames[n] = true, true
			}
		}
		n, f := name.Draw(t, "probe name"), filter.Draw(t, "probe filter")
		var got, want []string
		subs.Subscribed(n, func(v string) { got = append(got, v) })
		for v := range inSubs {
			if topic.Match(v, n) {
				want = append(want, v)
			}
		}
		same(t, "filters matching "+n, got, want)
		got, want = slices.Collect(names.Matching(f)), nil
		for v := range inNames {
			if topic.Match(f, v) {
				want = append(want, v)
			}
		}
		same(t, "names matching "+f, got, want)
		if _, ok := names.Get(n); ok != inNames[n] {
			t.Fatalf("Get(%q) = %v", n, ok)
		}
		if len(slices.Collect(names.All())) != len(inNames) {
			t.Fatal("All does not yield everything")
		}
	})
}

func same(t *rapid.T, what string, got, want []string) {
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %q, want %q", what, got, want)
	}
}

// A large level must stay correct through splits, and old versions untouched.
func TestLargeLevel(t *testing.T) {
	t.Parallel()
	var tr Tree[int]
	names := make([]string, 5000)
	for i := range names {
		names[i] = "devices/" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + string(rune(0x4e00+i))
		tr = tr.Put(names[i], i)
	}
	old := tr
	for i, n := range names {
		if v, ok := tr.Get(n); !ok || v != i {
			t.Fatalf("%q: %d %v", n, v, ok)
		}
		tr = tr.Delete(n)
	}
	if tr.root != nil {
		t.Error("an emptied tree keeps nodes")
	}
	if _, ok := old.Get(names[17]); !ok {
		t.Error("deleting changed an older version")
	}
}
