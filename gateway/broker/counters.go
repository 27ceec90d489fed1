package broker

import (
	"maps"
	"sync"
	"sync/atomic"
)

// counters are totals since the start.
type counters struct {
	accepted, acceptErrors, refusedEarly atomic.Uint64
	connects, connectsRefused            atomic.Uint64
	received, delivered, denied          atomic.Uint64
	refused, malformed                   atomic.Uint64
	bytesIn, bytesOut                    atomic.Uint64
	panics, tripwire                     atomic.Uint64
	takeOvers                            atomic.Uint64
	pending, waiting                     atomic.Int64
	dropped, turnedAway                  tally
}

func (c *counters) drop(reason string) { c.dropped.add(reason) }

// tally counts by reason. It has a lock, which costs little because what is counted is rare or
// comes with system calls.
type tally struct {
	mu sync.Mutex // guards by
	by map[string]uint64
}

func (t *tally) add(reason string) {
	t.mu.Lock()
	if t.by == nil {
		t.by = map[string]uint64{}
	}
	t.by[reason]++
	t.mu.Unlock()
}

// all is a copy, never nil.
func (t *tally) all() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		return map[string]uint64{}
	}
	return maps.Clone(t.by)
}
