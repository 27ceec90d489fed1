package abac

import "strings"

// operator is a string comparison.
type operator struct {
	negated, fold, prefix bool
}

var operators = map[string]operator{
	"stringequals":                  {},
	"stringequalsignorecase":        {fold: true},
	"stringnotequals":               {negated: true},
	"stringnotequalsignorecase":     {negated: true, fold: true},
	"stringstartswith":              {prefix: true},
	"stringstartswithignorecase":    {prefix: true, fold: true},
	"stringnotstartswith":           {negated: true, prefix: true},
	"stringnotstartswithignorecase": {negated: true, prefix: true, fold: true},
}

// holds is the comparison without its negation.
func (o operator) holds(value, with string) bool {
	if o.prefix {
		if len(value) < len(with) {
			return false
		}
		value = value[:len(with)]
	}
	if o.fold {
		return strings.EqualFold(value, with)
	}
	return value == with
}

// attribute finds a value: as told, or a name in the scope.
func (q *Query) attribute(source Source, name string) (string, bool) {
	for i := range q.Attributes {
		if a := &q.Attributes[i]; a.Source == source && strings.EqualFold(a.Name, name) {
			return a.Value, true
		}
	}
	if source == Resource {
		return q.nameInScope(name)
	}
	return "", false
}

// nameInScope reads `Provider/type/subtype:name` from the ARM id: the name of
// the resource, or of a parent of it, whose type that is.
func (q *Query) nameInScope(name string) (string, bool) {
	typ, ok := strings.CutSuffix(name, ":name")
	if !ok {
		return "", false
	}
	const marker = "/providers/"
	from := strings.LastIndex(strings.ToLower(q.Scope), marker)
	if from < 0 || len(strings.ToLower(q.Scope)) != len(q.Scope) {
		return "", false
	}
	want := strings.Split(typ, "/")
	have := strings.Split(q.Scope[from+len(marker):], "/")
	if len(want) < 2 || len(have) < 2*len(want)-1 || !strings.EqualFold(have[0], want[0]) {
		return "", false
	}
	for i := 1; i < len(want); i++ {
		if !strings.EqualFold(have[2*i-1], want[i]) {
			return "", false
		}
	}
	return have[2*len(want)-2], true
}

// Glob tells whether the pattern, in lower case, matches s in any (ASCII) case,
// each `*` standing for any substring, slashes included. Time is bounded by the
// product of the lengths.
func Glob(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == c:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
