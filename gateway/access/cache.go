package access

import (
	"strings"
	"sync"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Bounds of a session's memory. A cache that is full starts again from
// nothing: topics that never repeat cost what they cost without a cache.
const (
	maxPublished = 128
	maxDelivered = 512
)

// cache remembers decisions of one session for one epoch. Both maps are made
// when they are first needed: most sessions only publish or only read.
type cache struct {
	mu        sync.RWMutex
	publishes map[string]message.Verdict
	delivers  map[deliverKey]delivery
}

type deliverKey struct {
	topic     string
	publisher *principal.Principal
	via       string // of a mirrored reading: the topic by which its publisher is judged
}

// delivery is a decision and the publisher's rights version that it rests on,
// seen under the policy numbered policies.
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
	// The topic may be part of a frame's buffer, which must not live on.
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
