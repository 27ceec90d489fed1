// Package space holds the two values by which the building is addressed: an
// object's id and the path of spaces above it. Both are canonical by
// construction, so that comparing them is comparing bytes.
//
// Rules (docs/spec/semantics.md 2.3): blanks around an id and around each path segment
// are trimmed; GUIDs compare without regard to case (held in lower case); a path covers another by
// whole segments only, so /a never covers /ab.
package space

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
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

// Path is a place in the space tree: "/" or "/{guid}/{guid}…". The zero Path
// is no place: it covers nothing and nothing covers it. Paths compare with ==;
// Compare orders them as their texts are ordered.
//
// It holds the ids in binary, so that the path of a building fits one cache line, and
// a summary of them (Marks), by which most paths that do not cover it are ruled out
// without comparing ids.
type Path struct {
	s     string // the ids one after the other; Root is rootText
	marks uint64 // see Marks
}

const (
	rootText = "/"
	idLength = len(ID{})
	// segment is the bytes of "/" and a GUID in a path's text.
	segment = 37
)

// Root is "/": it covers every path.
var Root = Path{rootText, 1}

// ParsePath reads a path, trimming blanks around it and around each segment.
// Empty segments, a trailing slash and segments that are no GUID are refused.
func ParsePath(s string) (Path, error) {
	if len(s) > maxLength {
		return Path{}, fmt.Errorf("%w path: %d bytes, at most %d", ErrSyntax, len(s), maxLength)
	}
	t := strings.TrimSpace(s)
	if t == rootText {
		return Root, nil
	}
	if !strings.HasPrefix(t, rootText) {
		return Path{}, fmt.Errorf("%w path %q: want / or /{guid}/{guid}…", ErrSyntax, clip(s))
	}
	segments := strings.Split(t[1:], "/")
	if len(segments) > MaxDepth {
		return Path{}, fmt.Errorf("%w path: %d levels, at most %d", ErrSyntax, len(segments), MaxDepth)
	}
	b := make([]byte, 0, idLength*len(segments))
	for i, seg := range segments {
		id, err := ParseID(seg)
		if err != nil {
			return Path{}, fmt.Errorf("%w path %q: level %d is no GUID", ErrSyntax, clip(s), i+1)
		}
		b = append(b, id[:]...)
	}
	return pathOf(string(b)), nil
}

// pathOf makes a path below the root of its ids.
func pathOf(ids string) Path {
	p := Path{ids, Root.marks}
	for d := p.Depth(); d > 0; d-- {
		p.marks |= 1 << p.Key(d).Mark()
	}
	return p
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
func (p Path) IsRoot() bool { return p.s == rootText }

// String is the canonical form; "" for the zero Path. It allocates: questions
// are answered from the value itself.
func (p Path) String() string {
	if p.Depth() == 0 {
		return p.s
	}
	return string(p.Append(make([]byte, 0, segment*p.Depth())))
}

// Append appends the canonical form.
func (p Path) Append(b []byte) []byte {
	if p.Depth() == 0 {
		return append(b, p.s...)
	}
	for rest := p.s; len(rest) >= idLength; rest = rest[idLength:] {
		b = append(b, "/00000000-0000-0000-0000-000000000000"...)
		ID([]byte(rest[:idLength])).put(b[len(b)-segment+1:])
	}
	return b
}

// Depth is the number of spaces on the path; 0 for the root and the zero Path.
func (p Path) Depth() int { return len(p.s) / idLength }

// Covers tells whether q is p or lies below it, by whole segments.
func (p Path) Covers(q Path) bool {
	switch p.s {
	case "":
		return false
	case rootText:
		return q.s != ""
	}
	return strings.HasPrefix(q.s, p.s) // all ids have the same length, so a prefix ends at a whole segment
}

// Marks is a summary of the places that cover p, as a set of bits: for each of these
// places, bit Key.Mark of its key is set. A place whose bit is not set does not cover
// p.
func (p Path) Marks() uint64 { return p.marks }

// Key tells nearly all places apart. From the top: its mark in 6 bits, its
// depth in 6 bits, and the last 20 bits of the last id.
type Key uint32

// Mark is the number of the bit of Marks.
func (k Key) Mark() int { return int(k >> 26) }

// Depth of the place.
func (k Key) Depth() int { return int(k >> 20 & 63) }

// levels says which bits of Marks the places at each depth share, as the first bit and
// the number of bits: the root has its own, and deep levels, where there are most
// places, have most. The last is for all depths from there on.
var levels = [...]struct{ from, width uint8 }{{0, 1}, {1, 2}, {3, 4}, {7, 12}, {19, 45}}

// Key of the place that is the first depth levels of p, 0 to p.Depth(). Ids
// that are made to collide cost time and decide nothing.
func (p Path) Key(depth int) Key {
	if depth == 0 {
		return 0
	}
	tail := p.tail(depth)
	l := levels[min(depth, len(levels)-1)]
	// The upper bits of the product are the best mixed.
	mark := uint64(l.from) + tail*0x9E3779B97F4A7C15>>32*uint64(l.width)>>32
	return Key(mark<<26 | uint64(depth)<<20 | tail>>44)
}

// tail is the second half of the id at a depth from 1.
func (p Path) tail(depth int) uint64 {
	return binary.LittleEndian.Uint64([]byte(p.s[depth*idLength-8 : depth*idLength])) // no copy: it is not written to
}

// MayBe tells, by the last bits of k alone, whether k can be p.Key(k.Depth()). p must
// be at least that deep. MayBe is much cheaper than Key.
func (k Key) MayBe(p Path) bool {
	d := k.Depth()
	return d == 0 || d <= p.Depth() && uint32(p.tail(d)>>44) == uint32(k)&(1<<20-1)
}

// Line is a path without its summary, for indexes that hold many paths. It is
// comparable with ==.
type Line string

// Line returns p without its summary.
func (p Path) Line() Line { return Line(p.s) }

// Path returns the path, and computes its summary.
func (l Line) Path() Path {
	switch l {
	case "":
		return Path{}
	case rootText:
		return Root
	}
	return pathOf(string(l))
}

// Compare is Path.Compare.
func (l Line) Compare(m Line) int {
	if len(l) < idLength || len(m) < idLength {
		return cmp.Compare(min(len(l), idLength), min(len(m), idLength)) // no place, the root, all others
	}
	return strings.Compare(string(l), string(m))
}

// Covers is Path.Covers; neither may be zero.
func (l Line) Covers(m Line) bool {
	return len(m) >= len(l) && (m[:len(l)] == l || l == rootText)
}

// Near tells whether one of the paths covers the other; l may not be zero.
func (l Line) Near(p Path) bool {
	m := p.Line()
	return m != "" && (l.Covers(m) || m.Covers(l))
}

// Compare orders paths as their texts: what covers comes before what is covered.
func (p Path) Compare(q Path) int { return p.Line().Compare(q.Line()) }

// Parent is the path without its last space; false for the root and the zero Path.
func (p Path) Parent() (Path, bool) {
	switch p.Depth() {
	case 0:
		return Path{}, false
	case 1:
		return Root, true
	}
	return pathOf(p.s[:len(p.s)-idLength]), true
}

// Join is the path of the space id directly below p; zero below the zero Path.
func (p Path) Join(id ID) Path {
	switch p.s {
	case "":
		return Path{}
	case rootText:
		return pathOf(string(id[:]))
	}
	q := Path{p.s + string(id[:]), p.marks}
	q.marks |= 1 << q.Key(q.Depth()).Mark()
	return q
}

// Space is the id of the last space on the path; the zero ID for the root.
func (p Path) Space() ID {
	if p.Depth() == 0 {
		return ID{}
	}
	return ID([]byte(p.s[len(p.s)-idLength:]))
}

// MarshalText writes the canonical form.
func (p Path) MarshalText() ([]byte, error) { return p.Append(nil), nil }

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
