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
// (authorities, a certificate, a key) cannot be used. That may pass soon: a certificate and its key
// do not match while they are renewed one after the other, and a file on a disk that is mounted late
// is missing until then.
type Unready struct{ Err error }

func (e *Unready) Error() string { return e.Err.Error() }

func (e *Unready) Unwrap() error { return e.Err }

// lookAgain is the wait before files are read again. It is short because reading them costs little.
const lookAgain = 2 * time.Second

// Pause waits before the next attempt to connect, after one that ended with err: as long as back
// says, or lookAgain if err is Unready, which is no failure of upstream.
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
