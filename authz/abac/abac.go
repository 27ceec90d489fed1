// Package abac evaluates the conditions of Azure role and deny assignments
// (conditionVersion 2.0), in their common forms: ActionMatches, string
// comparisons of @Resource and @Request attributes, and logic over them.
//
// Evaluation is three-valued: what is not known (an attribute that nobody
// supplied, a function that is not supported) is Unknown, and so is the
// condition unless the rest decides it. The caller makes Unknown a refusal: it
// does not grant, and it does not lift a deny assignment. Conditions are
// immutable and safe for concurrent use.
package abac

// Truth is the outcome of a condition.
type Truth uint8

// The outcomes.
const (
	Unknown Truth = iota
	False
	True
)

// Query is what a condition is asked about.
type Query struct {
	Action string // data action
	Scope  string // ARM id of the resource
	// Attributes that are known besides the names in Scope.
	Attributes []Attribute
}

// Attribute is one value of @Resource[Name] or @Request[Name].
type Attribute struct {
	Source Source
	Name   string // compared without regard to case
	Value  string
}

// Source says whose attribute it is.
type Source uint8

// The sources.
const (
	Resource Source = iota + 1
	Request
)

// Condition is a parsed condition.
type Condition struct {
	root node
}

// Eval evaluates the condition.
func (c *Condition) Eval(q *Query) Truth { return c.root.eval(*q) }

type node interface {
	eval(q Query) Truth
}

type (
	not        struct{ of node }
	and        struct{ l, r node }
	or         struct{ l, r node }
	unknown    struct{}
	actionsOf  struct{ patterns []string }
	comparison struct {
		source Source
		name   string // lower case
		op     operator
		values []string
	}
)

func (n not) eval(q Query) Truth {
	switch n.of.eval(q) {
	case True:
		return False
	case False:
		return True
	}
	return Unknown
}

func (n and) eval(q Query) Truth {
	l, r := n.l.eval(q), n.r.eval(q)
	switch {
	case l == False || r == False:
		return False
	case l == True && r == True:
		return True
	}
	return Unknown
}

func (n or) eval(q Query) Truth {
	l, r := n.l.eval(q), n.r.eval(q)
	switch {
	case l == True || r == True:
		return True
	case l == False && r == False:
		return False
	}
	return Unknown
}

func (unknown) eval(Query) Truth { return Unknown }

func (n actionsOf) eval(q Query) Truth {
	for _, p := range n.patterns {
		if Glob(p, q.Action) {
			return True
		}
	}
	return False
}

func (n *comparison) eval(q Query) Truth {
	value, ok := q.attribute(n.source, n.name)
	if !ok {
		return Unknown
	}
	for _, v := range n.values {
		if n.op.holds(value, v) {
			return truth(!n.op.negated)
		}
	}
	return truth(n.op.negated)
}

func truth(b bool) Truth {
	if b {
		return True
	}
	return False
}
