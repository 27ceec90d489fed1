package strictjson

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrSyntax is what every parse error wraps.
var ErrSyntax = errors.New("not strict JSON")

// Error says where and why a text was refused. It never quotes the text:
// documents carry credentials.
type Error struct {
	Offset int
	Reason string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%v: %s at byte %d", ErrSyntax, e.Reason, e.Offset)
}

// Unwrap makes errors.Is(err, ErrSyntax) true.
func (e *Error) Unwrap() error { return ErrSyntax }

// Limits bound what is read. Zero fields mean the value of DefaultLimits.
type Limits struct {
	Bytes  int // of the text
	Depth  int // of nested arrays and objects
	Values int // values in all
	Key    int // bytes of a key
}

// DefaultLimits fit a complete twin (desired 32 KB, reported 32 KB, tags 8 KB,
// depth 10; docs/spec/device-update.md 5.4) with some more for escapes.
func DefaultLimits() Limits { return Limits{Bytes: 512 << 10, Depth: 32, Values: 16384, Key: 4096} }

// Parse reads exactly one value. The text must not be modified afterwards:
// Raw refers to it.
func Parse(text []byte, l Limits) (Value, error) {
	d := DefaultLimits()
	if l.Bytes == 0 {
		l.Bytes = d.Bytes
	}
	if l.Depth == 0 {
		l.Depth = d.Depth
	}
	if l.Values == 0 {
		l.Values = d.Values
	}
	if l.Key == 0 {
		l.Key = d.Key
	}
	p := parser{text: text, limits: l}
	if len(text) > l.Bytes {
		return Value{}, &Error{l.Bytes, fmt.Sprintf("more than %d bytes", l.Bytes)}
	}
	p.space()
	v, err := p.value(0)
	if err != nil {
		return Value{}, err
	}
	p.space()
	if p.at < len(text) {
		return Value{}, p.fail("text after the value")
	}
	return v, nil
}

type parser struct {
	text   []byte
	at     int
	values int
	limits Limits
}

func (p *parser) fail(reason string) error { return &Error{p.at, reason} }

func (p *parser) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return
		}
	}
}

func (p *parser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *parser) value(depth int) (Value, error) {
	if p.values++; p.values > p.limits.Values {
		return Value{}, p.fail("too many values")
	}
	start := p.at
	var v Value
	var err error
	switch c := p.peek(); {
	case p.at >= len(p.text):
		return Value{}, p.fail("text ends early")
	case c == '{' || c == '[':
		if depth >= p.limits.Depth {
			return Value{}, p.fail("nested too deeply")
		}
		if c == '{' {
			v, err = p.object(depth + 1)
		} else {
			v, err = p.array(depth + 1)
		}
	case c == '"':
		v.kind = String
		v.text, err = p.str()
	case c == '-' || c >= '0' && c <= '9':
		v.kind = Number
		v.text, err = p.number()
	default:
		v, err = p.word()
	}
	if err != nil {
		return Value{}, err
	}
	v.raw = p.text[start:p.at:p.at]
	return v, nil
}

func (p *parser) word() (Value, error) {
	for _, w := range [...]struct {
		text string
		v    Value
	}{{"null", NullValue()}, {"true", BoolValue(true)}, {"false", BoolValue(false)}} {
		if len(p.text)-p.at >= len(w.text) && string(p.text[p.at:p.at+len(w.text)]) == w.text {
			p.at += len(w.text)
			return w.v, nil
		}
	}
	return Value{}, p.fail("unknown value")
}

func (p *parser) number() (string, error) {
	start := p.at
	digits := func() bool {
		from := p.at
		for p.peek() >= '0' && p.peek() <= '9' {
			p.at++
		}
		return p.at > from
	}
	if p.peek() == '-' {
		p.at++
	}
	zero := p.peek() == '0'
	first := p.at
	if !digits() || zero && p.at > first+1 {
		return "", p.fail("malformed number")
	}
	if p.peek() == '.' {
		if p.at++; !digits() {
			return "", p.fail("malformed number")
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.at++
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		if !digits() {
			return "", p.fail("malformed number")
		}
	}
	return string(p.text[start:p.at]), nil
}

func (p *parser) array(depth int) (Value, error) {
	v := Value{kind: Array}
	p.at++
	for p.space(); p.peek() != ']'; p.space() {
		if len(v.items) > 0 {
			if p.peek() != ',' {
				return Value{}, p.fail("want , or ]")
			}
			p.at++
			p.space()
		}
		item, err := p.value(depth)
		if err != nil {
			return Value{}, err
		}
		v.items = append(v.items, item)
	}
	p.at++
	return v, nil
}

func (p *parser) object(depth int) (Value, error) {
	v := Value{kind: Object}
	seen := map[string]struct{}{}
	p.at++
	for p.space(); p.peek() != '}'; p.space() {
		if len(v.members) > 0 {
			if p.peek() != ',' {
				return Value{}, p.fail("want , or }")
			}
			p.at++
			p.space()
		}
		if p.peek() != '"' {
			return Value{}, p.fail("want a key")
		}
		name, err := p.str()
		if err != nil {
			return Value{}, err
		}
		if len(name) > p.limits.Key {
			return Value{}, p.fail("key too long")
		}
		if _, dup := seen[name]; dup {
			return Value{}, p.fail("duplicate key")
		}
		seen[name] = struct{}{}
		if p.space(); p.peek() != ':' {
			return Value{}, p.fail("want :")
		}
		p.at++
		p.space()
		w, err := p.value(depth)
		if err != nil {
			return Value{}, err
		}
		v.members = append(v.members, Member{name, w})
	}
	p.at++
	return v, nil
}

func (p *parser) str() (string, error) {
	p.at++
	start := p.at
	for p.at < len(p.text) { // the common case: no escape
		switch c := p.text[p.at]; {
		case c == '"':
			s := p.text[start:p.at]
			if !utf8.Valid(s) {
				return "", p.fail("invalid UTF-8")
			}
			p.at++
			return string(s), nil
		case c < 0x20:
			return "", p.fail("control character in a string")
		case c == '\\':
			return p.escaped(append([]byte(nil), p.text[start:p.at]...))
		}
		p.at++
	}
	return "", p.fail("text ends early")
}

func (p *parser) escaped(b []byte) (string, error) {
	for p.at < len(p.text) {
		c := p.text[p.at]
		switch {
		case c == '"':
			if !utf8.Valid(b) {
				return "", p.fail("invalid UTF-8")
			}
			p.at++
			return string(b), nil
		case c < 0x20:
			return "", p.fail("control character in a string")
		case c != '\\':
			b = append(b, c)
			p.at++
			continue
		}
		p.at++
		e := p.peek()
		p.at++
		switch e {
		case '"', '\\', '/':
			b = append(b, e)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, err := p.unicode()
			if err != nil {
				return "", err
			}
			b = utf8.AppendRune(b, r)
		default:
			return "", p.fail("unknown escape")
		}
	}
	return "", p.fail("text ends early")
}

// unicode reads what follows \u. NUL is refused: a C reader ends its string
// there and neither hashes nor parses what follows (docs/spec/device-update.md 3.4).
func (p *parser) unicode() (rune, error) {
	r, err := p.hex4()
	if err != nil {
		return 0, err
	}
	if r == 0 {
		return 0, p.fail("NUL in a string")
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if p.peek() != '\\' || p.at+1 >= len(p.text) || p.text[p.at+1] != 'u' {
		return 0, p.fail("half a surrogate pair")
	}
	p.at += 2
	low, err := p.hex4()
	if err != nil {
		return 0, err
	}
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, p.fail("half a surrogate pair")
	}
	return r, nil
}

func (p *parser) hex4() (rune, error) {
	if p.at+4 > len(p.text) {
		return 0, p.fail("text ends early")
	}
	n, err := strconv.ParseUint(string(p.text[p.at:p.at+4]), 16, 16)
	if err != nil {
		return 0, p.fail("malformed escape")
	}
	p.at += 4
	return rune(n), nil
}
