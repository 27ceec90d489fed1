package session

import (
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/outbuf"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// purged is the time of suspension of a subscription whose queue is gone: it
// still comes back with its right, but nothing waits for it.
const purged = 1

// Expired is the reason of a verdict that a credential has merely run out.
const Expired = "expired"

// Generation starts a new one: everything that waits is decided completely
// again before it is sent. Called after the new rights are in force.
func (st *Store) Generation() { st.gen.Add(1) }

// Now is the present generation. Who decides a publish asks before deciding.
func (st *Store) Now() uint64 { return st.gen.Load() }

// Changes is what deciding a session again took and gave back.
type Changes struct {
	Touched   bool // the owner matched
	Connect   message.Verdict
	Suspended []*Sub
	Resumed   []*Sub
	Cut       int
	// Held is the write in progress that carries something that is denied now.
	Held outbuf.Write
	Conn any
}

// Recheck decides everything in s again. Afterwards nothing that the present
// rights deny is appended to the output buffer, nor in it, except for Held.
// match tells whose rights may have changed: of a session whose owner it is not,
// only what such publishers have published is judged again.
func (s *Session) Recheck(match func(*principal.Principal) bool, now time.Time, allow func(*Sub) bool) Changes {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := Changes{Conn: s.claim, Connect: message.Verdict{Allowed: true}}
	if s.dead {
		return c
	}
	c.Touched = match(s.who)
	if c.Touched {
		c.Connect = s.rights.Connect()
		// A session that waits needs no credential: an expired one is no loss of a right.
		if !c.Connect.Allowed && (s.claim != nil || c.Connect.Reason != Expired) {
			allow = func(*Sub) bool { return false }
		}
		c.Suspended, c.Resumed = s.decide(now, allow)
	}
	if s.link == nil {
		return c
	}
	cut, held := s.link.Out.Cut(func(m *message.Message, owner outbuf.Owner) bool {
		if !c.Touched && !match(m.Publisher) {
			return false
		}
		e, _ := owner.(*Entry)
		if e == nil {
			e = &Entry{m: m, private: Private(m.Topic)}
		}
		ok, _ := s.may(e)
		return !ok
	})
	c.Cut, c.Held = len(cut), held
	var back []*Entry
	for _, o := range cut {
		if e, ok := o.(*Entry); ok && e != nil && e.sent {
			e.sent, e.gen = false, 0
			s.sent--
			back = append(back, e)
		}
	}
	s.queue.putBack(back)
	s.pump()
	return c
}

// RecheckParted decides again what a connection still carries that s does not
// have any more: until it is closed it flushes what it was given before. held is
// the write in progress if that carries something that is denied now.
func (s *Session) RecheckParted(conn any, out *outbuf.Buffer, deny func(*message.Message) bool) (cut int, held outbuf.Write) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil && s.link.Conn == conn {
		return 0, nil // Recheck has found it, or it began after the rights of now
	}
	// What of it had to be acknowledged went back into the queue when they parted.
	owners, held := out.Cut(func(m *message.Message, _ outbuf.Owner) bool { return deny(m) })
	return len(owners), held
}

// decide suspends the subscriptions that allow refuses and brings back the
// others, with what was held for them.
func (s *Session) decide(now time.Time, allow func(*Sub) bool) (suspended, resumed []*Sub) {
	for _, sub := range s.subs {
		switch ok := allow(sub); {
		case !ok && !sub.Suspended():
			sub.since.Store(now.UnixNano())
			suspended = append(suspended, sub)
		case ok && sub.Suspended():
			sub.since.Store(0)
			resumed = append(resumed, sub)
		}
	}
	if len(suspended) > 0 {
		s.doubt() // some may have been decided since the generation began, and before this
	}
	if len(resumed) > 0 {
		s.unhold()
	}
	return suspended, resumed
}

// Purge drops what waits for subscriptions suspended at or before then, and
// returns how much that was.
func (s *Session) Purge(then time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	due := false
	for _, sub := range s.subs {
		if since := sub.since.Load(); since > purged && since <= then.UnixNano() {
			sub.since.Store(purged)
			due = true
		}
	}
	if !due || s.dead {
		return 0
	}
	return s.discard("revoked", func(e *Entry) bool {
		ok, hold := s.may(e)
		return !ok && !hold
	})
}

// Forget drops what deleted principals have published and s still holds.
func (s *Session) Forget(gone func(*principal.Principal) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.discard("publisher-deleted", func(e *Entry) bool { return gone(e.m.Publisher) })
}

// discard drops what waits and is meant, and returns how much that was.
func (s *Session) discard(reason string, meant func(*Entry) bool) int {
	n := 0
	keep := func(e *Entry) bool {
		if e.released || !meant(e) {
			return true
		}
		n++
		return !s.drop(e, reason)
	}
	s.queue.filter(keep)
	held := s.held
	s.held = nil
	var back []*Entry // of which a PUBREL is left to send
	for _, e := range held {
		switch {
		case !keep(e):
		case e.released:
			back = append(back, e)
		default:
			s.held = append(s.held, e)
		}
	}
	s.queue.putBack(back)
	s.pump()
	return n
}
