package upstream

import (
	"context"
	"errors"
	"time"

	"github.com/gatehouse/gatehouse/sync/backoff"
)

// NewBackoff returns the waits between two attempts to connect upstream: full
// jitter below a ceiling that grows from 500 ms to 60 s, because a thousand
// gateways lose the same hub at the same moment.
func NewBackoff() backoff.Backoff {
	return backoff.Backoff{
		Min:    500 * time.Millisecond,
		Max:    60 * time.Second,
		Spread: 1,
	}
}

// Lasting is how long a connection must have stood to count as a success. One
// that upstream accepts and ends at once (because another client uses the same
// client id, say) must not reset the backoff: the two would evict each other as
// fast as they can connect.
const Lasting = 10 * time.Second

// Unready is the error of an attempt to connect that was not made, because a file which it needs
// (authorities, a certificate, a key) cannot be used. Files that are renewed one after the other do
// not match for a moment, and one that comes with a disk or a service may be late.
type Unready struct{ Err error }

func (e *Unready) Error() string { return e.Err.Error() }

func (e *Unready) Unwrap() error { return e.Err }

// lookAgain is the wait before files are read again: to look costs nothing.
const lookAgain = 2 * time.Second

// Pause waits before the next attempt to connect, after one that ended with err: as back says, and a
// moment only if it was Unready, which is no failure of upstream.
func Pause(ctx context.Context, back *backoff.Backoff, err error) {
	if !errors.As(err, new(*Unready)) {
		back.Wait(ctx)
		return
	}
	select {
	case <-time.After(lookAgain):
	case <-ctx.Done():
	}
}
