package store

import (
	"errors"
	"fmt"
)

// The sentinels to branch on; every error of this package is an *Error around one of them or around the system's own.
var (
	ErrDiskFull = errors.New("too little free space")
	ErrCorrupt  = errors.New("the store fails its integrity check")
	ErrLocked   = errors.New("another process has the store open")
	ErrClosed   = errors.New("the store is closed")
	ErrTooLarge = errors.New("too large for one transaction")
	ErrBusy     = errors.New("too much is waiting to be committed")
	ErrEmpty    = errors.New("nothing is stored yet")
	ErrNotFound = errors.New("no such record")
	ErrWrongKey = errors.New("the sealing key is not the one the store was written under")
	ErrSchema   = errors.New("the store was written by a newer release")
)

// Error says what failed, where, and what an operator can do about it.
type Error struct {
	Op   string
	Path string
	Hint string
	Err  error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("store: %s", e.Op)
	if e.Path != "" {
		s += " " + e.Path
	}
	s += ": " + e.Err.Error()
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Reason is the stable code for the refusal of a message that could not be stored.
func (e *Error) Reason() string {
	switch {
	case errors.Is(e.Err, ErrDiskFull):
		return "disk-full"
	case errors.Is(e.Err, ErrTooLarge):
		return "too-large"
	case errors.Is(e.Err, ErrBusy):
		return "store-busy"
	default:
		return "store-failed"
	}
}
