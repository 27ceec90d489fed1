package audit

import (
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// limiter is a token bucket, with counts of the records that it suppressed. All fields are
// guarded by Log.mu.
type limiter struct {
	tokens  float64
	last    time.Time
	pending map[kind]*message.AuditRecord
	order   []kind // keys of pending, in the order in which they were first suppressed
}

// kind is what suppressed records are counted by.
type kind struct {
	event, reason string
	allowed       bool
}

// remainder counts the suppressed records beyond maxPending kinds.
var remainder = kind{event: "other"}

func newLimiter(burst float64, now time.Time) *limiter { return &limiter{tokens: burst, last: now} }

func (l *limiter) refill(now time.Time, rate, burst float64) {
	if d := now.Sub(l.last); d > 0 { // a clock that was set back must not remove tokens
		l.tokens = min(burst, l.tokens+d.Seconds()*rate)
	}
	l.last = now
}

func (l *limiter) take(now time.Time, rate, burst float64) bool {
	l.refill(now, rate, burst)
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}

func (l *limiter) full(now time.Time, rate, burst float64) bool {
	l.refill(now, rate, burst)
	return l.tokens >= burst
}

// suppress counts r. The record that is emitted later is the latest one of its kind, with the
// count of all of them.
func (l *limiter) suppress(r message.AuditRecord) {
	k := kind{r.Event, r.Reason, r.Allowed}
	old := l.pending[k]
	if old == nil && len(l.pending) >= maxPending {
		k = remainder
		r = message.AuditRecord{
			Time:      r.Time,
			Event:     k.event,
			Principal: r.Principal,
			Reason:    "suppressed",
			Count:     r.Count,
		}
		old = l.pending[k]
	}
	if old != nil {
		r.Count += old.Count
		*old = r
		return
	}
	if l.pending == nil {
		l.pending = map[kind]*message.AuditRecord{}
	}
	l.pending[k] = &r
	l.order = append(l.order, k)
}
