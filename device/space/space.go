// Package space holds the two values by which the building is addressed: an
// object's id and the path of spaces above it. Both are canonical by
// construction, so that comparing them is comparing bytes.
//
// Rules (semantics.md 2): blanks around an id and around each path segment
// are trimmed; GUIDs compare without regard to case (held in lower case); a path covers another by
// whole segments only, so /a never covers /ab.
package space

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Limits of foreign input. A building has a handful of levels; the bound
// exists so that no path from outside can make a decision slow.
const (
	MaxDepth  = 32
	maxLength = MaxDepth * 64 // as written, blanks included
)

// ErrSyntax is what every parse error of this package wraps.
var ErrSyntax = errors.New("malformed")

// ID is a GUID. The zero ID means "none" and is never the id of an object.
type ID [16]byte

// ParseID reads a GUID in 8-4-4-4-12 form, in any case, with blanks around it.
func ParseID(s string) (ID, error) {
	var id ID
	t := strings.TrimSpace(s)
	if len(t) != 36 || t[8] != '-' || t[13] != '-' || t[18] != '-' || t[23] != '-' {
		return ID{}, fmt.Errorf("%w GUID %q: want 8-4-4-4-12 hexadecimal digits", ErrSyntax, clip(s))
	}
	var digits [32]byte
	copy(digits[0:], t[0:8])
	copy(digits[8:], t[9:13])
	copy(digits[12:], t[14:18])
	copy(digits[16:], t[19:23])
	copy(digits[20:], t[24:36])
	if _, err := hex.Decode(id[:], digits[:]); err != nil {
		return ID{}, fmt.Errorf("%w GUID %q: want 8-4-4-4-12 hexadecimal digits", ErrSyntax, clip(s))
	}
	return id, nil
}

// MustID is ParseID for constants; it panics on a malformed one.
func MustID(s string) ID {
	id, err := ParseID(s)
	if err != nil {
		panic(err)
	}
	return id
}

// NewID returns a random (version 4) GUID.
func NewID() ID {
	var id ID
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// IsZero tells whether the id names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// String is the canonical form: lower case, 8-4-4-4-12.
func (id ID) String() string {
	var b [36]byte
	id.put(b[:])
	return string(b[:])
}

func (id ID) put(b []byte) {
	hex.Encode(b[0:8], id[0:4])
	b[8] = '-'
	hex.Encode(b[9:13], id[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], id[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], id[8:10])
	b[23] = '-'
	hex.Encode(b[24:36], id[10:16])
}

// MarshalText writes the canonical form; the zero id is the empty string.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return []byte{}, nil
	}
	b := make([]byte, 36)
	id.put(b)
	return b, nil
}

// UnmarshalText is ParseID; the empty string is the zero id.
func (id *ID) UnmarshalText(b []byte) error {
	if len(strings.TrimSpace(string(b))) == 0 {
		*id = ID{}
		return nil
	}
	v, err := ParseID(string(b))
	if err == nil {
		*id = v
	}
	return err
}

// Path is a place in the space tree: "/" or "/{guid}/{guid}…" in canonical
// form. The zero Path is no place: it covers nothing and nothing covers it.
type Path struct{ s string }

// Root is "/": it covers every path.
var Root = Path{"/"}

// ParsePath reads a path, trimming blanks around it and around each segment.
// Empty segments, a trailing slash and segments that are no GUID are refused.
func ParsePath(s string) (Path, error) {
	if len(s) > maxLength {
		return Path{}, fmt.Errorf("%w path: %d bytes, at most %d", ErrSyntax, len(s), maxLength)
	}
	t := strings.TrimSpace(s)
	if t == "/" {
		return Root, nil
	}
	if !strings.HasPrefix(t, "/") {
		return Path{}, fmt.Errorf("%w path %q: want / or /{guid}/{guid}…", ErrSyntax, clip(s))
	}
	segments := strings.Split(t[1:], "/")
	if len(segments) > MaxDepth {
		return Path{}, fmt.Errorf("%w path: %d levels, at most %d", ErrSyntax, len(segments), MaxDepth)
	}
	b := make([]byte, 37*len(segments))
	for i, seg := range segments {
		id, err := ParseID(seg)
		if err != nil {
			return Path{}, fmt.Errorf("%w path %q: level %d is no GUID", ErrSyntax, clip(s), i+1)
		}
		b[37*i] = '/'
		id.put(b[37*i+1 : 37*i+37])
	}
	return Path{string(b)}, nil
}

// MustPath is ParsePath for constants; it panics on a malformed one.
func MustPath(s string) Path {
	p, err := ParsePath(s)
	if err != nil {
		panic(err)
	}
	return p
}

// IsZero tells whether p is no place at all.
func (p Path) IsZero() bool { return p.s == "" }

// IsRoot tells whether p is "/".
func (p Path) IsRoot() bool { return p.s == "/" }

// String is the canonical form; "" for the zero Path.
func (p Path) String() string { return p.s }

// Depth is the number of spaces on the path; 0 for the root and the zero Path.
func (p Path) Depth() int { return len(p.s) / 37 }

// Covers tells whether q is p or lies below it, by whole segments.
func (p Path) Covers(q Path) bool {
	if p.s == "" || q.s == "" {
		return false
	}
	if p.s == "/" {
		return true
	}
	return strings.HasPrefix(q.s, p.s) && (len(q.s) == len(p.s) || q.s[len(p.s)] == '/')
}

// Parent is the path without its last space; false for the root and the zero Path.
func (p Path) Parent() (Path, bool) {
	switch {
	case len(p.s) < 37:
		return Path{}, false
	case len(p.s) == 37:
		return Root, true
	}
	return Path{p.s[:len(p.s)-37]}, true
}

// Join is the path of the space id directly below p; zero below the zero Path.
func (p Path) Join(id ID) Path {
	if p.s == "" {
		return Path{}
	}
	if p.s == "/" {
		return Path{"/" + id.String()}
	}
	return Path{p.s + "/" + id.String()}
}

// Space is the id of the last space on the path; the zero ID for the root.
func (p Path) Space() ID {
	if len(p.s) < 37 {
		return ID{}
	}
	id, _ := ParseID(p.s[len(p.s)-36:])
	return id
}

// MarshalText writes the canonical form.
func (p Path) MarshalText() ([]byte, error) { return []byte(p.s), nil }

// UnmarshalText is ParsePath; the empty string is the zero Path.
func (p *Path) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*p = Path{}
		return nil
	}
	v, err := ParsePath(string(b))
	if err == nil {
		*p = v
	}
	return err
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
