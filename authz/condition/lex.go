package condition

import "strings"

type kind uint8

const (
	end     kind = iota
	word         // Exists, Any_of
	attr         // @Resource.Name: text is Name
	str          // 'text'
	equals       // ==
	andOp        // &&
	orOp         // ||
	notOp        // !
	open         // (
	shut         // )
	brace        // {
	unbrace      // }
	comma        // ,
)

type token struct {
	kind   kind
	text   string
	offset int
}

var symbols = [...]struct {
	text string
	kind kind
}{
	{"==", equals}, {"&&", andOp}, {"||", orOp},
	{"(", open}, {")", shut}, {"{", brace}, {"}", unbrace}, {",", comma},
}

// next reads the token at pos into tok.
func (p *parser) next() {
	for p.pos < len(p.text) && isBlank(p.text[p.pos]) {
		p.pos++
	}
	rest := p.text[p.pos:]
	p.tok = token{kind: end, offset: p.pos}
	if rest == "" {
		return
	}
	take := func(k kind, text string, n int) {
		p.tok.kind, p.tok.text = k, text
		p.pos += n
	}
	for _, s := range symbols {
		if strings.HasPrefix(rest, s.text) {
			take(s.kind, "", len(s.text))
			return
		}
	}
	const resource = "@Resource."
	switch {
	case strings.HasPrefix(rest, "!="):
		p.fail("unknown operator !=")
	case rest[0] == '!':
		take(notOp, "", 1)
	case rest[0] == '\'':
		if n := strings.IndexByte(rest[1:], '\''); n >= 0 {
			take(str, rest[1:1+n], n+2)
			return
		}
		p.fail("a quote that is not closed")
	case strings.HasPrefix(rest, resource):
		n := identifier(rest[len(resource):])
		take(attr, rest[len(resource):len(resource)+n], len(resource)+n)
	case rest[0] == '@':
		p.fail("unknown attribute: only @Resource.… is known")
	default:
		n := identifier(rest)
		if n == 0 {
			p.fail("unexpected character")
			return
		}
		take(word, rest[:n], n)
	}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// identifier is the length of the identifier at the start of s.
func identifier(s string) int {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return i
		}
	}
	return len(s)
}
