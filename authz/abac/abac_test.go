package abac_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz/abac"
)

const hub = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/Hub1"

func TestEval(t *testing.T) {
	q := abac.Query{Action: "Microsoft.Devices/IotHubs/twins/write", Scope: hub, Attributes: []abac.Attribute{
		{Source: abac.Request, Name: "my:Attr", Value: "blue"},
		{Source: abac.Resource, Name: "my:attr", Value: "red"},
	}}
	for text, want := range map[string]abac.Truth{
		"ActionMatches{'Microsoft.Devices/IotHubs/twins/write'}":                              abac.True,
		"ActionMatches {'microsoft.devices/*/WRITE'}":                                         abac.True,
		"ActionMatches{'x', 'Microsoft.*'}":                                                   abac.True,
		"ActionMatches{'x'}":                                                                  abac.False,
		"NOT ActionMatches{'x'}":                                                              abac.True,
		"!ActionMatches{'*'}":                                                                 abac.False,
		"!(ActionMatches{'*'} AND NOT SubOperationMatches{'Blob.List'})":                      abac.Unknown,
		"!(ActionMatches{'x'} AND NOT SubOperationMatches{'Blob.List'})":                      abac.True,
		"@Request[my:attr] StringEquals 'blue'":                                               abac.True,
		"@Request[MY:ATTR] stringequals 'blue'":                                               abac.True,
		"@Request[my:attr] StringEquals 'Blue'":                                               abac.False,
		"@Request[my:attr] StringEqualsIgnoreCase 'BLUE'":                                     abac.True,
		"@Request[my:attr] StringNotEquals 'blue'":                                            abac.False,
		"@Request[my:attr] StringStartsWith 'bl'":                                             abac.True,
		"@Request[my:attr] StringStartsWith 'blueish'":                                        abac.False,
		"@Request[my:attr] StringNotStartsWith 'red'":                                         abac.True,
		"@Resource[my:attr] StringEquals 'red'":                                               abac.True,
		"@Resource[my:attr] ForAnyOfAnyValues:StringEquals {'green', 'red'}":                  abac.True,
		"@Resource[my:attr] ForAnyOfAnyValues:StringEquals {'green'}":                         abac.False,
		"@Resource[my:attr] ForAllOfAnyValues:StringEquals {'red'}":                           abac.Unknown,
		"@Resource[my:attr] ForAnyOfAnyValues:StringNotEquals {'red'}":                        abac.Unknown,
		"@Resource[my:attr] StringEquals {'red', 'green'}":                                    abac.Unknown,
		"@Resource[my:attr] StringLike 'r*'":                                                  abac.Unknown,
		"@Request[other] StringEquals 'x'":                                                    abac.Unknown,
		"NOT @Request[other] StringEquals 'x'":                                                abac.Unknown,
		"@Principal[a] StringEquals 'x' OR ActionMatches{'*'}":                                abac.True,
		"@Principal[a] StringEquals 'x' AND ActionMatches{'x'}":                               abac.False,
		"@Environment[UtcNow] StringEquals 'x'":                                               abac.Unknown,
		"Exists @Request[my:attr]":                                                            abac.Unknown,
		"@Resource[Microsoft.Devices/IotHubs:name] StringEquals 'Hub1'":                       abac.True,
		"@Resource[Microsoft.Devices/IotHubs:Name] StringEqualsIgnoreCase 'hub1'":             abac.True,
		"@Resource[Microsoft.Devices/IotHubs/x:name] StringEquals 'Hub1'":                     abac.Unknown,
		"@Resource[Microsoft.Other/IotHubs:name] StringEquals 'Hub1'":                         abac.Unknown,
		"ActionMatches{'x'} OR ActionMatches{'*'} AND ActionMatches{'x'}":                     abac.False,
		"(ActionMatches{'x'} || ActionMatches{'*'}) && ActionMatches{'*write'}":               abac.True,
		"(\n ( !(ActionMatches{'x'}) )\n OR\n ( @Resource[my:attr] StringEquals 'nope' ) \n)": abac.True,
	} {
		c, err := abac.Parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := c.Eval(&q); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "please", "ActionMatches", "ActionMatches{", "ActionMatches{}", "ActionMatches{'x'",
		"ActionMatches{'x',}", "ActionMatches('x')",
		"@Resource", "@Resource[", "@Resource[]", "@[x] StringEquals 'x'", "@Resource[x]", "@Resource[x] StringEquals",
		"@Resource[x] StringEquals x",
		"@Resource[x] StringEquals 'x", `@Resource[x] StringEquals 'a\'b'`, "@Resource[x] NumericEquals 1", "Exists", "Exists x",
		"ActionMatches{'x'} ActionMatches{'x'}", "ActionMatches{'x'} AND", "OR ActionMatches{'x'}",
		"(ActionMatches{'x'}", "ActionMatches{'x'})", "NOT",
		strings.Repeat("(", abac.MaxDepth+1) + "ActionMatches{'x'}" + strings.Repeat(")", abac.MaxDepth+1),
		strings.Repeat("!", abac.MaxLength+1),
	} {
		if _, err := abac.Parse(text); !errors.Is(err, abac.ErrRefused) {
			t.Errorf("%.60q: got %v", text, err)
		}
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "a/b", true}, {"a*c", "A/b/C", true}, {"a*c", "acd", false},
		{"*/read", "x/y/READ", true}, {"*/read", "read", false}, {"a*b*c", "a.b.b.c", true}, {"a**c", "ac", true}, {"abc", "ab", false},
		{strings.Repeat("*a", 50), strings.Repeat("a", 40), false},
	} {
		if got := abac.Glob(c.pattern, c.s); got != c.want {
			t.Errorf("%q on %q: got %v", c.pattern, c.s, got)
		}
	}
}

// FuzzParse: what parses can be evaluated, and its negation is its opposite.
func FuzzParse(f *testing.F) {
	f.Add("!(ActionMatches{'a*'} AND NOT SubOperationMatches{'b'}) OR @Resource[c/d:name] StringEquals 'e'", "a", hub)
	f.Add("@Request[x] ForAnyOfAnyValues:StringStartsWith {'a', 'b'}", "", "/")
	f.Fuzz(func(t *testing.T, text, action, scope string) {
		q := abac.Query{Action: action, Scope: scope, Attributes: []abac.Attribute{{Source: abac.Request, Name: "x", Value: scope}}}
		c, err := abac.Parse(text)
		if err != nil {
			if !errors.Is(err, abac.ErrRefused) {
				t.Fatal(err)
			}
			return
		}
		got := c.Eval(&q)
		neg, err := abac.Parse("NOT (" + text + ")")
		if err != nil {
			return // at a limit
		}
		opposite := map[abac.Truth]abac.Truth{abac.True: abac.False, abac.False: abac.True, abac.Unknown: abac.Unknown}
		if n := neg.Eval(&q); n != opposite[got] {
			t.Fatalf("%q is %d, its negation %d", text, got, n)
		}
	})
}
