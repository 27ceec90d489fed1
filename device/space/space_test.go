package space

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

const (
	g1 = "98e44ad7-28d4-4007-853b-b9968ad132d1"
	g2 = "dfaac54c-f583-4dd2-b45d-8d4bbc0aa1ac"
	g3 = "3cdfde07-bc16-40d9-bed3-66d49a8f52ae"
)

func TestParseID(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{g1, g1},
		{strings.ToUpper(g1), g1},
		{" \t" + g1 + "\n", g1},
		{"", ""}, {"{" + g1 + "}", ""}, {strings.ReplaceAll(g1, "-", ""), ""},
		{g1 + "0", ""}, {g1[:35], ""}, {"98e44ad7-28d4-4007-853b-b9968ad132dg", ""},
		{"98e44ad7+28d4-4007-853b-b9968ad132d1", ""}, {"98e44ad728-d4-4007-853b-b9968ad132d1", ""},
		{g1[:18] + " " + g1[19:], ""}, {g1[:35] + "\x00", ""},
	} {
		id, err := ParseID(c.in)
		switch {
		case c.want == "" && !errors.Is(err, ErrSyntax):
			t.Errorf("ParseID(%q) = %v, %v; want an ErrSyntax", c.in, id, err)
		case c.want != "" && (err != nil || id.String() != c.want):
			t.Errorf("ParseID(%q) = %v, %v; want %v", c.in, id, err, c.want)
		}
	}
}

func TestParsePath(t *testing.T) {
	deep := strings.Repeat("/"+g1, MaxDepth)
	for _, c := range []struct{ in, want string }{
		{"/", "/"}, {" / ", "/"},
		{"/" + g1, "/" + g1},
		{"/" + strings.ToUpper(g1) + "/" + g2, "/" + g1 + "/" + g2},
		{" / " + g1 + " / " + g2 + " ", "/" + g1 + "/" + g2},
		{deep, deep},
		{"", ""}, {g1, ""}, {"//", ""}, {"/" + g1 + "/", ""}, {"//" + g1, ""}, {"/" + g1 + "//" + g2, ""},
		{"/x", ""}, {"/+", ""}, {"/#", ""}, {"/..", ""}, {deep + "/" + g1, ""}, {"/" + strings.Repeat(" ", maxLength), ""},
	} {
		p, err := ParsePath(c.in)
		switch {
		case c.want == "" && (!errors.Is(err, ErrSyntax) || !p.IsZero()):
			t.Errorf("ParsePath(%q) = %v, %v; want an ErrSyntax and no path", c.in, p, err)
		case c.want != "" && (err != nil || p.String() != c.want):
			t.Errorf("ParsePath(%q) = %v, %v; want %v", c.in, p, err, c.want)
		}
	}
}

func TestCovers(t *testing.T) {
	a, ab, other := MustPath("/"+g1), MustPath("/"+g1+"/"+g2), MustPath("/"+g2+"/"+g1)
	for _, c := range []struct {
		p, q Path
		want bool
	}{
		{Root, Root, true}, {Root, ab, true}, {a, a, true}, {a, ab, true}, {ab, a, false}, {a, Root, false},
		{a, other, false}, {other, a, false},
		{Path{}, a, false}, {a, Path{}, false}, {Path{}, Path{}, false}, {Root, Path{}, false}, {Path{}, Root, false},
		// By whole segments: one digit less in common is nothing in common.
		{MustPath("/" + g1[:35] + "0"), a, false}, {a, MustPath("/" + g1[:35] + "0/" + g2), false},
		// A space is not the root because its id begins like the root's text.
		{MustPath("/2f" + g1[2:]), a, false}, {MustPath("/2f" + g1[2:]), Root, false},
	} {
		if got := c.p.Covers(c.q); got != c.want {
			t.Errorf("%q covers %q: %v, want %v", c.p, c.q, got, c.want)
		}
		if !c.p.IsZero() && !c.q.IsZero() && c.p.Line().Covers(c.q.Line()) != c.want {
			t.Errorf("the line of %q covers %q: %v, want %v", c.p, c.q, !c.want, c.want)
		}
	}
}

func TestWalkingPaths(t *testing.T) {
	p := Root.Join(MustID(g1)).Join(MustID(g2))
	if p != MustPath("/"+g1+"/"+g2) || p.Depth() != 2 || p.Space() != MustID(g2) {
		t.Errorf("joined to %v, depth %d, space %v", p, p.Depth(), p.Space())
	}
	up, ok := p.Parent()
	if !ok || up != MustPath("/"+g1) {
		t.Errorf("parent %v, %v", up, ok)
	}
	if up, ok = up.Parent(); !ok || !up.IsRoot() {
		t.Errorf("parent of the first level %v, %v", up, ok)
	}
	if _, ok = Root.Parent(); ok {
		t.Error("the root has a parent")
	}
	if _, ok = (Path{}).Parent(); ok {
		t.Error("no place has a parent")
	}
	if !(Path{}).Join(MustID(g1)).IsZero() {
		t.Error("below no place there is a place")
	}
	if !Root.Space().IsZero() || Root.Depth() != 0 {
		t.Error("the root is a space")
	}
}

func TestText(t *testing.T) {
	type record struct {
		ID   ID
		Path Path
	}
	for _, in := range []string{
		`{"ID":"` + g3 + `","Path":"/` + g1 + `"}`,
		`{"ID":"","Path":""}`,
		`{"ID":"` + g3 + `","Path":"/"}`,
	} {
		var r record
		if err := json.Unmarshal([]byte(in), &r); err != nil {
			t.Fatal(err)
		}
		out, err := json.Marshal(r)
		if err != nil || string(out) != in {
			t.Errorf("%s came back as %s (%v)", in, out, err)
		}
	}
	r := record{ID: MustID(g1), Path: Root}
	if json.Unmarshal([]byte(`{"ID":"x"}`), &r) == nil || json.Unmarshal([]byte(`{"Path":"x"}`), &r) == nil {
		t.Error("malformed text is accepted")
	}
	if r.ID != MustID(g1) || r.Path != Root {
		t.Error("a failed parse changed the value")
	}
}

func TestNewIDIsRandomVersion4(t *testing.T) {
	a, b := NewID(), NewID()
	if a == b || a[6]>>4 != 4 || a[8]>>6 != 2 {
		t.Errorf("%v, %v", a, b)
	}
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{g1, strings.ToUpper(g2), " " + g3, "", "{}", g1 + "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			return
		}
		if !strings.EqualFold(strings.TrimSpace(s), id.String()) {
			t.Errorf("%q was read as %v", s, id)
		}
	})
}

// Paths are in the order of their texts, whatever they hold.
func TestCompare(t *testing.T) {
	paths := []Path{{}, Root}
	for _, first := range []string{"00", "2e", "2f", "30", "ff"} {
		p := MustPath("/" + first + g1[2:])
		paths = append(paths, p, p.Join(MustID(g2)), p.Join(MustID(g3)))
	}
	for _, p := range paths {
		for _, q := range paths {
			if got, want := p.Compare(q), strings.Compare(p.String(), q.String()); got != want {
				t.Errorf("%q and %q: %d, want %d", p, q, got, want)
			}
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"/", "/" + g1, " / " + g1 + " / " + strings.ToUpper(g2), "//", "/" + g1 + "/", "/\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePath(s)
		if err != nil {
			if !p.IsZero() {
				t.Errorf("%q: error and a path", s)
			}
			return
		}
		again, err := ParsePath(p.String())
		if err != nil || again != p {
			t.Errorf("%q: canonical form %q reads as %v, %v", s, p, again, err)
		}
		for up, ok := p, true; ok; up, ok = up.Parent() {
			if !up.Covers(p) || up != p && p.Covers(up) {
				t.Errorf("%q and %q", up, p)
			}
			if parent, has := up.Parent(); has && (parent.Join(up.Space()) != up || parent.Compare(up) >= 0 || up.Compare(parent) <= 0) {
				t.Errorf("%q is not its parent and its space, and behind it", up)
			}
			d := up.Depth()
			if k := up.Key(d); k != p.Key(d) || k.Depth() != d || p.Marks()>>k.Mark()&1 == 0 {
				t.Errorf("%q has the key %x, in %q it is %x of marks %x", up, k, p, p.Key(d), p.Marks())
			}
			if up.Line().Path() != up || !up.Line().Near(p) || !p.Line().Near(up) {
				t.Errorf("%q is another path in a line", up)
			}
		}
		if p.Depth() > MaxDepth {
			t.Errorf("depth %d", p.Depth())
		}
	})
}
