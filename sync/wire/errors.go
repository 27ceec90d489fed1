package wire

import (
	"errors"
	"fmt"
)

// ErrInvalid is wrapped by the error of every document that is refused.
var ErrInvalid = errors.New("invalid")

// ErrGap says that changes do not begin at the version that their receiver has, so that it
// has to read everything.
var ErrGap = errors.New("the changes do not follow: a full synchronisation is needed")

// ErrHistory is the ErrGap of a server whose changes up to the receiver's version are not those
// that the receiver was told, although the numbers are the same: it was restored from a backup.
var ErrHistory = fmt.Errorf("the server tells another history than before, as after a restored backup: %w", ErrGap)

// CodeHistory is error.code of the answer 410 that means ErrHistory.
const CodeHistory = "410.600.000.001"

// ErrNoFeed says that a server has no change feed, so that everything has to be read each time.
var ErrNoFeed = errors.New("the server has no change feed")

// Error says which member of a document is wrong, and why. Its text may be
// shown to whoever sent the document.
type Error struct {
	Field  string // as the API's reference spells it; empty: the document itself
	Reason string
}

// Error is "objectId: must begin with @".
func (e *Error) Error() string {
	if e.Field == "" {
		return e.Reason
	}
	return e.Field + ": " + e.Reason
}

// Unwrap makes every Error an ErrInvalid.
func (e *Error) Unwrap() error { return ErrInvalid }

func invalid(field, format string, args ...any) error {
	return &Error{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// Problem names an element of an answer that was left out because it cannot be
// understood. That never gives anybody more rights: an element whose absence could do so
// makes the whole answer an error.
type Problem struct {
	Type   string // as in Change.Type
	ID     string // as received
	Reason string
}

// String is "SpaceRoleAssignment 0000…: reason".
func (p Problem) String() string { return p.Type + " " + p.ID + ": " + p.Reason }
