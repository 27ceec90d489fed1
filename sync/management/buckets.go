package management

import (
	"container/list"
	"crypto/sha256"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
)

// buckets are token buckets by key: each has burst tokens at most, gains rate a second, and
// a request takes one. The least recently used of more than limit keys is forgotten, and
// begins full again. Safe for concurrent use; nil lets everything pass.
type buckets[K comparable] struct {
	rate, burst float64
	limit       int
	now         func() time.Time

	mu    sync.Mutex
	known map[K]*list.Element // guarded by mu; its values are *bucket[K]
	order list.List           // guarded by mu; the most recently used first
}

type bucket[K comparable] struct {
	key    K
	tokens float64
	at     time.Time // of tokens
}

func newBuckets[K comparable](rate float64, limit int, now func() time.Time) *buckets[K] {
	if rate < 0 {
		return nil
	}
	return &buckets[K]{rate: rate, burst: max(1, rate), limit: limit, now: now, known: map[K]*list.Element{}}
}

// take takes a token; false: there is none.
func (b *buckets[K]) take(key K) bool { return b.use(key, 1) }

// empty tells whether there is no token, and takes none.
func (b *buckets[K]) empty(key K) bool { return !b.use(key, 0) }

func (b *buckets[K]) use(key K, take float64) bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	e, ok := b.known[key]
	if !ok {
		if take == 0 {
			return true
		}
		e = b.order.PushFront(&bucket[K]{key: key, tokens: b.burst, at: now})
		b.known[key] = e
		if b.order.Len() > b.limit {
			oldest := b.order.Back()
			b.order.Remove(oldest)
			delete(b.known, oldest.Value.(*bucket[K]).key)
		}
	}
	b.order.MoveToFront(e)
	have := e.Value.(*bucket[K])
	if passed := now.Sub(have.at); passed > 0 {
		have.tokens = min(b.burst, have.tokens+passed.Seconds()*b.rate)
	}
	have.at = now
	if have.tokens < 1 {
		return false
	}
	have.tokens -= take
	return true
}

// throttle decides who is answered 429, so that nobody's requests cost another's
// their answers: each principal has a bucket for the feed and one for everything
// else. Until a caller is proved, only its address is known: that pays for each
// credential that was refused, and once it has nothing left, only credentials that
// were good before are looked at.
type throttle struct {
	principals, feeds *buckets[model.Identity]
	addresses         *buckets[netip.Prefix]

	mu     sync.Mutex
	proved map[[sha256.Size]byte]model.Identity // guarded by mu: whose a credential was
}

// throttled bounds each of the throttle's memories.
const throttled = 10_000

func newThrottle(rate float64, now func() time.Time) *throttle {
	return &throttle{
		principals: newBuckets[model.Identity](rate, throttled, now),
		feeds:      newBuckets[model.Identity](rate, throttled, now),
		addresses:  newBuckets[netip.Prefix](rate, throttled, now),
		proved:     map[[sha256.Size]byte]model.Identity{},
	}
}

// of is the bucket of a request: the feed has its own.
func (t *throttle) of(r *http.Request) *buckets[model.Identity] {
	path := strings.TrimSuffix(r.URL.Path, "/")
	if len(path) >= len("/changes") && strings.EqualFold(path[len(path)-len("/changes"):], "/changes") {
		return t.feeds
	}
	return t.principals
}

// before tells, without looking at the credential, whether a request is worth it.
func (t *throttle) before(r *http.Request) bool {
	t.mu.Lock()
	who, known := t.proved[credentialOf(r)]
	t.mu.Unlock()
	if known {
		return !t.of(r).empty(who)
	}
	return !t.addresses.empty(addressOf(r))
}

// refused counts a credential that proved nothing.
func (t *throttle) refused(r *http.Request) {
	t.mu.Lock()
	delete(t.proved, credentialOf(r)) // it was good once, and expired or was revoked
	t.mu.Unlock()
	t.addresses.take(addressOf(r))
}

// accepted takes a token from the principal's bucket; false: there is none.
func (t *throttle) accepted(r *http.Request, who model.Identity) bool {
	t.mu.Lock()
	if len(t.proved) >= throttled {
		clear(t.proved) // it only saves work
	}
	t.proved[credentialOf(r)] = who
	t.mu.Unlock()
	return t.of(r).take(who)
}

func credentialOf(r *http.Request) [sha256.Size]byte {
	return sha256.Sum256([]byte(r.Header.Get("Authorization")))
}

// addressOf is whom an address counts as: itself, or the /64 that one subscriber has of IPv6.
func addressOf(r *http.Request) netip.Prefix {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// principal is what a caller counts as: its own identity, which comes first.
func (c *Caller) principal() model.Identity {
	if len(c.Subject.Identities) == 0 {
		return model.Identity{}
	}
	return c.Subject.Identities[0]
}
