package audit

import (
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Allowed connects have a budget of their own, so that no number of them takes anything from
// denials: not their place in memory (Log.arrivals), in the file (arrivalsFile), in the writer's
// queue, or in what the journal takes of one service (journald.conf(5), RateLimitBurst=). A client
// that connects again and again, or two that take one client id from each other, are the ordinary
// case: at 5 records a second they wrote 136 MB a day.
const (
	// Of one principal that many are written at once, and then one for each arrivalEvery, with
	// the count of those since the one before.
	arrivalBurst = 2
	arrivalEvery = 5 * time.Minute
	// Of all principals together: a building whose power comes back is within the burst.
	arrivalsBurst = 1024
	arrivalsRate  = 10.0 // a second
)

// arrival tells whether a record is of an allowed connect, or of what is the same for a client that
// stays connected, an allowed re-authentication. Only these can be caused at will by whoever is
// let in and say nothing new.
func arrival(r *message.AuditRecord) bool {
	return r.Allowed && (r.Event == "connect" || r.Event == "reauthenticate")
}

// budget limits the rate of one kind of records, for each subject. All fields are guarded by Log.mu.
type budget struct {
	rate, burst float64 // records a second of one subject
	limiters    map[string]*limiter
	overflow    *limiter // shared by subjects beyond maxPrincipals

	all               *limiter // of all subjects together; nil: no limit
	allRate, allBurst float64
}

func newBudget(rate, burst float64, now time.Time) budget {
	return budget{rate: rate, burst: burst, limiters: map[string]*limiter{}, overflow: newLimiter(burst, now)}
}

// newArrivals is the budget of allowed connects.
func newArrivals(now time.Time) budget {
	b := newBudget(1/arrivalEvery.Seconds(), arrivalBurst, now)
	b.all, b.allRate, b.allBurst = newLimiter(arrivalsBurst, now), arrivalsRate, arrivalsBurst
	return b
}

func (b *budget) limiter(key string, now time.Time) *limiter {
	lim := b.limiters[key]
	if lim != nil {
		return lim
	}
	if len(b.limiters) >= maxPrincipals {
		return b.overflow
	}
	lim = newLimiter(b.burst, now)
	b.limiters[key] = lim
	return lim
}

// take takes a record's part of the budget; false: it is to be counted only.
func (b *budget) take(lim *limiter, now time.Time) bool {
	if b.all == nil {
		return lim.take(now, b.rate, b.burst)
	}
	b.all.refill(now, b.allRate, b.allBurst)
	return b.all.tokens >= 1 && lim.take(now, b.rate, b.burst) && b.all.take(now, b.allRate, b.allBurst)
}

// flush emits the counts of suppressed records: of subjects that are below their rate again, or
// (all) of every subject. It removes limiters that are idle.
func (b *budget) flush(now time.Time, all bool, emit func(message.AuditRecord)) {
	for key, lim := range b.limiters {
		b.flushOne(lim, now, all, emit)
		if len(lim.pending) == 0 && lim.full(now, b.rate, b.burst) {
			delete(b.limiters, key)
		}
	}
	b.flushOne(b.overflow, now, all, emit)
}

func (b *budget) flushOne(lim *limiter, now time.Time, all bool, emit func(message.AuditRecord)) {
	for _, key := range lim.order {
		if !all && !b.take(lim, now) {
			return
		}
		emit(*lim.pending[key])
		delete(lim.pending, key)
		lim.order = lim.order[1:]
	}
}
