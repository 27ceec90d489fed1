package access

import (
	"strings"
	"sync"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// The most entries that one session caches. A full cache is emptied, so that a client whose
// topics never repeat costs a bounded amount of memory.
const (
	maxPublished = 128
	maxDelivered = 512
)

// cache holds the decisions of one session for one epoch. Both maps are guarded by mu, and made
// when they are first needed, because most sessions only publish or only read.
type cache struct {
	mu        sync.RWMutex
	publishes map[string]message.Verdict
	delivers  map[deliverKey]delivery
}

type deliverKey struct {
	topic     string
	publisher *principal.Principal
	via       string // of a mirrored reading: its original topic, by which the publisher's right is decided
}

// delivery is a cached decision. publisher is the version of the publisher's rights on which it
// was made, and policies the number of the policy in which that version was last confirmed.
type delivery struct {
	ok        bool
	policies  uint64
	publisher uint64
}

func (c *cache) published(topic string) (message.Verdict, bool) {
	c.mu.RLock()
	v, ok := c.publishes[topic]
	c.mu.RUnlock()
	return v, ok
}

func (c *cache) keepPublished(topic string, v message.Verdict) {
	c.mu.Lock()
	if c.publishes == nil || len(c.publishes) >= maxPublished {
		c.publishes = map[string]message.Verdict{}
	}
	// The topic may point into a frame's buffer, which the cache must not keep alive.
	c.publishes[strings.Clone(topic)] = v
	c.mu.Unlock()
}

func (c *cache) delivered(k deliverKey) (delivery, bool) {
	c.mu.RLock()
	d, ok := c.delivers[k]
	c.mu.RUnlock()
	return d, ok
}

func (c *cache) keepDelivered(k deliverKey, d delivery) {
	c.mu.Lock()
	if c.delivers == nil || len(c.delivers) >= maxDelivered {
		c.delivers = map[deliverKey]delivery{}
	}
	c.delivers[k] = d
	c.mu.Unlock()
}
