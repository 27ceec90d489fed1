package upstream

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is full jitter: each wait is drawn from zero to a ceiling that
// doubles, so that a thousand gateways do not come back at the same moment.
type Backoff struct {
	Base, Max time.Duration // defaults 500 ms and 60 s
	ceiling   time.Duration
}

// Next draws the next wait.
func (b *Backoff) Next() time.Duration {
	base, limit := b.Base, b.Max
	if base <= 0 {
		base = 500 * time.Millisecond
	}
	if limit <= 0 {
		limit = 60 * time.Second
	}
	if b.ceiling == 0 {
		b.ceiling = base
	} else {
		b.ceiling = min(2*b.ceiling, limit)
	}
	return rand.N(b.ceiling) + 1 //nolint:gosec // spreads load, keeps no secret
}

// Reset starts again at the base, after a success.
func (b *Backoff) Reset() { b.ceiling = 0 }

// lasting is how long a connection must have been there to be a success. One that upstream
// ends at once (because somebody else goes by the same name, say) is none.
const lasting = 10 * time.Second

// Lasted resets after a connection that lasted.
func (b *Backoff) Lasted(d time.Duration) {
	if d >= lasting {
		b.Reset()
	}
}

// Wait sleeps for Next; false when ctx ended first.
func (b *Backoff) Wait(ctx context.Context) bool {
	t := time.NewTimer(b.Next())
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
