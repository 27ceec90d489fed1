package session

import (
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/outbuf"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// purged is the value of Sub.since, in place of a time, once the deliveries that waited for a
// suspended subscription have been dropped, or the subscription was removed. A suspended
// subscription is still resumed when its right returns, but nothing waits for it then.
const purged = 1

// Expired is the reason of a verdict that refuses only because the credential has run out.
const Expired = "expired"

// Generation starts a new generation of decisions. It is called once new rights are in
// force. Every delivery that waits in any session is then decided completely again before it
// is sent.
func (st *Store) Generation() { st.gen.Add(1) }

// Now is the present generation. It is read before a publish is decided and kept with its
// deliveries (Delivery.Gen), so that Deliver notices a revocation that came in between.
func (st *Store) Now() uint64 { return st.gen.Load() }

// Changes says what Recheck took from a session and gave back to it.
type Changes struct {
	Owner     *principal.Principal
	Touched   bool            // match was true for the owner
	Connect   message.Verdict // whether the owner may be connected
	Suspended []*Sub          // those that lost their right
	Resumed   []*Sub          // those that had lost their right and have it again
	Cut       int             // how many messages were taken out of the output buffer
	// Held is the write to the connection that is in progress, if it carries a message that
	// is now denied. It cannot be taken back; the caller can only wait for its end.
	Held outbuf.Write
	Conn any // the connection that owns the session, or nil
}

// Recheck decides everything in s again by the present rights. Afterwards the output buffer
// contains nothing that they deny, except for Held, and nothing that they deny can be appended.
//
// match reports whether a principal's rights may have changed. If it is false for the owner, only
// messages of publishers for which it is true are decided again. allow decides subscriptions.
func (s *Session) Recheck(match func(*principal.Principal) bool, now time.Time, allow func(*Sub) bool) Changes {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.calm()
	c := Changes{Owner: s.who, Conn: s.claim, Connect: message.Verdict{Allowed: true}}
	if s.dead {
		return c
	}
	c.Touched = match(s.who)
	if c.Touched {
		c.Connect = s.rights.Connect()
		// An offline session loses nothing because a credential has expired. Its client needs a
		// valid one to connect again.
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

// RecheckParted is Recheck for a connection that no longer owns the session but is not
// closed yet, so that its output buffer still sends what was appended before. held is as
// Changes.Held.
func (s *Session) RecheckParted(conn any, out *outbuf.Buffer, deny func(*message.Message) bool) (cut int, held outbuf.Write) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil && s.link.Conn == conn {
		return 0, nil // it owns the session: Recheck has handled it, or it was linked under the present rights
	}
	// The owners are not needed, because unlink has put unacknowledged deliveries back into the queue.
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
		s.doubt() // some deliveries may have been decided after Generation and before the suspension
	}
	if len(resumed) > 0 {
		s.unhold()
	}
	return suspended, resumed
}

// Purge drops the deliveries that wait for subscriptions which were suspended at the time then or
// earlier and still are. It returns how many it dropped.
func (s *Session) Purge(then time.Time) int {
	n, shelved := s.purge(then)
	return n + s.purgeShelved(shelved)
}

// purge does Purge for the deliveries whose body is in memory, and returns the others.
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

// Forget drops the deliveries in s of publishers for which gone is true. It returns how many it
// dropped.
func (s *Session) Forget(gone func(*principal.Principal) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.discard("publisher-deleted", func(e *Entry) bool { return gone(s.sender(e)) })
}

// discard drops the waiting deliveries for which meant is true, and returns how many it dropped;
// s.mu is held.
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
	var back []*Entry // deliveries that are given up, but for which a PUBREL must still be sent: see drop
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
