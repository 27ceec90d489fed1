package broker

import (
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/broker/plane"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// will is what a client leaves behind. It never reaches the embedded library
// (B3): decided at CONNECT, and again when it is sent.
type will struct {
	topic   string
	payload []byte
	qos     byte
	retain  bool
	props   message.Properties
	expiry  time.Duration // of the message, 0: none
	expires bool
	delay   time.Duration
}

func newWill(h *frame.Connect) *will {
	w := h.Will
	return &will{topic: w.Topic, payload: append([]byte(nil), w.Payload...), qos: w.QoS, retain: w.Retain,
		props: w.Message(), expires: w.HasMessageExpiry(), expiry: time.Duration(w.MessageExpiry) * time.Second,
		delay: time.Duration(w.WillDelay) * time.Second}
}

// expired is the reason of a verdict that a credential has merely run out: it
// ends the connection, but the will is still sent (semantics.md 3).
const expired = session.Expired

// pendingWill is one whose delay runs.
type pendingWill struct {
	w     *will
	who   *principal.Principal
	timer *timer
}

// left is the end of a connection that had a session: the session goes
// offline or ends, and the will is sent, delayed or dropped.
func (b *Broker) left(c *conn, why cause) {
	now := time.Now()
	p := c.proof.Load() // nil: the connection was refused, and leaves no will
	mine := c.sess.Detach(c, now)
	ended := false
	wait := time.Duration(0)
	if mine {
		info := c.sess.Info()
		wait = info.Expiry
		if !info.Persistent || info.Expiry == 0 {
			ended = b.store.EndIf(c.sess, now)
		} else {
			b.expireAfter(c.sess, now, info.Expiry)
		}
	}
	w := c.will
	switch {
	case w == nil || p == nil || !why.keepWill:
		return
	case !mine && w.delay > 0 && c.sess.Alive():
		return // 3.1.3-9: the session goes on before the delay is over
	case !mine || ended || w.delay == 0:
		b.sendWill(w, p.who)
		return
	}
	pw := &pendingWill{w: w, who: p.who}
	key := c.sess.Key
	b.mu.Lock()
	b.wills[key] = pw
	pw.timer = b.clock.after(min(w.delay, wait), func() { b.dueWill(key, pw) })
	b.mu.Unlock()
	switch { // whoever came in between has not found it
	case !c.sess.Alive():
		b.dueWill(key, pw)
	case c.sess.Info().Conn != nil:
		b.takeWill(key, pw)
	}
}

// arrived is a session that has a connection again: a delayed will of it is
// void, unless that session ended.
func (b *Broker) arrived(o session.Opened) {
	b.mu.Lock()
	pw := b.wills[o.Session.Key]
	delete(b.wills, o.Session.Key)
	end := b.ends[o.Session.Key]
	delete(b.ends, o.Session.Key)
	b.mu.Unlock()
	b.clock.cancel(end)
	if pw == nil {
		return
	}
	b.clock.cancel(pw.timer)
	if !o.Present {
		b.sendWill(pw.w, pw.who)
	}
}

// expireAfter ends the session once it has been offline since then for so
// long. One timer for each session, however often its client comes and goes.
func (b *Broker) expireAfter(s *session.Session, since time.Time, d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clock.cancel(b.ends[s.Key])
	b.ends[s.Key] = b.clock.after(d, func() { b.expire(s, since) })
}

func (b *Broker) expire(s *session.Session, since time.Time) {
	if !b.store.EndIf(s, since) {
		return
	}
	b.mu.Lock()
	delete(b.ends, s.Key)
	pw := b.wills[s.Key]
	b.mu.Unlock()
	if pw != nil {
		b.dueWill(s.Key, pw)
	}
}

// dueWill sends a delayed will if it is still the one that waits.
func (b *Broker) dueWill(key string, pw *pendingWill) {
	if b.takeWill(key, pw) {
		b.sendWill(pw.w, pw.who)
	}
}

// takeWill ends the waiting of a will; false: it waits no more.
func (b *Broker) takeWill(key string, pw *pendingWill) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wills[key] != pw {
		return false
	}
	delete(b.wills, key)
	b.clock.cancel(pw.timer)
	return true
}

// sendWill decides the will again, with the rights of now, and publishes it.
func (b *Broker) sendWill(w *will, who *principal.Principal) {
	if b.ctx.Err() != nil {
		return // the gateway goes away, not the client
	}
	now, src := time.Now(), plane.Source{Gen: b.store.Now()}
	m := &message.Message{ID: b.nextID.Add(1), Topic: w.topic, Payload: w.payload, QoS: w.qos, Retain: w.retain,
		Props: w.props, Accepted: now, Publisher: who}
	if w.expires {
		m.Expires = now.Add(w.expiry)
	}
	r := b.o.Access.Open(who)
	v := r.Connect()
	if v.Allowed || v.Reason == expired {
		v = r.Will(w.topic)
	}
	if !v.Allowed {
		b.audit("will", false, who, nil, w.topic, v)
		b.count.drop("will-denied")
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
	})
	ack.Done(b.route(src, m, ack))
}

// dropWills forgets the delayed wills of a principal that may never send them.
func (b *Broker) dropWills(match func(*principal.Principal) bool) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for key, pw := range b.wills {
		if match(pw.who) {
			delete(b.wills, key)
			b.clock.cancel(pw.timer)
			n++
		}
	}
	return n
}
