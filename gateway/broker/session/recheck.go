package session

import (
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/outbuf"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// purged stands in Sub.since, in place of a time, once what waited for a suspended
// subscription has been dropped, or the subscription was removed. A suspended one
// still comes back with its right, and then begins with nothing.
const purged = 1

// Expired is the reason of a verdict that refuses only because the credential has run out.
const Expired = "expired"

// Generation starts a new generation of decisions, once new rights are in force:
// everything that waits in any session is decided completely again before it is
// sent.
func (st *Store) Generation() { st.gen.Add(1) }

// Now is the present generation. Whoever decides a publish asks before it decides,
// so that a revocation in between is seen (Delivery.Gen).
func (st *Store) Now() uint64 { return st.gen.Load() }

// Changes is what Recheck took from a session and gave back.
type Changes struct {
	Touched   bool            // match held for the owner
	Connect   message.Verdict // whether the owner may be connected
	Suspended []*Sub          // lost their right
	Resumed   []*Sub          // had lost their right and have it again
	Cut       int             // messages taken out of the output buffer
	// Held is the write in progress if it carries a message that is denied now.
	// That cannot be taken back, only waited for.
	Held outbuf.Write
	Conn any // the connection that owns the session, or nil
}

// Recheck decides everything in s again by the present rights. Afterwards nothing
// that they deny is in the output buffer, except for Held, or can be appended.
//
// match tells whose rights may have changed. If the owner is not among them, only
// messages of publishers that are get decided again. allow decides subscriptions.
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
		// While a session is offline, an expired credential costs it nothing: its
		// client needs a valid one to come back.
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
			e = &Entry{body: &body{m: m, private: Private(m.Topic)}}
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

// RecheckParted is Recheck for a connection that does not own the session any more
// but is not closed yet: its output buffer still flushes what it was given before.
// held is as Changes.Held.
func (s *Session) RecheckParted(conn any, out *outbuf.Buffer, deny func(*message.Message) bool) (cut int, held outbuf.Write) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil && s.link.Conn == conn {
		return 0, nil // Recheck has found it, or it was linked under the present rights
	}
	// The owners are of no use: unlink has put unacknowledged deliveries back into the queue.
	owners, held := out.Cut(func(m *message.Message, _ outbuf.Owner) bool { return deny(m) })
	return len(owners), held
}

// decide suspends the subscriptions that allow refuses, and resumes the suspended
// ones that it allows, with what was held for them; s.mu is held.
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
		s.doubt() // some may have been decided after Generation and before the suspension
	}
	if len(resumed) > 0 {
		s.unhold()
	}
	return suspended, resumed
}

// Purge drops the deliveries that wait for subscriptions which were suspended at or
// before then and still are, and returns how many.
func (s *Session) Purge(then time.Time) int {
	n, shelved := s.purge(then)
	return n + s.purgeShelved(shelved)
}

// purge does Purge for what is in memory, and returns what is not.
func (s *Session) purge(then time.Time) (n int, shelved []*Entry) {
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
		return 0, nil
	}
	n = s.discard("revoked", func(e *Entry) bool {
		if e.body == nil {
			return false
		}
		ok, hold := s.may(e)
		return !ok && !hold
	})
	return n, s.shelved()
}

// Forget drops the deliveries that s holds of publishers for which gone is true, and
// returns how many.
func (s *Session) Forget(gone func(*principal.Principal) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.discard("publisher-deleted", func(e *Entry) bool { return gone(s.sender(e)) })
}

// discard drops the waiting deliveries for which meant is true, and returns how
// many; s.mu is held.
func (s *Session) discard(reason string, meant func(*Entry) bool) int {
	n := 0
	keep := func(e *Entry) bool {
		if e.body != nil && e.released || !meant(e) {
			return true
		}
		n++
		return !s.drop(e, reason)
	}
	s.queue.filter(keep)
	held := s.held
	s.held = nil
	var back []*Entry // given up, but a PUBREL is left to send: see drop
	for _, e := range held {
		switch {
		case !keep(e):
		case e.body != nil && e.released:
			back = append(back, e)
		default:
			s.held = append(s.held, e)
		}
	}
	s.queue.putBack(back)
	s.endEpisode()
	s.pump()
	return n
}
