// Package strictjson reads JSON of strangers without guessing: one value and
// nothing after it, valid UTF-8, no duplicate key, no NUL, bounded in bytes,
// depth and number of values. Keys are compared exactly; encoding/json would
// fold their case and let the last of two win, and a device that reads the
// same text differently would obey something that was never judged.
//
// Values are immutable and keep the order of their keys and the literal text
// of their numbers, so that what is written again means what was read. Safe
// for concurrent use.
package strictjson

import (
	"strconv"
	"unicode/utf8"
)

// Kind is the kind of a value.
type Kind uint8

// The kinds. The zero Value is Absent: no value at all, not null.
const (
	Absent Kind = iota
	Null
	Bool
	Number
	String
	Array
	Object
)

// Member is one key of an object with its value.
type Member struct {
	Name  string
	Value Value
}

// Value is one immutable JSON value.
type Value struct {
	kind    Kind
	text    string // String: decoded; Number: the literal; Bool: "true" or "false"
	items   []Value
	members []Member
	raw     []byte // as read; nil for a built value
}

// Kind tells what the value is.
func (v Value) Kind() Kind { return v.kind }

// Raw is the text as it was read; nil for a value that was built or merged.
// It must not be modified.
func (v Value) Raw() []byte { return v.raw }

// Str is the decoded text of a string; "" and false for any other kind.
func (v Value) Str() (string, bool) {
	if v.kind != String {
		return "", false
	}
	return v.text, true
}

// Literal is the text of a number as written, so that 3, 3.0 and 3e0 are told
// apart; "" for any other kind.
func (v Value) Literal() string {
	if v.kind != Number {
		return ""
	}
	return v.text
}

// Int is a number written as a plain integer (no fraction, no exponent) that
// fits in 64 bits.
func (v Value) Int() (int64, bool) {
	if v.kind != Number {
		return 0, false
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	return n, err == nil && v.text != "-0"
}

// IsTrue tells whether the value is the literal true.
func (v Value) IsTrue() bool { return v.kind == Bool && v.text == "true" }

// Items are the elements of an array.
func (v Value) Items() []Value { return v.items }

// Members are the keys of an object, in order of appearance.
func (v Value) Members() []Member { return v.members }

// Get is the value of a key of an object, compared byte by byte; Absent when
// there is none.
func (v Value) Get(name string) Value {
	for i := range v.members {
		if v.members[i].Name == name {
			return v.members[i].Value
		}
	}
	return Value{}
}

// At follows a path of keys.
func (v Value) At(path ...string) Value {
	for _, name := range path {
		v = v.Get(name)
	}
	return v
}

// NullValue is null.
func NullValue() Value { return Value{kind: Null} }

// StringValue is a string.
func StringValue(s string) Value { return Value{kind: String, text: s} }

// IntValue is an integer.
func IntValue(n int64) Value { return Value{kind: Number, text: strconv.FormatInt(n, 10)} }

// BoolValue is true or false.
func BoolValue(b bool) Value { return Value{kind: Bool, text: strconv.FormatBool(b)} }

// ObjectValue is an object; the caller sees to it that keys are unique.
func ObjectValue(members ...Member) Value { return Value{kind: Object, members: members} }

// With is the object with one key set (in place, or at the end); a value that is no object becomes one.
func (v Value) With(name string, w Value) Value {
	members := make([]Member, 0, len(v.members)+1)
	done := false
	for _, m := range v.members {
		if m.Name == name {
			m.Value, done = w, true
		}
		members = append(members, m)
	}
	if !done {
		members = append(members, Member{name, w})
	}
	return Value{kind: Object, members: members}
}

// Without is the object without the named keys.
func (v Value) Without(names ...string) Value {
	members := make([]Member, 0, len(v.members))
	gone := make(map[string]bool, len(names))
	for _, n := range names {
		gone[n] = true
	}
	for _, m := range v.members {
		if !gone[m.Name] {
			members = append(members, m)
		}
	}
	return Value{kind: Object, members: members}
}

// index maps each key to its position, so that looking up many keys is not quadratic:
// the sender of a document chooses how many it has.
func (v Value) index() map[string]int {
	at := make(map[string]int, len(v.members))
	for i := range v.members {
		at[v.members[i].Name] = i
	}
	return at
}

// Overlap tells whether two objects have a key in common.
func Overlap(a, b Value) bool {
	at := a.index()
	for _, m := range b.members {
		if _, ok := at[m.Name]; ok {
			return true
		}
	}
	return false
}

// Equal tells whether two values mean the same: objects without regard to the
// order of keys, numbers by their literal.
func Equal(a, b Value) bool {
	if a.kind != b.kind || a.text != b.text || len(a.items) != len(b.items) || len(a.members) != len(b.members) {
		return false
	}
	for i := range a.items {
		if !Equal(a.items[i], b.items[i]) {
			return false
		}
	}
	if len(a.members) == 0 {
		return true
	}
	index := b.index()
	for _, m := range a.members {
		if i, ok := index[m.Name]; !ok || !Equal(m.Value, b.members[i].Value) {
			return false
		}
	}
	return true
}

// Append writes the value in compact form, keys in order.
func (v Value) Append(b []byte) []byte {
	switch v.kind {
	case Bool, Number:
		return append(b, v.text...)
	case String:
		return appendString(b, v.text)
	case Array:
		b = append(b, '[')
		for i, item := range v.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.Append(b)
		}
		return append(b, ']')
	case Object:
		b = append(b, '{')
		for i, m := range v.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, m.Name), ':')
			b = m.Value.Append(b)
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

// Bytes is Append to nothing.
func (v Value) Bytes() []byte { return v.Append(nil) }

// MarshalJSON lets a value be a field of a struct that encoding/json writes.
func (v Value) MarshalJSON() ([]byte, error) { return v.Bytes(), nil }

// UnmarshalJSON reads what MarshalJSON wrote, strictly.
func (v *Value) UnmarshalJSON(b []byte) error {
	w, err := Parse(b, Limits{Bytes: 16 << 20, Depth: 64, Values: 1 << 20})
	if err == nil {
		*v = w
	}
	return err
}

const hexDigits = "0123456789abcdef"

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			_, n := utf8.DecodeRuneInString(s[i:])
			b = append(b, s[i:i+n]...)
			i += n
			continue
		}
		i++
	}
	return append(b, '"')
}
