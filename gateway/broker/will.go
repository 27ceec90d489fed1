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

// A will never reaches the embedded library (B3). Access decides it at CONNECT
// and again when it is sent. The vault has it from before the CONNACK until it
// has been sent or can no longer be sent, so a will is sent even if the gateway
// itself goes down in between.
//
// A will that is not sent yet is in one of two places: in Broker.wills while its will delay
// interval runs (OASIS MQTT 5.0, 3.1.3.2.2), and in Broker.parked if it was
// loaded at start and is due before the present policy is known.

func (c *conn) newWill(p *proof) *message.StoredWill {
	w := c.hello.Will
	return &message.StoredWill{
		Principal: p.who,
		Topic:     w.Topic,
		Payload:   append([]byte(nil), w.Payload...),
		QoS:       w.QoS,
		Retain:    w.Retain,
		Props:     w.Message(),
		Expires:   w.HasMessageExpiry(),
		Expiry:    time.Duration(w.MessageExpiry) * time.Second,
		Delay:     time.Duration(w.WillDelay) * time.Second,
	}
}

// keepWill stores the will before the client learns that it is connected. If the
// vault fails or is slow, the client is connected all the same, and the will is
// sent only if the gateway does not go down first.
func (c *conn) keepWill() {
	kept := make(chan error, 1)
	c.mu.Lock()
	w := c.will
	if w != nil {
		c.b.o.Vault.Wills.SaveWill(*w, func(err error) { kept <- err })
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

// farewell sends or drops the will of a connection that has ended. If goesOn, the
// session continues with another connection, and a will with a delay is not sent.
//
// The ended connection and the one that takes its session over both call it; the
// first call decides, and the second returns after that has been done. The
// connection that takes over calls it before its CONNACK, so that the will is
// published before anything that the same client publishes next.
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

// takeWill takes the will away from the connection: whoever calls is the only one
// that can send it now. The copy in the vault stays until voidWill.
func (c *conn) takeWill() (*message.StoredWill, cause) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.will
	c.will = nil
	return w, c.cause
}

// delays tells whether there is a will that is to be sent after a delay, which
// depends on what becomes of the session.
func (c *conn) delays() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.will != nil && c.will.Delay > 0 && c.cause.keepWill && c.proof.Load() != nil
}

// voidWill deletes a will from the vault: it has been sent, or never will be. w may be nil.
func (b *Broker) voidWill(w *message.StoredWill) {
	if w != nil && w.ID != 0 {
		b.o.Vault.Wills.DeleteWill(w.ID, nil)
	}
}

// expired is the reason of a verdict that refuses only because the credential has
// run out. It ends the connection, but the will is still sent (docs/spec/semantics.md 3.8).
const expired = session.Expired

// pendingWill is a will whose connection has ended and that is not sent yet.
type pendingWill struct {
	w        *message.StoredWill
	who      *principal.Principal
	sess     *session.Session // of the connection that left it; nil if that session has ended
	timer    *timer           // fires when the will is due; nil if it is due already
	restored bool             // loaded at start: see Options.PolicyKnown
}

// left is called when a connection that had a session has ended: the session goes
// offline or ends, and the will is sent, delayed or dropped. A will without delay is
// sent before the session is detached, so that it comes before anything that the
// client's next connection publishes.
func (b *Broker) left(c *conn) {
	if !c.delays() {
		b.farewell(c, false)
	}
	now := time.Now()
	if !c.sess.Detach(c, now) {
		b.farewell(c, c.sess.Alive()) // the session is another connection's: no delayed will (3.1.3-9)
		return
	}
	info := c.sess.Info()
	if !info.Persistent || info.Expiry == 0 {
		ended := b.endIf(c.sess, now)
		b.farewell(c, !ended && c.sess.Alive()) // another connection may have resumed it since Detach
		return
	}
	b.expireAfter(c.sess, now, info.Expiry)
	c.parted.Do(func() {
		w, _ := c.takeWill()
		b.delayWill(&pendingWill{w: w, who: c.proof.Load().who, sess: c.sess}, now, min(w.Delay, info.Expiry))
	})
}

// delayWill starts the delay of a will, if its session has been offline without
// interruption since the given time. A connection that resumed the session in the
// meantime did not find the will in Broker.wills, so delayWill does what arrived
// would have done.
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

// arrived is called when connection c has just opened a session. It cancels the
// expiry of the session and deals with the wills that earlier connections left: a
// parked will is sent, because it was due before; a will whose delay runs is dropped
// if the session goes on, or sent if its session has ended and this is a new one.
//
// A later connection may have taken the session from c already, and have gone
// offline again: the timers are then those of that connection and are left alone.
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
	for _, pw := range due { // decided by the policy under which their client was let in again
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

// unpark takes the matching wills out of b.parked; b.mu is held.
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

// unend cancels the expiry of a session; b.mu is held.
func (b *Broker) unend(s *session.Session) {
	b.clock.cancel(b.ends[s])
	delete(b.ends, s)
}

// endIf calls Store.EndIf, and gone if the session has ended by that.
func (b *Broker) endIf(s *session.Session, offline time.Time) bool {
	ok := b.store.EndIf(s, offline)
	if ok {
		b.gone(s)
	}
	return ok
}

// gone does what follows from the end of a session: messages of shared
// subscriptions that it has not acknowledged go to other members of the group.
func (b *Broker) gone(s *session.Session) {
	b.mu.Lock()
	b.unend(s)
	b.mu.Unlock()
	for _, l := range s.TakeLeft() {
		b.plane.Redeliver(l.Sub, l.Message)
	}
}

// expireAfter ends the session after d, unless a connection resumes it before
// (which calls arrived). since is when the session went offline: if a connection has
// resumed it since, no timer is started. A session has at most one timer, however
// often its client connects.
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

// dueWill sends a will whose delay is over, unless it has been taken out of
// Broker.wills. A will that was loaded at start is parked until the present
// policy is known: its client may have lost the right to it meanwhile.
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
			return // the vault still has them: the next start sends them
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

// sendWill decides the will again, by the present rights, and publishes it.
func (b *Broker) sendWill(w *message.StoredWill, who *principal.Principal) {
	if b.ctx.Err() != nil {
		return // the vault still has it: the next start sends it
	}
	now, src := time.Now(), plane.Source{Gen: b.store.Now()}
	m := &message.Message{
		ID:        b.nextID.Add(1),
		Topic:     w.Topic,
		Payload:   w.Payload,
		QoS:       w.QoS,
		Retain:    w.Retain,
		Props:     w.Props,
		Accepted:  now,
		Publisher: who,
	}
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
			v := message.Verdict{Reason: "will-refused", Detail: "the outbox or the store had no capacity for it", Code: code}
			b.audit("will", false, who, nil, w.Topic, v)
		}
		b.voidWill(w) // not before the message is durable: a crash in between sends it twice, and never loses it
	})
	code, _ := b.route(src, m, &promise{ack: ack})
	ack.Done(code)
}

// dropWills drops the waiting wills of the principals that match, who will never
// be allowed to send them, and returns how many.
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

// loadWills reads the wills that the vault still has, of connections that ended
// with the gateway or before it. The delay of a will is counted from when its
// session went offline. A will that is due by now is parked: awaitPolicy sends it,
// or arrived does when its client connects first.
func (b *Broker) loadWills(now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.o.Vault.Wills.LoadWills(func(w message.StoredWill) error {
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
		if old := b.wills[w.Session]; old != nil { // left by a connection from which the one that left w took the session over
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
