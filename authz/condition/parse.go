package condition

import (
	"errors"
	"fmt"

	"github.com/gatehouse/gatehouse/authz/model"
)

// Limits of foreign input. The longest published condition has 574 bytes and
// is nested twice.
const (
	MaxLength = 8 << 10
	MaxDepth  = 32
)

// ErrRefused is what every error of this package wraps.
var ErrRefused = errors.New("condition refused")

// Error says where and why a condition was refused.
type Error struct {
	Offset int // in bytes, from 0
	Reason string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%v at offset %d: %s", ErrRefused, e.Offset, e.Reason)
}

// Unwrap makes errors.Is(err, ErrRefused) true.
func (e *Error) Unwrap() error { return ErrRefused }

// Compile turns a condition into the set of resources for which it holds. The
// empty condition always holds. Literals are compared exactly; one that names
// nothing in the universe is legal and equals nothing. A comparison with an
// attribute that the resource does not have is false.
//
//	expr  := and { "||" and }
//	and   := unary { "&&" unary }
//	unary := "!" unary | "(" expr ")" | pred
//	pred  := "Exists" attr | attr "==" str | attr "Any_of" "{" str { "," str } "}"
func Compile(text string) (Set, error) {
	if text == "" {
		return everything(), nil
	}
	if len(text) > MaxLength {
		return Set{}, &Error{MaxLength, fmt.Sprintf("%d bytes, at most %d", len(text), MaxLength)}
	}
	p := parser{text: text}
	p.next()
	set := p.or(0)
	if p.err == nil && p.tok.kind != end {
		p.fail("want && or || or the end")
	}
	if p.err != nil {
		return Set{}, p.err
	}
	return set, nil
}

// parser is a recursive descent over the text that yields sets at once: in a
// finite universe && is intersection, || union and ! complement, and no tree
// is needed in between. After the first error it only unwinds.
type parser struct {
	text string
	pos  int // after tok
	tok  token
	err  error
}

func (p *parser) fail(reason string) {
	if p.err == nil {
		p.err = &Error{p.tok.offset, reason}
	}
	p.tok = token{kind: end, offset: p.tok.offset}
	p.pos = len(p.text)
}

// accept consumes the token if it is of that kind.
func (p *parser) accept(k kind) bool {
	if p.err != nil || p.tok.kind != k {
		return false
	}
	p.next()
	return true
}

func (p *parser) or(depth int) Set {
	s := p.and(depth)
	for p.accept(orOp) {
		s = s.union(p.and(depth))
	}
	return s
}

func (p *parser) and(depth int) Set {
	s := p.unary(depth)
	for p.accept(andOp) {
		s = s.intersect(p.unary(depth))
	}
	return s
}

func (p *parser) unary(depth int) Set {
	if depth >= MaxDepth {
		p.fail(fmt.Sprintf("nested more than %d deep", MaxDepth))
		return Set{}
	}
	switch {
	case p.accept(notOp):
		return p.unary(depth + 1).complement()
	case p.accept(open):
		s := p.or(depth + 1)
		if !p.accept(shut) {
			p.fail("want )")
		}
		return s
	}
	return p.predicate()
}

func (p *parser) predicate() Set {
	if p.tok.kind == word && p.tok.text == "Exists" {
		p.next()
		a, ok := p.attribute()
		if !ok {
			return Set{}
		}
		return where(func(t model.ResourceType, c model.Category) bool { return a(t, c) != "" })
	}
	a, ok := p.attribute()
	if !ok {
		return Set{}
	}
	switch {
	case p.accept(equals):
		lit, ok := p.literal()
		if !ok {
			return Set{}
		}
		return where(func(t model.ResourceType, c model.Category) bool { return a(t, c) == lit })
	case p.tok.kind == word && p.tok.text == "Any_of":
		p.next()
		return p.anyOf(a)
	}
	p.fail("unknown operator: want == or Any_of")
	return Set{}
}

func (p *parser) anyOf(a attribute) Set {
	if !p.accept(brace) {
		p.fail("want { after Any_of")
		return Set{}
	}
	members := make(map[string]bool)
	for {
		lit, ok := p.literal()
		if !ok {
			return Set{}
		}
		members[lit] = true
		if !p.accept(comma) {
			break
		}
	}
	if !p.accept(unbrace) {
		p.fail("want , or }")
	}
	return where(func(t model.ResourceType, c model.Category) bool { return members[a(t, c)] })
}

// attribute yields the value of an attribute on a resource; "" means that the
// resource does not have it.
type attribute func(model.ResourceType, model.Category) string

func (p *parser) attribute() (attribute, bool) {
	if p.tok.kind != attr {
		p.fail("want an attribute, Exists, ! or (")
		return nil, false
	}
	name := p.tok.text
	switch name {
	case "Type":
		p.next()
		return func(t model.ResourceType, _ model.Category) string { return t.String() }, true
	case "Category":
		p.next()
		return func(_ model.ResourceType, c model.Category) string { return c.String() }, true
	}
	p.fail("unknown attribute @Resource." + name)
	return nil, false
}

// literal reads a quoted name. The empty one is refused: it is not attested,
// and it must not be mistaken for an absent attribute.
func (p *parser) literal() (string, bool) {
	if p.tok.kind != str || p.tok.text == "" {
		p.fail("want a name in single quotes")
		return "", false
	}
	text := p.tok.text
	if text == "UerDefinedFunction" { // as the published page spells it in one place
		text = model.UserDefinedFunction.String()
	}
	p.next()
	return text, true
}
