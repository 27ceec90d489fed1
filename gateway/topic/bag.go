package topic

import (
	"strings"
	"unicode/utf8"
)

// MaxProperties is the most properties that a property bag may hold.
const MaxProperties = 64

// Pair is the underlying type of a property; callers use their own named type.
type Pair interface {
	~struct{ Key, Value string }
}

// ParseBag decodes k=v&k=v with percent-encoded keys and values, in order, and appends the
// properties to dst. The empty string is the empty bag.
//
// It refuses what two parsers could read differently: a key that occurs twice (after decoding),
// an empty key, a property without '=', an unescaped '=' within a value, a malformed escape,
// bytes that are not UTF-8, and NUL. '+' cannot occur in a topic name and has no special
// meaning here. Texts without escapes share memory with s.
func ParseBag[P Pair](dst []P, s string) ([]P, error) {
	if s == "" {
		return dst, nil
	}
	start := len(dst)
	for more := true; more; {
		var item string
		item, s, more = strings.Cut(s, "&")
		if len(dst)-start == MaxProperties {
			return dst[:start], &Error{ErrBag, "too many properties"}
		}
		k, v, ok := strings.Cut(item, "=")
		if !ok {
			return dst[:start], &Error{ErrBag, "a property without '='"}
		}
		key, why := unescape(k)
		value, whyValue := unescape(v)
		switch {
		case why != "":
			return dst[:start], &Error{ErrBag, why}
		case whyValue != "":
			return dst[:start], &Error{ErrBag, whyValue}
		case key == "":
			return dst[:start], &Error{ErrBag, "a property without a name"}
		}
		for _, p := range dst[start:] {
			if (struct{ Key, Value string })(p).Key == key {
				return dst[:start], &Error{ErrBag, "a property twice"}
			}
		}
		dst = append(dst, P(struct{ Key, Value string }{key, value}))
	}
	return dst, nil
}

// AppendBag appends the canonical encoding of the bag: RFC 3986's unreserved characters and '$'
// stand for themselves, every other byte is written as %XX in upper case. Parsing the result
// gives the same bag.
func AppendBag[P Pair](b []byte, bag []P) []byte {
	for i, p := range bag {
		if i > 0 {
			b = append(b, '&')
		}
		kv := (struct{ Key, Value string })(p)
		b = appendEscaped(b, kv.Key)
		b = append(b, '=')
		b = appendEscaped(b, kv.Value)
	}
	return b
}

// CanonicalBag reports whether s is the canonical encoding of the bag that it decodes to.
// ParseBag must accept s.
func CanonicalBag(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case plain(c) || c == '&' || c == '=':
		case c == '%':
			if i+2 >= len(s) || lower(s[i+1]) || lower(s[i+2]) || plain(unhex(s[i+1])<<4|unhex(s[i+2])) {
				return false
			}
			i += 2
		default:
			return false
		}
	}
	return true
}

const upperHex = "0123456789ABCDEF"

func appendEscaped(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return b
}

func unescape(s string) (text, why string) {
	if strings.IndexByte(s, '=') >= 0 {
		return "", "'=' within a value"
	}
	out := s
	if strings.IndexByte(s, '%') >= 0 {
		var buf [96]byte // on the stack; most values fit, so only the result is allocated
		b := buf[:0]
		for i := 0; i < len(s); i++ {
			if s[i] != '%' {
				b = append(b, s[i])
				continue
			}
			if i+2 >= len(s) || !hex(s[i+1]) || !hex(s[i+2]) {
				return "", "a malformed escape"
			}
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		}
		out = string(b)
	}
	if strings.IndexByte(out, 0) >= 0 {
		return "", "holds NUL"
	}
	if !utf8.ValidString(out) {
		return "", "not UTF-8"
	}
	return out, ""
}

func plain(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return c == '-' || c == '.' || c == '_' || c == '~' || c == '$'
}

func lower(c byte) bool { return c >= 'a' && c <= 'f' }

func hex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}
