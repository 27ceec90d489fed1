package broker

import (
	"context"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/outbuf"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// writeGrace is how long a write in progress that carries a revoked message may still take. After
// that its connection is closed.
const writeGrace = 25 * time.Millisecond

// Recheck decides everything again of the principals in who: their right
// to be connected, their subscriptions, what waits for them and what is
// encoded for them, their wills; and what they have published and others have
// not received yet. The new rights must be in force when it is called. When it
// returns, nothing that needs a lost right is handed to the kernel any more
// (docs/spec/semantics.md 4.7): what was not written has been cut out, and a connection
// that was in the middle of writing it has finished or is closed. It never
// waits for a client. Its cost follows how many principals are concerned and how many sessions are
// being sent to, not how many sessions there are.
func (b *Broker) Recheck(ctx context.Context, who principal.Concerned) (Report, error) {
	start := time.Now()
	match := who.Has
	var r Report
	b.store.Generation()
	type writing struct {
		w outbuf.Write
		c *conn
	}
	var held []writing
	for _, s := range b.store.Reach(who) {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		ch := s.Recheck(match, start, b.allow(s))
		if ch.Touched {
			r.Sessions++
		}
		r.Suspended += len(ch.Suspended)
		r.Resumed += len(ch.Resumed)
		r.Cut += ch.Cut
		c, _ := ch.Conn.(*conn)
		if ch.Held != nil && c != nil {
			held = append(held, writing{ch.Held, c})
		}
		for _, sub := range ch.Suspended {
			b.audit("revoke", false, ch.Owner, c, sub.Filter, message.Verdict{Reason: "subscription-suspended"})
		}
		if len(ch.Suspended) > 0 {
			b.purgeLater(s, start)
		}
		if !ch.Connect.Allowed {
			b.audit("revoke", false, ch.Owner, c, "", ch.Connect)
			if c != nil {
				r.Disconnected++
				c.end(cause{code: message.NotAuthorized, reason: "not authorized", keepWill: ch.Connect.Reason == expired})
			}
		}
	}
	for _, c := range b.parted(who.Everyone) {
		p := c.proof.Load()
		if p == nil {
			continue // the connection never had a session
		}
		cut, write := c.sess.RecheckParted(c, c.out, b.denies(p, match))
		r.Cut += cut
		if write != nil {
			held = append(held, writing{write, c})
		}
	}
	r.WillsDropped = b.dropWills(func(p *principal.Principal) bool {
		v := message.Verdict{Allowed: true}
		if match(p) {
			v = b.o.Access.Open(p).Connect()
		}
		return !v.Allowed && v.Reason != expired
	})
	r.WaitedWriters = len(held)
	deadline := start.Add(writeGrace)
	for _, w := range held {
		if !w.w.Await(time.Until(deadline)) {
			r.Closed++
			w.c.abort(cause{code: message.NotAuthorized, reason: "revoked while being sent", keepWill: true})
		}
	}
	r.ConfirmedAt = time.Now()
	r.Took = r.ConfirmedAt.Sub(start)
	r.RetainedHeld = b.plane.HiddenRetained(match) // a number only, and it looks at every retained message
	return r, nil
}

// parted lists the connections that may send messages of a session that they do not own any more;
// all: every connection.
func (b *Broker) parted(all bool) (list []*conn) {
	if all {
		return b.connections()
	}
	for _, c := range b.store.Parted() {
		list = append(list, c.(*conn))
	}
	return list
}

// denies returns a function that reports whether a message may no longer be sent to a client with
// the proof p.
func (b *Broker) denies(p *proof, match func(*principal.Principal) bool) func(*message.Message) bool {
	touched := match(p.who)
	v := message.Verdict{Allowed: true}
	if touched {
		v = p.rights.Connect()
	}
	out := !v.Allowed && v.Reason != expired
	return func(m *message.Message) bool {
		return out || (touched || match(m.Publisher)) && !(p.rights.Deliver(m) && b.plane.Judge(m))
	}
}

// purgeLater drops, after SuspendFor, the deliveries that wait for those subscriptions of s that were
// suspended at the time then (now) or before, and still are. The time is passed on and not read
// again later, because the clock may be set back meanwhile.
func (b *Broker) purgeLater(s *session.Session, then time.Time) {
	b.clock.after(b.o.SuspendFor, func() { s.Purge(then) })
}

// allow returns a function that decides a subscription of s by the present rights of its owner. A
// subscription that a filtered listener accepted although its filter is wider than these rights
// stays, because each delivery is decided. The function is for Session.Recheck, which holds
// Session.mu, as Asks requires.
func (b *Broker) allow(s *session.Session) func(*session.Sub) bool {
	return func(sub *session.Sub) bool {
		v := s.Asks(sub.Filter)
		if v.Allowed || !v.Filterable || sub.Private {
			return v.Allowed
		}
		c, ok := s.Claimed().(*conn)
		return ok && c != nil && c.l.Filtered
	}
}

// abort ends the connection at once. Output that was not handed to the kernel yet is lost.
func (c *conn) abort(why cause) {
	c.mu.Lock()
	if !c.over {
		c.over, c.cause = true, why
		close(c.ended)
	}
	c.mu.Unlock()
	c.out.Abort()
}
