package sas

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// fields splits a token into its raw fields: known names only, each once. All
// of required must be there but the last, which is optional.
func fields(token string, names ...string) (map[string]string, error) {
	rest, ok := strings.CutPrefix(token, prefix)
	if !ok || len(token) > maxToken {
		return nil, fmt.Errorf("%w: want %q and at most %d bytes", ErrMalformed, strings.TrimSpace(prefix), maxToken)
	}
	found := make(map[string]string, len(names))
	for part := range strings.SplitSeq(rest, "&") {
		name, value, ok := strings.Cut(part, "=")
		if !ok || !slices.Contains(names, name) {
			return nil, fmt.Errorf("%w: unknown field", ErrMalformed)
		}
		if _, twice := found[name]; twice {
			return nil, fmt.Errorf("%w: %s twice", ErrMalformed, name)
		}
		found[name] = value
	}
	for _, name := range names[:3] {
		if found[name] == "" {
			return nil, fmt.Errorf("%w: no %s", ErrMalformed, name)
		}
	}
	return found, nil
}

// unescape undoes percent-encoding once. Letters and digits stand for
// themselves: a client that escapes them wants two parsers to disagree. A plus
// sign, which some decoders read as a blank, must be escaped; hexadecimal digits may
// have either case, and a slash may be plain (SDKs differ).
func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '%':
			if i+2 >= len(s) {
				return "", ErrMalformed
			}
			v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil || unreserved(byte(v)) || v < 0x20 || v == 0x7f {
				return "", ErrMalformed
			}
			b.WriteByte(byte(v))
			i += 2
		case c <= ' ' || c >= 0x7f || strings.IndexByte("+=&\"<>\\^`{|}?#", c) >= 0:
			return "", ErrMalformed
		default:
			b.WriteByte(c)
		}
	}
	if !utf8.ValidString(b.String()) {
		return "", ErrMalformed
	}
	return b.String(), nil
}

// escape is the one form that Issue writes: everything but unreserved
// characters (RFC 3986, 2.3) as upper-case escapes.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; unreserved(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// unreserved as in RFC 3986 2.3, but for the tilde, which some encoders escape.
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_'
}

func signature(raw string) ([]byte, error) {
	text, err := unescape(raw)
	if err == nil {
		var sig []byte
		if sig, err = base64.StdEncoding.Strict().DecodeString(text); err == nil && len(sig) == 32 && len(text) == 44 {
			return sig, nil
		}
	}
	return nil, fmt.Errorf("%w: sig", ErrMalformed)
}

// epoch reads seconds since 1970: plain digits, no sign, no leading zero.
func epoch(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > maxEpoch || strconv.FormatInt(n, 10) != s {
		return time.Time{}, fmt.Errorf("%w: se", ErrMalformed)
	}
	return time.Unix(n, 0), nil
}
