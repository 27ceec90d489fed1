package wire

import (
	"errors"
	"fmt"
)

// ErrInvalid is what every refusal of foreign input wraps.
var ErrInvalid = errors.New("invalid")

// ErrGap says that a change set does not follow from what its receiver holds:
// only a full synchronisation helps.
var ErrGap = errors.New("the changes do not follow: a full synchronisation is needed")

// ErrNoFeed says that a server has no change feed: only full reads help.
var ErrNoFeed = errors.New("the server has no change feed")

// Error says which member of a document is wrong, and why. Its text may be
// shown to whoever sent the document.
type Error struct {
	Field  string // as the reference spells it; empty: the document itself
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

// Problem is an element of an answer that was left out, because it cannot be
// understood. Leaving it out never widens anybody's rights; where it could,
// the whole answer is an error instead.
type Problem struct {
	Type   string // as in Change.Type
	ID     string // as received
	Reason string
}

// String is "SpaceRoleAssignment 0000…: reason".
func (p Problem) String() string { return p.Type + " " + p.ID + ": " + p.Reason }
