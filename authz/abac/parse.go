package abac

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of foreign input.
const (
	MaxLength = 8 << 10 // ARM's own limit of a condition
	MaxDepth  = 32
)

// ErrRefused is what every error of Parse wraps.
var ErrRefused = errors.New("condition not understood")

// Parse reads a condition. Keywords are read in any case. A function that is
// not supported, where its form is understood, parses and is Unknown.
//
//	expr := and { ("OR" | "||") and }
//	and  := unary { ("AND" | "&&") unary }
//	unary := ("NOT" | "!") unary | "(" expr ")" | call | attr op value
//	call := name "{" str { "," str } "}"
//	attr := "@" source "[" text "]"
//	value := str | "{" str { "," str } "}"    a set only after ForAnyOfAnyValues:
func Parse(text string) (*Condition, error) {
	if len(text) > MaxLength {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrRefused, len(text), MaxLength)
	}
	p := parser{text: text}
	root := p.or(0)
	if p.skip(); p.err == nil && p.pos < len(p.text) {
		p.fail("want AND, OR or the end")
	}
	if p.err != nil {
		return nil, p.err
	}
	return &Condition{root}, nil
}

type parser struct {
	text string
	pos  int
	err  error
}

func (p *parser) fail(reason string) node {
	if p.err == nil {
		p.err = fmt.Errorf("%w at offset %d: %s", ErrRefused, p.pos, reason)
	}
	p.pos = len(p.text)
	return unknown{}
}

func (p *parser) skip() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

// symbol consumes s if it is next.
func (p *parser) symbol(s string) bool {
	p.skip()
	if !strings.HasPrefix(p.text[p.pos:], s) {
		return false
	}
	p.pos += len(s)
	return true
}

// word returns the word that is next, without consuming it.
func (p *parser) word() string {
	p.skip()
	end := p.pos
	for end < len(p.text) {
		c := p.text[end]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != ':' {
			break
		}
		end++
	}
	return p.text[p.pos:end]
}

func (p *parser) keyword(k string) bool {
	w := p.word()
	if !strings.EqualFold(w, k) {
		return false
	}
	p.pos += len(w)
	return true
}

func (p *parser) or(depth int) node {
	n := p.and(depth)
	for p.err == nil && (p.symbol("||") || p.keyword("OR")) {
		n = or{n, p.and(depth)}
	}
	return n
}

func (p *parser) and(depth int) node {
	n := p.unary(depth)
	for p.err == nil && (p.symbol("&&") || p.keyword("AND")) {
		n = and{n, p.unary(depth)}
	}
	return n
}

func (p *parser) unary(depth int) node {
	if depth >= MaxDepth {
		return p.fail(fmt.Sprintf("nested more than %d deep", MaxDepth))
	}
	switch {
	case p.symbol("!") || p.keyword("NOT"):
		return not{p.unary(depth + 1)}
	case p.symbol("("):
		n := p.or(depth + 1)
		if p.err == nil && !p.symbol(")") {
			return p.fail("want )")
		}
		return n
	case p.symbol("@"):
		return p.comparison()
	}
	w := p.word()
	if w == "" {
		return p.fail("want a condition")
	}
	p.pos += len(w)
	if strings.EqualFold(w, "Exists") {
		if !p.symbol("@") {
			return p.fail("want an attribute after Exists")
		}
		if _, _, ok := p.attribute(); !ok {
			return unknown{}
		}
		return unknown{} // the attribute may be absent, or only not supplied
	}
	values, ok := p.set()
	if !ok {
		return unknown{}
	}
	if strings.EqualFold(w, "ActionMatches") {
		for i := range values {
			values[i] = strings.ToLower(values[i])
		}
		return actionsOf{values}
	}
	return unknown{}
}

func (p *parser) attribute() (source, name string, ok bool) {
	source = p.word()
	p.pos += len(source)
	end := strings.IndexByte(p.text[p.pos:], ']')
	if source == "" || !strings.HasPrefix(p.text[p.pos:], "[") || end < 2 {
		p.fail("want @Source[attribute]")
		return "", "", false
	}
	name = strings.ToLower(strings.TrimSpace(p.text[p.pos+1 : p.pos+end]))
	p.pos += end + 1
	return source, name, true
}

func (p *parser) comparison() node {
	source, name, ok := p.attribute()
	if !ok {
		return unknown{}
	}
	w := p.word()
	p.pos += len(w)
	opName := strings.ToLower(w)
	opName, anyOf := strings.CutPrefix(opName, "foranyofanyvalues:")
	var values []string
	if p.skip(); strings.HasPrefix(p.text[p.pos:], "{") {
		if values, ok = p.set(); !ok {
			return unknown{}
		}
	} else if v, ok := p.literal(); ok {
		values = []string{v}
	} else {
		return unknown{}
	}
	op, known := operators[opName]
	var from Source
	switch {
	case strings.EqualFold(source, "Resource"):
		from = Resource
	case strings.EqualFold(source, "Request"):
		from = Request
	default:
		return unknown{}
	}
	// A set needs a quantifier. The quantifiers differ in meaning under
	// negation; only "any of, equal" and "any of, begins with" are understood.
	if !known || anyOf && op.negated || !anyOf && len(values) != 1 {
		return unknown{}
	}
	return &comparison{from, name, op, values}
}

// set reads { 'a', 'b' }.
func (p *parser) set() ([]string, bool) {
	if !p.symbol("{") {
		p.fail("want {")
		return nil, false
	}
	var values []string
	for {
		v, ok := p.literal()
		if !ok {
			return nil, false
		}
		values = append(values, v)
		if p.symbol("}") {
			return values, true
		}
		if !p.symbol(",") {
			p.fail("want , or }")
			return nil, false
		}
	}
}

// literal reads a quoted string. A backslash would escape: that is refused
// rather than guessed at.
func (p *parser) literal() (string, bool) {
	if !p.symbol("'") {
		p.fail("want a string in single quotes")
		return "", false
	}
	end := strings.IndexByte(p.text[p.pos:], '\'')
	if end < 0 || strings.IndexByte(p.text[p.pos:p.pos+end], '\\') >= 0 {
		p.fail("a string that is not closed, or has an escape")
		return "", false
	}
	v := p.text[p.pos : p.pos+end]
	p.pos += end
	p.pos++
	return v, true
}
