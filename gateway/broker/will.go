package broker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/plane"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// A will never reaches the embedded library (B3): it is decided at CONNECT, and
// again when it is sent. It is in the vault from before the CONNACK until it has
// been sent or is void, so that it survives the gateway as well.

func (c *conn) newWill(p *proof) *message.StoredWill {
	w := c.hello.Will
	return &message.StoredWill{Principal: p.who, Topic: w.Topic, Payload: append([]byte(nil), w.Payload...), QoS: w.QoS, Retain: w.Retain,
		Props: w.Message(), Expires: w.HasMessageExpiry(), Expiry: time.Duration(w.MessageExpiry) * time.Second,
		Delay: time.Duration(w.WillDelay) * time.Second}
}

// keepWill stores the will before the client learns that it is connected. A
// store that fails keeps nobody out: then the will lives as long as the gateway.
func (c *conn) keepWill() {
	kept := make(chan error, 1)
	c.mu.Lock()
	w := c.will
	if w != nil {
		c.b.o.Vault.SaveWill(*w, func(err error) { kept <- err })
	}
	c.mu.Unlock()
	if w == nil {
		return
	}
	select {
	case err := <-kept:
		if err != nil {
			c.b.count.drop("will-not-stored")
		}
	case <-c.ended:
	case <-time.After(c.b.o.WriteTimeout):
		c.b.count.drop("will-not-stored")
	}
}

// farewell decides, once, what becomes of the will of a connection that has
// ended; who comes second waits for it. goesOn: its session does, so that a
// delayed one is void. Who takes a session over asks before it answers: what
// its client says comes after the will.
func (b *Broker) farewell(c *conn, goesOn bool) {
	c.parted.Do(func() {
		w, why := c.takeWill()
		p := c.proof.Load() // nil: the connection was refused, and leaves no will
		if w == nil || p == nil || !why.keepWill || goesOn && w.Delay > 0 {
			b.voidWill(w)
			return
		}
		b.sendWill(w, p.who)
	})
}

// takeWill takes the will out: it is not stored from here on.
func (c *conn) takeWill() (*message.StoredWill, cause) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.will
	c.will = nil
	return w, c.cause
}

// delays tells whether the will depends on what becomes of the session.
func (c *conn) delays() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.will != nil && c.will.Delay > 0 && c.cause.keepWill && c.proof.Load() != nil
}

// voidWill forgets a will that is not to be sent, or has been.
func (b *Broker) voidWill(w *message.StoredWill) {
	if w != nil && w.ID != 0 {
		b.o.Vault.DeleteWill(w.ID, nil)
	}
}

// expired is the reason of a verdict that a credential has merely run out: it
// ends the connection, but the will is still sent (docs/spec/semantics.md 3.8).
const expired = session.Expired

// pendingWill is one whose delay runs, or one that the gateway of before left.
type pendingWill struct {
	w        *message.StoredWill
	who      *principal.Principal
	sess     *session.Session // the one it waits with; nil: that has ended
	timer    *timer
	restored bool
}

// left is the end of a connection that had a session: the session goes
// offline or ends, and the will is sent, delayed or dropped. At once means
// before the session is free for the next connection.
func (b *Broker) left(c *conn) {
	if !c.delays() {
		b.farewell(c, false)
	}
	now := time.Now()
	if !c.sess.Detach(c, now) {
		b.farewell(c, c.sess.Alive()) // 3.1.3-9: void if the session goes on before the delay is over
		return
	}
	info := c.sess.Info()
	if !info.Persistent || info.Expiry == 0 {
		ended := b.endIf(c.sess, now)
		b.farewell(c, !ended && c.sess.Alive()) // somebody may have come since
		return
	}
	b.expireAfter(c.sess, now, info.Expiry)
	c.parted.Do(func() {
		w, _ := c.takeWill()
		b.delayWill(&pendingWill{w: w, who: c.proof.Load().who, sess: c.sess}, now, min(w.Delay, info.Expiry))
	})
}

// delayWill lets a will wait, if its session has been offline since then and
// still is. Whoever came in between has not found it.
func (b *Broker) delayWill(pw *pendingWill, since time.Time, d time.Duration) {
	key := pw.sess.Key
	b.mu.Lock()
	waits := pw.sess.Away(since)
	if waits {
		b.wills[key] = pw
		pw.timer = b.clock.after(d, func() { b.dueWill(key, pw) })
	}
	b.mu.Unlock()
	switch {
	case waits:
	case pw.sess.Alive():
		b.voidWill(pw.w)
	default:
		b.sendWill(pw.w, pw.who)
	}
}

// arrived is a session that has a connection again: a delayed will of it is
// void, unless that session ended. One that was due anyway is sent. What a
// connection has left that came and went since is not this one's.
func (b *Broker) arrived(c *conn, o session.Opened) {
	b.mu.Lock()
	if o.Session.Owned(c) {
		b.unend(o.Session)
	}
	due := b.unpark(func(pw *pendingWill) bool { return pw.w.Session == o.Session.Key })
	pw := b.wills[o.Session.Key]
	if pw != nil && pw.sess != nil && pw.sess.Owned(nil) {
		pw = nil
	}
	if pw != nil {
		delete(b.wills, o.Session.Key)
		b.clock.cancel(pw.timer)
	}
	b.mu.Unlock()
	for _, pw := range due { // the policy that lets their client in decides them
		b.sendWill(pw.w, pw.who)
	}
	switch {
	case pw == nil:
	case pw.sess == nil || !pw.sess.Alive() || pw.w.Delay == 0:
		b.sendWill(pw.w, pw.who)
	default:
		b.voidWill(pw.w)
	}
}

// unpark takes those out that wait for the policy of now; the lock is held.
func (b *Broker) unpark(match func(*pendingWill) bool) (out []*pendingWill) {
	b.parked = slices.DeleteFunc(b.parked, func(pw *pendingWill) bool {
		if match(pw) {
			out = append(out, pw)
			return true
		}
		return false
	})
	return out
}

// unend keeps a session from ending by its timer; the lock is held.
func (b *Broker) unend(s *session.Session) {
	b.clock.cancel(b.ends[s])
	delete(b.ends, s)
}

// endIf ends a session as Store.EndIf does.
func (b *Broker) endIf(s *session.Session, offline time.Time) bool {
	ok := b.store.EndIf(s, offline)
	if ok {
		b.gone(s)
	}
	return ok
}

// gone is a session that has ended: what it leaves goes to the other members of its shares.
func (b *Broker) gone(s *session.Session) {
	b.mu.Lock()
	b.unend(s)
	b.mu.Unlock()
	for _, l := range s.TakeLeft() {
		b.plane.Redeliver(l.Sub, l.Message)
	}
}

// expireAfter ends the session once it has been offline since then for so
// long; if it is not any more, whoever came since sees to that. One timer for
// each session, however often its client comes and goes.
func (b *Broker) expireAfter(s *session.Session, since time.Time, d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.Away(since) {
		b.clock.cancel(b.ends[s])
		b.ends[s] = b.clock.after(d, func() { b.expire(s, since) })
	}
}

func (b *Broker) expire(s *session.Session, since time.Time) {
	if !b.endIf(s, since) {
		return
	}
	b.mu.Lock()
	pw := b.wills[s.Key]
	b.mu.Unlock()
	if pw != nil && pw.sess == s {
		b.dueWill(s.Key, pw)
	}
}

// dueWill sends a delayed will if it is still the one that waits; a restored one
// not before it is known what was withdrawn while the gateway was down.
func (b *Broker) dueWill(key string, pw *pendingWill) {
	b.mu.Lock()
	due := b.wills[key] == pw
	if due {
		delete(b.wills, key)
		b.clock.cancel(pw.timer)
	}
	if due && pw.restored && !b.policyKnown {
		b.parked = append(b.parked, pw)
		due = false
	}
	b.mu.Unlock()
	if due {
		b.sendWill(pw.w, pw.who)
	}
}

// awaitPolicy waits until the present policy is known or cannot be had in time
// (Options.PolicyKnown), and then sends the parked wills.
func (b *Broker) awaitPolicy(ctx context.Context) {
	patience := time.NewTimer(b.o.PolicyWait)
	defer patience.Stop()
	if b.o.PolicyKnown != nil {
		select {
		case <-b.o.PolicyKnown:
		case <-patience.C:
		case <-ctx.Done():
			return // the next start sends them
		}
	}
	b.mu.Lock()
	b.policyKnown = true
	for len(b.parked) > 0 {
		pw := b.parked[0]
		b.parked = b.parked[1:]
		b.mu.Unlock()
		b.sendWill(pw.w, pw.who)
		b.mu.Lock()
	}
	b.parked = nil
	b.mu.Unlock()
}

// sendWill decides the will again, with the rights of now, and publishes it.
func (b *Broker) sendWill(w *message.StoredWill, who *principal.Principal) {
	if b.ctx.Err() != nil {
		return // the next start sends it
	}
	now, src := time.Now(), plane.Source{Gen: b.store.Now()}
	m := &message.Message{ID: b.nextID.Add(1), Topic: w.Topic, Payload: w.Payload, QoS: w.QoS, Retain: w.Retain,
		Props: w.Props, Accepted: now, Publisher: who}
	if w.Expires {
		m.Expires = now.Add(w.Expiry)
	}
	r := b.o.Access.Open(who)
	v := r.Connect()
	if v.Allowed || v.Reason == expired {
		v = r.Will(w.Topic)
	}
	if !v.Allowed {
		b.audit("will", false, who, nil, w.Topic, v)
		b.count.drop("will-denied")
		b.voidWill(w)
		return
	}
	m.Via = v.Route
	if m.Retain && neverRetained(m.Topic) {
		m.Retain = false
	}
	ack := session.NewAck(func(code byte) {
		if code != message.Success {
			b.count.drop("will-refused")
		}
		b.voidWill(w) // after the message is durable: a crash between the two sends it again
	})
	ack.Done(b.route(src, m, ack))
}

// dropWills forgets the wills that wait of a principal that may never send them.
func (b *Broker) dropWills(match func(*principal.Principal) bool) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	dropped := b.unpark(func(pw *pendingWill) bool { return match(pw.who) })
	for key, pw := range b.wills {
		if match(pw.who) {
			delete(b.wills, key)
			b.clock.cancel(pw.timer)
			dropped = append(dropped, pw)
		}
	}
	for _, pw := range dropped {
		b.voidWill(pw.w)
	}
	return len(dropped)
}

// loadWills reads what clients left behind when the gateway ended. A delay runs
// from when its client was gone; what is due by now is sent by awaitPolicy, or when
// its client comes.
func (b *Broker) loadWills(now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.o.Vault.LoadWills(func(w message.StoredWill) error {
		b.nextID.Store(max(b.nextID.Load(), w.ID)) // the clock may have been set back
		if w.Principal == nil {
			b.count.drop("will-without-owner")
			b.voidWill(&w)
			return nil
		}
		pw := &pendingWill{w: &w, who: w.Principal, restored: true}
		wait := time.Duration(0)
		s, alive := b.store.Get(w.Session)
		if alive {
			pw.sess = s
			i := s.Info()
			wait = i.Offline.Add(min(w.Delay, i.Expiry)).Sub(now)
		}
		if old := b.wills[w.Session]; old != nil { // that connection had been taken over
			b.clock.cancel(old.timer)
			if alive && old.w.Delay > 0 {
				b.voidWill(old.w)
			} else {
				b.parked = append(b.parked, old)
			}
		}
		b.wills[w.Session] = pw
		if wait > 0 {
			pw.timer = b.clock.after(wait, func() { b.dueWill(w.Session, pw) })
		}
		return nil
	})
	for key, pw := range b.wills {
		if pw.timer == nil {
			delete(b.wills, key)
			b.parked = append(b.parked, pw)
		}
	}
	slices.SortFunc(b.parked, func(a, c *pendingWill) int { return cmp.Compare(a.w.ID, c.w.ID) })
	if err != nil {
		return fmt.Errorf("load wills: %w", err)
	}
	return nil
}
