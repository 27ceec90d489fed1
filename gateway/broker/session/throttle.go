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

	mu    sync.Mutex // guards the fields below
	left  time.Duration
	asOf  time.Time     // when left was last brought up to date; zero: the budget is untouched
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
	t.account(s)
	return !t.spent.Load() && t.left > 0
}

// Paused sets whether the connection of s is not read at the moment, because its publishes wait.
func (s *Session) Paused(paused bool) { s.paused.Store(paused) }

// enter counts one more waiting publisher. It returns the channel to wait for, nil if the publisher
// must not wait, and how long it may wait.
func (t *throttle) enter(s *Session) (eased <-chan struct{}, left time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.account(s)
	if t.spent.Load() || t.left <= 0 {
		return nil, 0
	}
	if t.eased == nil {
		t.eased = make(chan struct{})
	}
	t.waiters.Add(1)
	return t.eased, t.left
}

func (t *throttle) leave(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.account(s)
	t.waiters.Add(-1)
	if t.left <= 0 && s.above(1, 4) {
		t.spent.Store(true)
	}
}

// account brings the budget up to date: it shrinks while a publisher waits, and otherwise grows
// back over HoldUpWindow. t.mu is held.
func (t *throttle) account(s *Session) {
	c, now := &s.store.c, time.Now()
	passed := now.Sub(t.asOf)
	switch {
	case t.asOf.IsZero():
		t.left = c.HoldUp
	case t.waiters.Load() > 0:
		t.left -= passed
	case c.HoldUpWindow > 0:
		t.left = min(c.HoldUp, t.left+time.Duration(float64(passed)*float64(c.HoldUp)/float64(c.HoldUpWindow)))
	}
	t.left, t.asOf = max(0, t.left), now
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
