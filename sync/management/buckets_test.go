package management

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// clock is a time that the test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)} }

func TestBuckets(t *testing.T) {
	c := newClock()
	b := newBuckets[string](4, 3, c.Now)
	count := func(key string) (n int) {
		for range 100 {
			if b.take(key) {
				n++
			}
		}
		return n
	}
	for _, step := range []struct {
		after time.Duration
		key   string
		want  int
	}{
		{0, "a", 4},                      // full at first
		{0, "b", 4},                      // each key has its own
		{250 * time.Millisecond, "a", 1}, // four a second
		{240 * time.Millisecond, "a", 0}, // almost another one
		{10 * time.Millisecond, "a", 1},
		{time.Hour, "a", 4},         // never more than full
		{-30 * time.Minute, "a", 0}, // a clock that is set back gives none, and takes none
		{250 * time.Millisecond, "a", 1},
	} {
		c.pass(step.after)
		if got := count(step.key); got != step.want {
			t.Errorf("%v later, %s: %d, want %d", step.after, step.key, got, step.want)
		}
	}
	if b.empty("never seen") {
		t.Error("a key that was never seen is empty")
	}
	for i := range 1000 {
		b.take(fmt.Sprint(i))
	}
	if len(b.known) != 3 || b.order.Len() != 3 {
		t.Errorf("%d and %d keys are remembered, want 3", len(b.known), b.order.Len())
	}
	b.take("998") // now the most recently used, so that 997 goes next
	b.take("new")
	if _, ok := b.known["998"]; !ok || b.known["997"] != nil {
		t.Error("another than the least recently used key was forgotten")
	}
}

// TestOneCallerThrottlesNobodyElse, and by nothing else its own change feed.
func TestOneCallerThrottlesNobodyElse(t *testing.T) {
	c := newClock()
	h := start(t, func(o *Options) { o.RequestsPerSecond, o.Now = 5, c.Now })
	flood := func(who, path string) (answered int) {
		for range 50 {
			if a := h.do(who, "GET", path, nil); a.status != 429 {
				answered++
			}
		}
		return answered
	}
	if got := flood("stranger", "/devices"); got != 5 {
		t.Errorf("%d requests of a stranger were answered, want 5", got)
	}
	h.want(204, "admin", "DELETE", "/roleassignments/"+num(53).String(), nil)
	h.want(200, "site", "GET", "/changes", nil)
	if got := flood("site", "/devices"); got != 5 {
		t.Errorf("%d, want 5", got)
	}
	h.want(200, "site", "GET", "/gateway/changes/", nil) // the feed has a bucket of its own
	h.want(429, "site", "GET", "/devices", nil)
	c.pass(time.Second)
	h.want(200, "site", "GET", "/devices", nil)
}

// TestUnprovedCallersPayByTheirAddress: so that credentials that are not good cannot make the
// server verify without end, and neither do they shut out a good caller at the same address.
func TestUnprovedCallersPayByTheirAddress(t *testing.T) {
	c := newClock()
	looked := 0
	h := start(t, func(o *Options) {
		o.RequestsPerSecond, o.Now = 5, c.Now
		o.Authenticate = func(r *http.Request) (Caller, error) { looked++; return authenticate(r) }
	})
	ask := func(address, credential string) int {
		r := httptest.NewRequest(http.MethodGet, Base+"/system/roles", nil)
		r.RemoteAddr = address
		r.Header.Set("Authorization", credential)
		rec := httptest.NewRecorder()
		h.server.ServeHTTP(rec, r)
		return rec.Code
	}
	if got := ask("192.0.2.1:1000", "Bearer admin"); got != 200 {
		t.Fatal(got)
	}
	looked = 0
	refused := map[int]int{}
	for i := range 100 {
		refused[ask("192.0.2.1:2000", fmt.Sprint("Bearer guess ", i))]++
	}
	if looked != 5 || refused[401] != 5 || refused[429] != 95 {
		t.Errorf("%d credentials were looked at, answers %v; want 5 of 100", looked, refused)
	}
	for _, tt := range []struct {
		address, credential string
		want                int
	}{
		{"192.0.2.1:3000", "Bearer admin", 200},   // known to be good
		{"192.0.2.1:3000", "Bearer support", 429}, // not known yet
		{"192.0.2.2:3000", "Bearer support", 200}, // elsewhere
		{"[2001:db8::1]:3000", "Bearer nobody", 401},
	} {
		if got := ask(tt.address, tt.credential); got != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.address, tt.credential, got, tt.want)
		}
	}
	for range 10 {
		ask("[2001:db8::2]:3000", "Bearer nobody")
	}
	if got := ask("[2001:db8::3]:3000", "Bearer nobody"); got != 429 {
		t.Errorf("another address of one IPv6 /64: %d, want 429", got)
	}
}
