package wire

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gatehouse/gatehouse/device/space"
)

// Limits of one document. MaxRequest is how many bytes of a body the server reads. The client
// limits the size of answers itself.
const (
	MaxRequest  = 1 << 20
	MaxElements = 100_000 // elements of one list
	maxDepth    = 24
	maxMembers  = 256
)

// Object is a JSON object whose members are found without regard to case.
type Object struct{ members map[string]json.RawMessage }

// ParseObject reads exactly one object.
func ParseObject(data []byte) (Object, error) {
	if err := checkShape(data); err != nil {
		return Object{}, err
	}
	return parseObject(data)
}

// ParseList reads exactly one array of objects, at most MaxElements long.
func ParseList(data []byte) ([]Object, error) {
	if err := checkShape(data); err != nil {
		return nil, err
	}
	return parseList(data)
}

// checkShape limits the depth of nesting, before a recursive parser reads the bytes.
func checkShape(data []byte) error {
	if !utf8.Valid(data) {
		return invalid("", "the document is not UTF-8")
	}
	depth, inString, escaped := 0, false, false
	for _, c := range data {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped = c == '\\'
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return invalid("", "the document is nested deeper than %d levels", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	if !json.Valid(data) {
		return invalid("", "the document is not valid JSON")
	}
	return nil
}

func parseList(data []byte) ([]Object, error) {
	if kind(data) != '[' {
		return nil, invalid("", "an array is expected")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if _, err := dec.Token(); err != nil {
		return nil, invalid("", "the document is not valid JSON")
	}
	var list []Object
	for dec.More() {
		if len(list) == MaxElements {
			return nil, invalid("", "more than %d elements", MaxElements)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, invalid("", "the document is not valid JSON")
		}
		o, err := parseObject(raw)
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, nil
}

func parseObject(data []byte) (Object, error) {
	if kind(data) != '{' {
		return Object{}, invalid("", "an object is expected")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if _, err := dec.Token(); err != nil {
		return Object{}, invalid("", "the document is not valid JSON")
	}
	o := Object{members: make(map[string]json.RawMessage, 8)}
	for dec.More() {
		tok, err := dec.Token()
		name, ok := tok.(string)
		if err != nil || !ok {
			return Object{}, invalid("", "the document is not valid JSON")
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return Object{}, invalid("", "the document is not valid JSON")
		}
		key := strings.ToLower(name)
		if _, twice := o.members[key]; twice {
			return Object{}, invalid(clip(name), "given twice")
		}
		if len(o.members) == maxMembers {
			return Object{}, invalid("", "more than %d members", maxMembers)
		}
		o.members[key] = raw
	}
	return o, nil
}

func kind(data []byte) byte {
	t := bytes.TrimLeft(data, " \t\r\n")
	if len(t) == 0 {
		return 0
	}
	return t[0]
}

func (o Object) raw(name string) (json.RawMessage, bool) {
	raw, ok := o.members[strings.ToLower(name)]
	return raw, ok
}

// Names are those of all members, in lower case and no order.
func (o Object) Names() []string { return slices.Collect(maps.Keys(o.members)) }

// Has reports whether the member is given, even if it is null.
func (o Object) Has(name string) bool {
	_, ok := o.raw(name)
	return ok
}

// Present reports whether the member is given and not null.
func (o Object) Present(name string) bool {
	raw, ok := o.raw(name)
	return ok && kind(raw) != 'n'
}

// String returns the text of a member, trimmed; "" if it is absent or null. A text of more than
// max bytes or with control characters is refused.
func (o Object) String(name string, max int) (string, error) {
	raw, ok := o.raw(name)
	if !ok || kind(raw) == 'n' {
		return "", nil
	}
	if kind(raw) != '"' {
		return "", invalid(name, "a string is expected")
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", invalid(name, "a string is expected")
	}
	s = strings.TrimSpace(s)
	if len(s) > max {
		return "", invalid(name, "longer than %d bytes", max)
	}
	for _, r := range s {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f || r == utf8.RuneError {
			return "", invalid(name, "holds a character that is not allowed")
		}
	}
	return s, nil
}

// ID is the GUID of a member; the zero ID when absent, null or blank.
func (o Object) ID(name string) (space.ID, error) {
	s, err := o.String(name, 64)
	if err != nil || s == "" {
		return space.ID{}, err
	}
	id, err := space.ParseID(s)
	if err != nil {
		return space.ID{}, invalid(name, "not a GUID")
	}
	return id, nil
}

// RequiredID is ID, refusing an absent or zero one.
func (o Object) RequiredID(name string) (space.ID, error) {
	id, err := o.ID(name)
	if err == nil && id.IsZero() {
		err = invalid(name, "required")
	}
	return id, err
}

// Int is the whole number of a member; 0 when absent or null.
func (o Object) Int(name string) (int, error) {
	raw, ok := o.raw(name)
	if !ok || kind(raw) == 'n' {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(raw)), 10, 32)
	if err != nil {
		return 0, invalid(name, "a whole number is expected")
	}
	return int(n), nil
}

// Uint is the unsigned number of a member; 0 when absent or null.
func (o Object) Uint(name string) (uint64, error) {
	raw, ok := o.raw(name)
	if !ok || kind(raw) == 'n' {
		return 0, nil
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(raw)), 10, 64)
	if err != nil {
		return 0, invalid(name, "a non-negative whole number is expected")
	}
	return n, nil
}

// Bool is the truth value of a member; false when absent or null.
func (o Object) Bool(name string) (bool, error) {
	raw, ok := o.raw(name)
	if !ok {
		return false, nil
	}
	switch string(bytes.TrimSpace(raw)) {
	case "true":
		return true, nil
	case "false", "null":
		return false, nil
	}
	return false, invalid(name, "true or false is expected")
}

// Strings is the list of texts of a member; nil when absent or null.
func (o Object) Strings(name string, maxCount, maxLen int) ([]string, error) {
	raw, ok := o.raw(name)
	if !ok || kind(raw) == 'n' {
		return nil, nil
	}
	if kind(raw) != '[' {
		return nil, invalid(name, "an array is expected")
	}
	var list []string
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, invalid(name, "an array of strings is expected")
	}
	if len(list) > maxCount {
		return nil, invalid(name, "more than %d elements", maxCount)
	}
	for i := range list {
		if list[i] = strings.TrimSpace(list[i]); len(list[i]) > maxLen {
			return nil, invalid(name, "an element is longer than %d bytes", maxLen)
		}
	}
	return list, nil
}

// Object is the object of a member; ok is false when absent or null.
func (o Object) Object(name string) (inner Object, ok bool, err error) {
	if !o.Present(name) {
		return Object{}, false, nil
	}
	raw, _ := o.raw(name)
	inner, err = parseObject(raw)
	if err != nil {
		return Object{}, false, within(name, err)
	}
	return inner, true, nil
}

// List is the list of objects of a member; nil when absent or null.
func (o Object) List(name string) ([]Object, error) {
	if !o.Present(name) {
		return nil, nil
	}
	raw, _ := o.raw(name)
	list, err := parseList(raw)
	if err != nil {
		return nil, within(name, err)
	}
	return list, nil
}

func within(name string, err error) error {
	return invalid(name, "%s", err.Error())
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
