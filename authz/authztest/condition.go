package authztest

import (
	"regexp"
	"slices"
	"strings"
)

var tokens = regexp.MustCompile(`^\s*(?:(\|\||&&|==|!|\(|\)|\{|\}|,)|@Resource\.(Type|Category)\b|(Exists|Any_of)\b|'([^']+)')`)

// evaluate reads a condition of the space model for one resource: by
// splitting at the operators that bind least, from the left, again and again.
// ok is false when it is not understood.
func evaluate(text, typ, category string) (holds, ok bool) {
	if text == "" {
		return true, true
	}
	var list []string
	for rest := text; strings.TrimSpace(rest) != ""; {
		m := tokens.FindString(rest)
		if m == "" {
			return false, false
		}
		list = append(list, strings.TrimSpace(m))
		rest = rest[len(m):]
	}
	e := evaluator{typ: typ, category: category}
	holds = e.eval(list)
	return holds && !e.bad, !e.bad
}

type evaluator struct {
	typ, category string
	bad           bool
}

func (e *evaluator) value(attribute string) string {
	switch attribute {
	case "@Resource.Type":
		return e.typ
	case "@Resource.Category":
		return e.category
	}
	e.bad = true
	return ""
}

// outside finds op where no parenthesis or brace is open.
func outside(list []string, op string) int {
	depth := 0
	for i, t := range list {
		switch t {
		case "(", "{":
			depth++
		case ")", "}":
			depth--
		case op:
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}

func (e *evaluator) eval(list []string) bool {
	if i := outside(list, "||"); i >= 0 {
		l, r := e.eval(list[:i]), e.eval(list[i+1:])
		return l || r
	}
	if i := outside(list, "&&"); i >= 0 {
		l, r := e.eval(list[:i]), e.eval(list[i+1:])
		return l && r
	}
	n := len(list)
	switch {
	case n > 1 && list[0] == "!":
		return !e.eval(list[1:])
	case n > 2 && list[0] == "(" && list[n-1] == ")":
		return e.eval(list[1 : n-1])
	case n == 2 && list[0] == "Exists":
		return e.value(list[1]) != ""
	case n == 3 && list[1] == "==":
		return quoted(e.value(list[0])) == alias(list[2])
	case n > 3 && list[1] == "Any_of" && list[2] == "{" && list[n-1] == "}":
		members := list[3 : n-1]
		e.bad = e.bad || len(members)%2 == 0
		for i, m := range members {
			if i%2 == 1 && m != "," || i%2 == 0 && m[0] != '\'' {
				e.bad = true
			}
		}
		return slices.ContainsFunc(members, func(m string) bool { return alias(m) == quoted(e.value(list[0])) })
	}
	e.bad = true
	return false
}

func quoted(s string) string { return "'" + s + "'" }

func alias(literal string) string {
	if literal == "'UerDefinedFunction'" {
		return "'UserDefinedFunction'"
	}
	return literal
}
