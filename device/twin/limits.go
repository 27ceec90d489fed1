package twin

import (
	"fmt"
	"strconv"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// The hub's own bounds of a twin (docs/spec/device-update.md 5.4). They are
// checked where a document is made (the development hub, local twins), not
// where the hub's own documents are read.
const (
	MaxDesired  = 32 << 10
	MaxReported = 32 << 10
	MaxDepth    = 10
	maxString   = 4 << 10
	maxKey      = 1 << 10
)

// Check says whether properties keep the hub's bounds: size, depth, length of
// strings, and keys without control characters, '.', '$' and blanks. A number whose
// magnitude is beyond a float64 is refused, because JSON parsers disagree about it: it
// becomes infinity, the largest number, or an error.
func Check(v strictjson.Value, max int) error {
	if v.Kind() != strictjson.Object {
		return fmt.Errorf("%w: not an object", ErrDocument)
	}
	if n := len(v.Bytes()); n > max {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrDocument, n, max)
	}
	return check(v, 0)
}

func check(v strictjson.Value, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("%w: nested more than %d deep", ErrDocument, MaxDepth)
	}
	if s, ok := v.Str(); ok && len(s) > maxString {
		return fmt.Errorf("%w: a string of %d bytes, at most %d", ErrDocument, len(s), maxString)
	}
	if v.Kind() == strictjson.Number {
		if _, err := strconv.ParseFloat(v.Literal(), 64); err != nil {
			return fmt.Errorf("%w: a number beyond a float64", ErrDocument)
		}
	}
	for _, item := range v.Items() {
		if err := check(item, depth+1); err != nil {
			return err
		}
	}
	for _, m := range v.Members() {
		if len(m.Name) == 0 || len(m.Name) > maxKey {
			return fmt.Errorf("%w: a key of %d bytes", ErrDocument, len(m.Name))
		}
		for _, r := range m.Name {
			if r < 0x20 || r == 0x7f || r == '.' || r == '$' || r == ' ' {
				return fmt.Errorf("%w: a key holds %q", ErrDocument, r)
			}
		}
		if err := check(m.Value, depth+1); err != nil {
			return err
		}
	}
	return nil
}
