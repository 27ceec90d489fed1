package session

import (
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/broker/outbuf"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// Delivery is one message for one session.
type Delivery struct {
	Message *message.Message
	Sub     *Sub // one of the subscriptions that matched
	QoS     byte
	Retain  bool
	Private bool
	SubIDs  []uint32
	// Gen is Store.Now as it was before the publish was decided. If a revocation
	// came in between, Deliver decides the publish again.
	Gen uint64
}

// Outcome of a delivery.
type Outcome uint8

// The outcomes. Full occurs with QoS 0 only: the output buffer is full, and the
// caller may wait for it (Session.Buffer) and try again. Offline means that the
// session has no connection, and the delivery is not queued because its QoS is 0 or
// because the session ends with its connection.
const (
	Delivered Outcome = iota
	Denied
	Offline
	Full
	Dropped
)

// Crowded tells whether a connected session's queue is more than half full, so
// that publishers should slow down, and the output buffer to wait for.
func (s *Session) Crowded() (*outbuf.Buffer, bool) {
	if s.count.Load() < int64(s.store.c.QueueMessages/2) && s.bytes.Load() < int64(s.store.c.QueueBytes/2) {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == nil {
		return nil, false
	}
	return s.link.Out, true
}

// Buffer is the output buffer of the session's connection, nil while it is offline.
func (s *Session) Buffer() *outbuf.Buffer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == nil {
		return nil
	}
	return s.link.Out
}

// MayReceive tells whether the session's principal has the right to receive m. It
// looks neither at a subscription nor at the publisher's right.
func (s *Session) MayReceive(m *message.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.dead && s.rights.Deliver(m)
}

// Deliver decides d, and sends or queues it. For QoS 1 and 2 the caller has reserved
// quota (Reserve); it is given back here unless the outcome is Delivered. ack may be
// nil; otherwise, if the session survives a restart, ack also waits until the delivery
// is durable.
func (s *Session) Deliver(d Delivery, ack *Ack) Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.deliver(d, ack)
	if o != Delivered && d.QoS > 0 {
		s.Release(d.Message)
	}
	return o
}

func (s *Session) deliver(d Delivery, ack *Ack) Outcome {
	if s.link != nil {
		s.stir()
	}
	if s.dead || d.Sub != nil && d.Sub.Suspended() && !s.covers(d) || !s.rights.Deliver(d.Message) {
		return Denied
	}
	gen := s.store.gen.Load()
	if d.Gen != gen && !s.store.c.Judge(d.Message) {
		return Denied // the right to publish it was lost on the way here
	}
	if s.link == nil && (d.QoS == 0 || !s.persistent && s.claim == nil) {
		return Offline
	}
	if d.QoS == 0 {
		if s.link == nil {
			return Offline
		}
		switch s.encode(frame.Outgoing{Message: d.Message, Retain: d.Retain, SubIDs: d.SubIDs}, nil) {
		case outbuf.Taken:
			return Delivered
		case outbuf.Full:
			return Full
		case outbuf.TooLarge:
			s.store.c.Drop("too-large-for-client")
		}
		return Dropped
	}
	e := s.newEntry(d, gen)
	after := func() {}
	if s.persistent {
		after = s.keep(e, ack)
	}
	s.queue.push(e)
	s.fair.add(e)
	s.expires(e)
	s.pump()
	after()
	return Delivered
}

// covers tells whether another subscription matches d. It is asked when the
// subscription that d names was suspended or removed after d was made; s.mu is held.
func (s *Session) covers(d Delivery) bool {
	if d.Sub.Group != "" {
		return false
	}
	for _, sub := range s.subs {
		if sub.Private == d.Private && sub.Group == "" && !sub.NoLocal && !sub.Suspended() && topic.Match(sub.Inner, d.Message.Topic) {
			return true
		}
	}
	return false
}

// encode appends a PUBLISH to the output buffer; s.mu is held. If a revocation cuts
// the frame out of the buffer again, outbuf.Buffer.Cut returns owner.
func (s *Session) encode(o frame.Outgoing, owner outbuf.Owner) outbuf.Result {
	l := s.link
	r := l.Out.Message(o.Message, owner, l.MaxPacket, func(dst []byte, al outbuf.Alias) []byte {
		o.Alias, o.Alone = al.Number, al.Alone
		if !o.Message.Expires.IsZero() {
			// At least a second: the client would take 0 for expired.
			o.Expiry = uint32(max(1, int64(time.Until(o.Message.Expires)/time.Second)))
		}
		return o.Append(dst, l.Level)
	})
	if r == outbuf.Taken {
		s.Tally.Sent.Add(1)
	}
	return r
}

func (e *Entry) outgoing() frame.Outgoing {
	return frame.Outgoing{Message: e.m, QoS: e.qos, Dup: e.dup, Retain: e.retain, ID: e.id, SubIDs: e.subIDs}
}

// Pump sends queued deliveries as far as the client's receive maximum and the output
// buffer allow.
func (s *Session) Pump() {
	s.mu.Lock()
	s.pump()
	s.mu.Unlock()
}

// pump is Pump; s.mu is held.
func (s *Session) pump() {
	for s.link != nil && s.queue.len() > 0 && s.sent < s.link.Window {
		s.stir()
		e := s.queue.front()
		if e.body == nil {
			s.fetch() // calls pump again
			return
		}
		if e.id != 0 && !e.firm {
			return // update calls pump again once the identifier is durable
		}
		if e.released {
			s.queue.pop()
			s.window(e)
			s.link.Out.Control(frame.AppendAck(nil, frame.PUBREL, e.id, 0, s.link.Level))
			continue
		}
		if e.expired(time.Now()) {
			s.queue.pop()
			s.drop(e, "expired")
			continue
		}
		if ok, hold := s.may(e); !ok {
			switch {
			case hold:
				s.queue.pop()
				s.held = append(s.held, e)
				s.shelve(e)
			case s.drop(e, "no-longer-allowed"):
				s.queue.pop()
			}
			continue
		}
		if e.id == 0 {
			s.number(e)
			continue
		}
		switch s.encode(e.outgoing(), e) {
		case outbuf.Taken:
			s.queue.pop()
			s.window(e)
		case outbuf.TooLarge: // treated as delivered (OASIS MQTT 5.0, 3.1.2-25)
			if s.drop(e, "too-large-for-client") {
				s.queue.pop()
			}
		default:
			return
		}
	}
}

// number gives a delivery its packet identifier; s.mu is held. For QoS 2 the
// identifier is durable before the client sees it. Otherwise a crash could give it
// to another message, which a client that has received this one would take for a
// repetition, acknowledge and throw away. The deliveries behind it that fit into
// the window get their identifiers in the same commit.
func (s *Session) number(first *Entry) {
	if first.qos < 2 || !s.persistent {
		s.identify(first)
		return
	}
	for i, e := range s.queue.each() {
		if s.sent+i >= s.link.Window || e.body == nil {
			break
		}
		if e.id == 0 {
			s.identify(e)
		}
	}
}

func (s *Session) identify(e *Entry) {
	e.id = s.nextID()
	s.ids[e.id] = e
	s.fair.remove(e)
	s.update(e)
}

// update stores the identifier and the released state of e; s.mu is held. Of a
// QoS 2 delivery nothing more is sent until they are durable.
func (s *Session) update(e *Entry) {
	switch {
	case !s.persistent:
		s.proceed(e)
		return
	case e.qos < 2:
		e.firm = true
		s.store.c.Queues.Update(s.Key, e.stored(), nil)
		return
	}
	e.firm = false
	now := true
	s.stored(func(done func(error)) { s.store.c.Queues.Update(s.Key, e.stored(), done) }, func(error) {
		s.proceed(e) // also after a failure: a vault that fails delays no delivery for ever
		if !now {
			s.pump()
		}
	})
	now = false
}

// proceed lets the next packet of e go, a PUBREL at once and a PUBLISH in its turn;
// s.mu is held.
func (s *Session) proceed(e *Entry) {
	e.firm = true
	if e.released && e.sent && s.ids[e.id] == e && s.link != nil {
		s.link.Out.Control(frame.AppendAck(nil, frame.PUBREL, e.id, message.Success, s.link.Level))
	}
}

// expires brings s.soonest forward if e expires earlier; s.mu is held.
func (s *Session) expires(e *Entry) {
	if at := e.expiry(); !at.IsZero() && (s.soonest.IsZero() || at.Before(s.soonest)) {
		s.soonest = at
	}
}

// Expire drops the queued deliveries whose message has expired, so that they take no
// capacity from later ones, and tells whether there were any. It does not search
// before s.soonest.
func (s *Session) Expire(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.soonest.IsZero() || now.Before(s.soonest) {
		return false
	}
	n := s.discard("expired", func(e *Entry) bool { return e.expired(now) })
	s.soonest = time.Time{}
	for _, list := range [...][]*Entry{s.queue.each(), s.held} {
		for _, e := range list {
			if !e.begun() {
				s.expires(e)
			}
		}
	}
	return n > 0
}

// unhold puts the deliveries of s.held back into their places in the queue, to be
// decided again; s.mu is held. It does not call pump. A caller that does not call pump
// either is answering a frame: pump runs when that answer has been written
// (outbuf.Config.Drained).
func (s *Session) unhold() {
	back := s.held
	s.held = nil
	for _, e := range back {
		e.doubt()
	}
	s.queue.putBack(back)
}

// may decides whether e may be sent now; s.mu is held. If it may not, hold tells
// that a subscription which matches is suspended and may still get its right back. A delivery
// that has begun is completed also if the client has unsubscribed since (OASIS MQTT 5.0, 3.10.4-3), but
// not once its credential is refused: there is no subscription then whose suspension would hold it back.
func (s *Session) may(e *Entry) (ok, hold bool) {
	gen := s.store.gen.Load()
	deliverable := s.rights.Deliver(e.m)
	if deliverable && e.gen == gen {
		return true, false
	}
	matched, covered, suspended := false, false, false
	for _, sub := range s.subs {
		if sub.Private != e.private || !topic.Match(sub.Inner, e.m.Topic) {
			continue
		}
		matched = true
		if sub.Suspended() {
			suspended = suspended || sub.since.Load() > purged
		} else {
			covered = true
		}
	}
	if deliverable && (covered || !matched && e.begun() && s.rights.Connect().Allowed) && s.store.c.Judge(e.m) {
		e.gen = gen
		return true, false
	}
	return false, suspended && !covered
}

// window counts e in the client's receive maximum, because it was sent; s.mu is held.
func (s *Session) window(e *Entry) {
	e.sent = true
	s.sent++
}

// nextID finds a free packet identifier. There always is one, because the window is
// far smaller than the number of identifiers.
func (s *Session) nextID() uint16 {
	for {
		s.lastID++
		if s.lastID == 0 {
			s.lastID = 1
		}
		if _, used := s.ids[s.lastID]; !used {
			return s.lastID
		}
	}
}

// drop gives up a delivery that was not acknowledged; s.mu is held. It returns false
// if e must stay: the client may have received it with QoS 2, so a PUBREL is sent
// and its identifier is in use until the PUBCOMP. If the gateway freed the identifier
// before, the client would take the next message that gets it for a repetition,
// acknowledge it and throw it away.
func (s *Session) drop(e *Entry, reason string) bool {
	s.store.c.Drop(reason)
	if e.begun() && e.qos == 2 && !e.released {
		e.released = true
		s.update(e)
		return false
	}
	s.finish(e)
	return true
}

// finish forgets e, here and in the vault; s.mu is held.
func (s *Session) finish(e *Entry) {
	if e.numbered() {
		if e.sent {
			s.sent--
			e.sent = false // Recheck may still cut its frame out of the buffer, and must not queue it again
		}
		delete(s.ids, e.id)
	}
	e.gone = true
	s.fair.remove(e)
	s.shelf.drop(e)
	if s.fair != nil && len(s.fair.heap) == 0 {
		s.fair = nil
	}
	s.release(int64(e.size))
	if s.persistent || s.shelf.stays {
		s.store.c.Queues.Dequeue(s.Key, []uint64{e.seq}, nil)
	}
}
