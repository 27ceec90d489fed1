package broker

import (
	"maps"
	"sync"
	"sync/atomic"
)

// counters are totals since the start. dropped is a map and needs a lock, which costs little because
// drops are rare; the others are atomic.
type counters struct {
	accepted, acceptErrors, refusedEarly atomic.Uint64
	connects, connectsRefused            atomic.Uint64
	received, delivered, denied          atomic.Uint64
	refused, malformed                   atomic.Uint64
	bytesIn, bytesOut                    atomic.Uint64
	panics, tripwire                     atomic.Uint64
	takeOvers                            atomic.Uint64
	pending, waiting                     atomic.Int64

	mu      sync.Mutex // guards dropped
	dropped map[string]uint64
}

func (c *counters) drop(reason string) {
	c.mu.Lock()
	if c.dropped == nil {
		c.dropped = map[string]uint64{}
	}
	c.dropped[reason]++
	c.mu.Unlock()
}

func (c *counters) drops() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped == nil {
		return map[string]uint64{}
	}
	return maps.Clone(c.dropped)
}
