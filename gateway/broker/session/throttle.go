package session

import (
	"sync"
	"sync/atomic"
	"time"
)

// throttle lets publishers wait for one session whose client reads more slowly than they
// publish (docs/spec/semantics.md 6.4). While at least one of them waits, time is taken
// from a budget of Config.HoldUp in any Config.HoldUpWindow. Once that is spent nobody waits
// any more, and the session loses deliveries by its overflow policy, until its queue is at
// most a quarter full: a receiver that acknowledges one message every few seconds would
// otherwise slow a whole building down for ever.
type throttle struct {
	waiters atomic.Int32 // how many publishers wait; changed with mu held, read without
	spent   atomic.Bool  // the budget ran out, and the queue has not been at most a quarter full since; as waiters

	mu    sync.Mutex // guards the fields below
	left  time.Duration
	asOf  time.Time     // when left was right; zero: it has never been used, and is whole
	eased chan struct{} // closed when the waiting publishers may go on; nil: nobody waits
}

// Publisher is who waits in Await.
type Publisher struct {
	Session *Session        // of the client that publishes; nil: it is no client
	Gone    <-chan struct{} // closed when its connection ends
	Pause   func()          // called before the wait begins
	Waited  time.Duration   // how long this publish has waited for others already
}

// Await holds a publisher up, and returns how long, while the queue of s is more than three quarters full, until it
// is at most half full, the budget of s is spent, s has no connection any more, or the
// publisher's ends. No lock may be held.
//
// Nobody waits for a client whose own connection is not read at the moment (Paused): its
// acknowledgements, which would free capacity, are not read either.
func (s *Session) Await(p Publisher) time.Duration {
	if !s.Slows(p.Session) {
		return 0
	}
	eased, left := s.throttle.enter(s)
	if eased == nil {
		return 0
	}
	defer s.throttle.leave(s)
	if !s.above(1, 2) || !s.Connected() { // since enter nobody can ease it unseen
		return 0
	}
	if p.Pause != nil {
		p.Pause()
	}
	began := time.Now()
	enough := time.NewTimer(min(left, s.store.c.HoldUp-p.Waited))
	defer enough.Stop()
	select {
	case <-eased:
	case <-enough.C:
	case <-p.Gone:
	}
	return time.Since(began)
}

// Slows tells whether from, which publishes, would wait in Await. It costs two atomic
// loads while the queue has capacity.
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

// Paused tells that the connection of s is not read at the moment, because its publishes wait.
func (s *Session) Paused(paused bool) { s.paused.Store(paused) }

// enter counts one more waiting publisher, and says how long it may wait; nil: not at all.
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

// account brings the budget up to now: it shrinks while somebody waits, and grows back
// over HoldUpWindow while nobody does. t.mu is held.
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

// ease lets the waiting publishers go on if the queue is at most half full, or, with
// unlinked, because the session has lost its connection; and it notes that a queue whose
// budget was spent is at most a quarter full. It takes no lock while there is neither.
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

// above tells whether more than num/den of the queue is used, by messages or by bytes.
func (s *Session) above(num, den int64) bool {
	c := &s.store.c
	return s.count.Load()*den > int64(c.QueueMessages)*num || s.bytes.Load()*den > int64(c.QueueBytes)*num
}

// Connected tells whether deliveries can leave at the moment.
func (s *Session) Connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link != nil
}
