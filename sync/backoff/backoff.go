// Package backoff computes how long to wait before the next attempt at
// something that failed: the wait doubles with each failure in a row, up to a
// maximum, and a part of it can be random so that many gateways which lost the
// same server do not come back at the same moment.
//
// It is a leaf, because both sync and the adapters of the gateway retry.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is the policy of one retry loop together with its state. Min and Max
// are required; the zero value never waits. It is not safe for concurrent use.
type Backoff struct {
	// Min is the ceiling of the wait after the first failure. Each further
	// failure in a row doubles the ceiling, until it reaches Max.
	Min, Max time.Duration
	// Spread is the part of the ceiling that is drawn at random, from 0 to 1:
	// with 0 the wait is the ceiling itself, with 0.5 it lies between half of
	// the ceiling and all of it, with 1 between nothing and all of it ("full
	// jitter").
	Spread float64

	// Random draws from [0, 1); nil is math/rand/v2.
	Random func() float64
	// Timer returns a channel that receives once the duration has passed; nil is
	// time.After.
	Timer func(time.Duration) <-chan time.Time

	// Failures counts the failures in a row. Next adds one. A caller may set it
	// where something was achieved that does not count as a full success.
	Failures int
}

// Next counts one more failure and returns the wait that follows it. With Min
// above zero it is at least 1 ns, so that it can be told from no wait at all.
func (b *Backoff) Next() time.Duration {
	b.Failures++
	ceiling := b.ceiling()
	if b.Spread <= 0 || ceiling <= 0 {
		return ceiling
	}
	random := b.Random
	if random == nil {
		random = rand.Float64 //nolint:gosec // spreads load, keeps no secret
	}
	drawn := float64(ceiling) * b.Spread
	return max(1, ceiling-time.Duration(drawn)+time.Duration(drawn*random()))
}

// ceiling is Min doubled for every failure after the first, at most Max.
func (b *Backoff) ceiling() time.Duration {
	c := min(b.Min, b.Max)
	for n := 1; n < b.Failures && c > 0 && c < b.Max; n++ {
		if c > b.Max/2 {
			return b.Max // also where doubling would overflow
		}
		c *= 2
	}
	return c
}

// Reset is called after a success: the next wait starts from Min again.
func (b *Backoff) Reset() { b.Failures = 0 }

// After is Next as a channel, for a select that waits for other things too.
func (b *Backoff) After() <-chan time.Time {
	if b.Timer == nil {
		return time.After(b.Next())
	}
	return b.Timer(b.Next())
}

// Wait blocks for Next. It reports false if ctx ended first.
func (b *Backoff) Wait(ctx context.Context) bool {
	select {
	case <-b.After():
		return true
	case <-ctx.Done():
		return false
	}
}
