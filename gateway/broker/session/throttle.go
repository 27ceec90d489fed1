package session

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"
)

// throttle makes publishers wait for one session whose client reads more slowly than they
// publish (docs/spec/semantics.md 6.4). While at least one publisher waits, a budget of
// Config.HoldUp in any Config.HoldUpWindow is used up. Once it is spent, no publisher waits
// any more, and the session loses deliveries by its overflow policy, until its queue is at
// most a quarter full. Otherwise a client that acknowledges one message every few seconds
// could slow all publishers of a building down for ever.
type throttle struct {
	waiters atomic.Int32 // how many publishers wait; changed with mu held, read without it
	spent   atomic.Bool  // the budget ran out, and since then the queue was never at most a quarter full; locked as waiters

	mu    sync.Mutex    // guards the fields below
	used  *spending     // nil: nobody has ever waited
	eased chan struct{} // closed when the waiting publishers may go on; nil: none waits
}

// Publisher describes a publisher to Await.
type Publisher struct {
	Session *Session        // of the client that publishes; nil: the publisher is no client
	Gone    <-chan struct{} // closed when the publisher's connection ends
	Pause   func()          // called before the wait begins
	Most    time.Duration   // how long it waits for this receiver at most; 0: as long as it may
	Waited  time.Duration   // how long this publish has already waited for other receivers
}

// Await holds a publisher up if the queue of s is more than three quarters full. It returns how
// long it did. The wait ends when the queue is at most half full, the budget of s is spent, this
// publish has waited Config.HoldUp for all its receivers together, s has no connection any
// more, or the publisher's connection ends. No lock may be held.
//
// No publisher waits for a client whose own connection is not read at the moment (Paused),
// because the acknowledgements that would free capacity are then not read either.
func (s *Session) Await(p Publisher) time.Duration {
	if !s.Slows(p.Session) || p.Waited >= s.store.c.HoldUp || p.gone() {
		return 0
	}
	eased, left := s.throttle.enter(s)
	if eased == nil {
		return 0
	}
	defer s.throttle.leave(s)
	if !s.above(1, 2) || !s.Connected() { // checked again after enter: from then on ease closes eased
		return 0
	}
	if p.Pause != nil {
		p.Pause()
	}
	began := time.Now()
	enough := time.NewTimer(min(left, s.store.c.HoldUp-p.Waited, cmp.Or(p.Most, left)))
	defer enough.Stop()
	select {
	case <-eased:
	case <-enough.C:
	case <-p.Gone:
	}
	return time.Since(began)
}

func (p *Publisher) gone() bool {
	select {
	case <-p.Gone:
		return true
	default:
		return false
	}
}

// Slows reports whether the publisher from would wait in Await. It costs two atomic loads while
// the queue has capacity.
func (s *Session) Slows(from *Session) bool {
	if from == nil || from == s || !s.above(3, 4) || s.paused.Load() || !s.Connected() {
		return false
	}
	t := &s.throttle
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.spent.Load() && t.left(s) > 0
}

// Paused sets whether the connection of s is not read at the moment, because its publishes wait.
func (s *Session) Paused(paused bool) { s.paused.Store(paused) }

// enter counts one more waiting publisher. It returns the channel to wait for, nil if the publisher
// must not wait, and how long it may wait.
func (t *throttle) enter(s *Session) (eased <-chan struct{}, left time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left = t.left(s)
	if t.spent.Load() || left <= 0 {
		return nil, 0
	}
	if t.eased == nil {
		t.eased = make(chan struct{})
	}
	if t.used == nil {
		t.used = &spending{began: time.Now()}
	}
	t.waiters.Add(1)
	return t.eased, left
}

func (t *throttle) leave(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := t.left(s)
	t.waiters.Add(-1)
	if left <= 0 && s.above(1, 4) {
		t.spent.Store(true)
	}
}

// left brings used up to date and returns what is left of the budget; t.mu is held.
func (t *throttle) left(s *Session) time.Duration {
	c := &s.store.c
	if t.used == nil {
		return c.HoldUp
	}
	return c.HoldUp - t.used.pass(time.Since(t.used.began), t.waiters.Load() > 0, c.HoldUpWindow)
}

// windowSlices is into how many parts of equal length spending divides a window.
const windowSlices = 12

// spending is for how long publishers waited within the latest window. It is kept by slices of the
// window, so that a wait is forgotten between one window and 13/12 of one after it, never sooner:
// a budget that grew back little by little would allow twice as much within one window.
type spending struct {
	began  time.Time                       // the time from which slices are counted
	asOf   time.Duration                   // up to where waited is known, since began
	newest time.Duration                   // the number of the newest slice
	waited [windowSlices + 1]time.Duration // by the number of the slice, modulo the length
}

// pass takes note that the time up to now, since began, has passed, in which somebody waited or
// nobody did, and returns for how long publishers waited in the latest window.
func (u *spending) pass(now time.Duration, waiting bool, window time.Duration) (sum time.Duration) {
	width := max(window/windowSlices, 1)
	if oldest := (now/width - windowSlices) * width; u.asOf < oldest { // what was before is forgotten anyway
		u.asOf = oldest
	}
	for {
		n := u.asOf / width
		for u.newest = max(u.newest, n-windowSlices-1); u.newest < n; {
			u.newest++
			u.waited[u.newest%(windowSlices+1)] = 0
		}
		if u.asOf >= now {
			break
		}
		end := min(now, (n+1)*width)
		if waiting {
			u.waited[n%(windowSlices+1)] += end - u.asOf
		}
		u.asOf = end
	}
	for _, d := range u.waited {
		sum += d
	}
	return sum
}

// ease lets the waiting publishers go on if the queue is at most half full or if, with unlinked, the
// session has lost its connection. If the budget was spent and the queue is at most a quarter
// full, it also resets spent. It takes no lock if no publisher waits and the budget is not spent.
func (s *Session) ease(unlinked bool) {
	t := &s.throttle
	spent := t.spent.Load() && !s.above(1, 4)
	if !spent && (t.waiters.Load() == 0 || !unlinked && s.above(1, 2)) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if spent {
		t.spent.Store(false)
	}
	if t.eased != nil {
		close(t.eased)
		t.eased = nil
	}
}

// stalled reports whether the client is connected, has slowed its publishers down for as long
// as it may, and will not be told of what it loses: its session ends with its connection, so
// that it cannot expect anything from before. Such a connection is ended instead, and its
// client subscribes again.
func (s *Session) stalled() bool { return s.throttle.spent.Load() && !s.Persistent() && s.Connected() }

// above reports whether more than num/den of the queue is used, by messages or by bytes.
func (s *Session) above(num, den int64) bool {
	c := &s.store.c
	return s.count.Load()*den > int64(c.QueueMessages)*num || s.bytes.Load()*den > int64(c.QueueBytes)*num
}

// Connected reports whether deliveries can be sent at the moment.
func (s *Session) Connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link != nil
}
