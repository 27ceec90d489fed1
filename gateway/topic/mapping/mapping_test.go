package mapping

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse/gatehouse/gateway/topic"
)

func fill(s string) string {
	return strings.NewReplacer("{device}", "pump-1", "{name}", "a/b", "{topic}", "whole/topic").Replace(s)
}

func TestRewrite(t *testing.T) {
	for _, c := range []struct {
		rule Rule
		name string
		want string // "": not taken
	}{
		{Rule{Filter: "site/#", From: "site/", To: "plant7/"}, "site/a/b", "plant7/a/b"},
		{Rule{Filter: "site/#", From: "site/", To: "plant7/"}, "site", "plant7"},
		{Rule{Filter: "site/#", From: "site/", To: "plant7/"}, "site/", "plant7/"},
		{Rule{Filter: "site/#", From: "site/"}, "site/a", "a"},
		{Rule{Filter: "site/#", From: "site/"}, "site", ""},
		{Rule{Filter: "site/#", From: "site/", To: "/"}, "site", ""},
		{Rule{Filter: "site/#", To: "plant7/"}, "site/a", "plant7/site/a"},
		{Rule{Filter: "site/+/x", From: "site/", To: "plant7/"}, "site/a/y", ""},
		{Rule{Filter: "site/dev-1/#", From: "site/dev-", To: "d"}, "site/dev-1/x", "d1/x"},
		{Rule{Filter: "site/a", From: "site/a", To: "b/c"}, "site/a", "b/c"},
		{Rule{Filter: "site/#", Topic: "plant7/all"}, "site/a/b", "plant7/all"},
		{Rule{Filter: "#", Topic: "plant7/{device}/{name}"}, "site/a", "plant7/pump-1/a/b"},
		{Rule{Filter: "#", To: "{device}/"}, "a/{device}", "pump-1/a/{device}"}, // a name is never a template
		{Rule{Filter: "#", To: "x/"}, "$SYS/a", ""},
	} {
		got, ok := c.rule.Rewrite(c.name, fill)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%+v of %q: %q, %v, want %q", c.rule, c.name, got, ok, c.want)
		}
	}
	if got, _ := (Rule{Filter: "#", To: "{device}/"}).Rewrite("a", nil); got != "{device}/a" {
		t.Errorf("without placeholders: %q", got)
	}
}

// TestImageHoldsEveryRewriting: whatever a rule makes of a name is inside its image.
func TestImageHoldsEveryRewriting(t *testing.T) {
	names := []string{"site", "site/", "site/a", "site/a/b", "site/a/c/d", "site/$x", "site/$x/y", "a", "a/b", "/", "/a"}
	seen := 0
	for _, rule := range []Rule{
		{Filter: "site/#", From: "site/", To: "plant7/"}, {Filter: "site/#", From: "site/"}, {Filter: "site/#", From: "site", To: "p"},
		{Filter: "site/#", From: "site/", To: "p-"}, {Filter: "site/+", From: "site/", To: "p-"}, {Filter: "site/+/b", From: "site/", To: "p/q-"},
		{Filter: "#", To: "x/"}, {Filter: "+/a", To: "{device}/"}, {Filter: "#", Topic: "{topic}"}, {Filter: "#", Topic: "u/{topic}"},
		{Filter: "#", Topic: "u-{topic}/x"}, {Filter: "#", Topic: "u/{device}-{name}/x"}, {Filter: "site/#", Topic: "fixed"}, {Filter: "#"},
		{Filter: "site/a", From: "site/a", To: "b"}, {Filter: "site/a/#", From: "site/a", To: "b"},
	} {
		for _, filter := range []string{"#", "site/#", "site/+/#", "+/a", "site/a", "site", "a/#", "/#"} {
			taken, ok := topic.Intersect(rule.Filter, filter)
			if !ok || rule.leaves(taken) {
				continue
			}
			image := rule.image(taken)
			if err := topic.DefaultLimits().Filter(image.filter); err != nil {
				t.Errorf("%+v of %q: %q is no filter: %v", rule, taken, image.filter, err)
			}
			for _, n := range names {
				if !topic.Match(taken, n) {
					continue
				}
				own := func(s string) string {
					return strings.NewReplacer("{device}", "pump-1", "{name}", "a/b", "{topic}", n).Replace(s)
				}
				got, ok := rule.Rewrite(n, own)
				if !ok {
					continue
				}
				seen++
				if !image.overlaps(got) {
					t.Errorf("%+v makes %q of %q, outside of %+v", rule, got, n, image)
				}
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d rewritings", seen)
	}
}

func TestLoopsAreJudgedByTheMappedTopics(t *testing.T) {
	site := []Source{{"site", "site/#"}}
	everything := []Source{{"all", "#"}}
	renamed := []Rule{{Filter: "site/#", From: "site/", To: "plant7/"}}
	for name, c := range map[string]struct {
		sources  []Source
		up, down []Rule
		want     []Loop
	}{
		"the same topics":     {site, nil, []Rule{{Filter: "site/cmd/#"}}, []Loop{{"site", -1, 0, "site/cmd/#"}}},
		"renamed, so apart":   {site, renamed, []Rule{{Filter: "site/#"}}, nil},
		"renamed, so a loop":  {site, renamed, []Rule{{Filter: "cmd/#"}, {Filter: "plant7/cmd/#"}}, []Loop{{"site", 0, 1, "plant7/#"}}},
		"a wider route":       {everything, renamed, []Rule{{Filter: "site/#"}}, nil},
		"the rest of a route": {everything, renamed, []Rule{{Filter: "+/cmd"}}, []Loop{{"all", 0, 0, "plant7/#"}, {"all", -1, 0, "+/cmd"}}},
		"a narrower rule": {site, []Rule{{Filter: "site/a/#", From: "site/", To: "plant7/"}},
			[]Rule{{Filter: "plant7/a/x"}, {Filter: "plant7/b/#"}},
			[]Loop{{"site", 0, 0, "plant7/a/#"}}},
		"a fixed topic": {site, []Rule{{Filter: "#", Topic: "plant7/all"}}, []Rule{{Filter: "plant7/+"}, {Filter: "site/#"}},
			[]Loop{{"site", 0, 0, "plant7/all"}}},
		"a rule never used": {site, []Rule{{Filter: "site/#", To: "x/"}, {Filter: "site/a", To: "y/"}}, []Rule{{Filter: "y/#"}}, nil},
		"stripped to nothing": {site, []Rule{{Filter: "site/#", From: "site/"}}, []Rule{{Filter: "site"}},
			[]Loop{{"site", 0, 0, "#"}, {"site", -1, 0, "site"}}},
		"a dollar within": {site, []Rule{{Filter: "site/#", From: "site/"}}, []Rule{{Filter: "$x/#"}}, []Loop{{"site", 0, 0, "#"}}},
		"no dollar":       {everything, nil, []Rule{{Filter: "$x/#"}}, nil},
	} {
		if diff := cmp.Diff(c.want, Loops(c.sources, c.up, c.down)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

func TestShadowed(t *testing.T) {
	rules := []Rule{{Filter: "site/a/#"}, {Filter: "site/#"}, {Filter: "site/b"}, {Filter: "other"}}
	for i, want := range []int{-1, -1, 1, -1} {
		if got := Shadowed(rules, i); got != want {
			t.Errorf("rule %d is shadowed by %d, want %d", i, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, c := range []struct {
		rule     Rule
		up, down string // the keys that are wrong
	}{
		{Rule{Filter: "a/#", From: "a/", To: "b/"}, "", ""},
		{Rule{Filter: "a/#", Topic: "b"}, "", "topic"},
		{Rule{Filter: "a/#", From: "b/"}, "from", "from"},
		{Rule{Filter: "a/#", From: "a/#"}, "from", "from"},
		{Rule{Filter: "a/#", To: "+/"}, "to", "to"},
		{Rule{Filter: "a/#", To: "{nobody}/"}, "to", ""},
		{Rule{Filter: "a/#", Topic: "{device"}, "topic", "topic"},
		{Rule{Filter: "a/#", Topic: "b", To: "c"}, "topic", "topic"},
		{Rule{Filter: "a/#", Topic: long}, "topic", "topic topic"},
		{Rule{Filter: "a/#", To: "$SYS/"}, "", "to"},
		{Rule{Filter: "a/#", To: "spaces"}, "", "to"},
		{Rule{Filter: "a/#", To: "spacious/"}, "", ""},
	} {
		keys := func(faults []Fault) string {
			var list []string
			for _, f := range faults {
				list = append(list, f.Key)
				if f.Message == "" || f.Hint == "" || len(f.Error()) > 300 {
					t.Errorf("an incomplete fault: %+v", f)
				}
			}
			return strings.Join(list, " ")
		}
		if up, down := keys(c.rule.CheckUp()), keys(c.rule.CheckDown()); up != c.up || down != c.down {
			t.Errorf("%.80v: up %q, down %q, want %q, %q", c.rule, up, down, c.up, c.down)
		}
	}
}
