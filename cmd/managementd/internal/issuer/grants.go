package issuer

import (
	"crypto/sha256"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Lives of what is given out before a token. A code is redeemed by the program that asked for it, at once.
const (
	codeLife    = time.Minute
	deviceLife  = 15 * time.Minute
	refreshLife = 24 * time.Hour
)

// maxGrants bounds what strangers can make the authority hold of one kind.
const maxGrants = 1000

// grants holds values of one kind, for example authorization codes. Whoever knows the secret of a value can fetch it
// until its life is over. Secrets are kept as digests: the time of a look-up then tells nothing about the secret.
type grants[V any] struct {
	life  time.Duration
	now   func() time.Time
	evict bool // a new value takes the place of the oldest, when as many are held as may be: only known users add them

	mu   sync.Mutex // guards held
	held map[[32]byte]grant[V]
}

type grant[V any] struct {
	value V
	ends  time.Time
}

func newGrants[V any](life time.Duration, now func() time.Time) *grants[V] {
	return &grants[V]{life: life, now: now, held: map[[32]byte]grant[V]{}}
}

// add keeps a value and returns the secret for it. false: as many are held as may be, and
// none gives way.
func (g *grants[V]) add(v V) (secret string, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if len(g.held) >= maxGrants {
		for k, held := range g.held {
			if !now.Before(held.ends) {
				delete(g.held, k)
			}
		}
	}
	if len(g.held) >= maxGrants && !g.evict {
		return "", false
	}
	if len(g.held) >= maxGrants {
		var first [32]byte
		var ends time.Time
		for k, held := range g.held {
			if ends.IsZero() || held.ends.Before(ends) {
				first, ends = k, held.ends
			}
		}
		delete(g.held, first)
	}
	secret = random()
	g.held[sha256.Sum256([]byte(secret))] = grant[V]{v, now.Add(g.life)}
	return secret, true
}

// get returns the value; live is false for one whose life is over, which is forgotten by that.
func (g *grants[V]) get(secret string) (v V, known, live bool) { return g.look(secret, false) }

// take is get, and the secret is good for nothing afterwards.
func (g *grants[V]) take(secret string) (v V, known, live bool) { return g.look(secret, true) }

func (g *grants[V]) look(secret string, last bool) (v V, known, live bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	k := sha256.Sum256([]byte(secret))
	held, known := g.held[k]
	live = known && g.now().Before(held.ends)
	if known && (last || !live) {
		delete(g.held, k)
	}
	return held.value, known, live
}

// find returns the first live value of which which is true.
func (g *grants[V]) find(which func(V) bool) (v V, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, held := range g.held {
		if g.now().Before(held.ends) && which(held.value) {
			return held.value, true
		}
	}
	return v, false
}

// limiter bounds guesses: ten at once, then one in six seconds, of everybody together.
type limiter struct {
	now   func() time.Time
	wrong *rate.Limiter
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, wrong: rate.NewLimiter(rate.Every(6*time.Second), 10)}
}

// open tells whether a guess may be made now.
func (l *limiter) open() bool { return l.wrong.TokensAt(l.now()) >= 1 }

// missed counts a guess that was wrong.
func (l *limiter) missed() { l.wrong.AllowN(l.now(), 1) }
