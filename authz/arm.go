package authz

import "strings"

// lower folds ASCII only: ARM compares ids without regard to case, and folding
// more than ARM does could make two resources one.
func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 {
			return rune(lower(byte(r)))
		}
		return r
	}, s)
}

// sameFold tells whether a, which is in lower case, is b in any case.
func sameFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != lower(b[i]) {
			return false
		}
	}
	return true
}

// armScope is an ARM id in normal form: segments trimmed, no slash at the end,
// ASCII in lower case. "" is the root scope "/".
type armScope string

// normalScope reads the scope of an assignment.
func normalScope(s string) (armScope, bool) {
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, "/") {
		return "", false
	}
	var b strings.Builder
	for seg := range strings.SplitSeq(strings.TrimRight(s[1:], "/ "), "/") {
		if seg = strings.TrimSpace(seg); seg == "" {
			if strings.Trim(s, "/ ") == "" {
				return "", true
			}
			return "", false
		}
		b.WriteByte('/')
		b.WriteString(lowerASCII(seg))
	}
	return armScope(b.String()), true
}

// askedScope checks the scope of a question and cuts the slash at its end.
// It allocates nothing: case is dealt with when comparing.
func askedScope(s string) (string, bool) {
	s = strings.TrimSpace(s)
	if len(s) == 0 || s[0] != '/' {
		return "", false
	}
	s = strings.TrimSuffix(s, "/")
	for i := range len(s) {
		if s[i] != '/' {
			continue
		}
		if i+1 == len(s) || s[i+1] == '/' || s[i+1] == ' ' || i > 0 && s[i-1] == ' ' {
			return "", false
		}
	}
	return s, true
}

// listed tells whether the scope is a management group or "/". Nothing in the
// id of a resource says to which of them it belongs, so such a scope covers a
// resource only where ARM lists the assignment there.
func (a armScope) listed() bool {
	return a == "" || strings.HasPrefix(string(a), "/providers/microsoft.management/managementgroups/")
}

// covers tells whether asked is the scope or lies below it, by whole segments
// of text alone.
func (a armScope) covers(asked string) bool {
	return len(asked) >= len(a) && sameFold(string(a), asked[:len(a)]) && (len(asked) == len(a) || asked[len(a)] == '/')
}

// foldCovers is covers with the case folding of Unicode, by which more ids are
// equal than by that of ASCII. It is for deny assignments, where a doubtful
// match must refuse.
func (a armScope) foldCovers(asked string) bool {
	rest := asked
	for seg := range strings.SplitSeq(strings.TrimPrefix(string(a), "/"), "/") {
		if seg == "" {
			return true
		}
		head, tail, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
		if !strings.EqualFold(head, seg) {
			return false
		}
		rest = tail
	}
	return true
}
