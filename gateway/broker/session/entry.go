package session

import (
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Entry is one delivery of QoS 1 or 2. While its session is away, thousands of them may
// wait, so what is not needed for counting and choosing is in body, which the vault
// keeps meanwhile (shelving). An Entry takes 32 bytes.
type Entry struct {
	seq     uint64
	*body          // nil: in the vault only
	size    uint32 // of which quotas count, in bytes
	expires uint32 // if body is nil: the second since 1970 by which it has expired; 0: never
	origin  uint32 // if body is nil: in shelf.origins; else 0
	counted bool   // in Session.fair
	gone    bool   // it has left the session, or the middle of the queue, and keeps its place there for a while
}

// body is the part of a delivery that can be read from the vault again. One that has a
// packet identifier always has its body.
type body struct {
	m        *message.Message
	share    *Sub // the shared subscription that it came for; nil: an ordinary one
	subIDs   []uint32
	gen      uint64 // the generation (Store.Generation) in which it was decided completely; 0: decide again
	id       uint16
	qos      byte
	retain   bool
	private  bool
	dup      bool        // it may have reached the client already, so it is sent with DUP
	sent     bool        // it is in the window
	released bool        // PUBREC came, or the delivery was given up: only a PUBREL is left to send
	firm     bool        // identifier and released are as durable as they must be before its next packet
	durable  atomic.Bool // the vault has it
}

// newEntry makes the next delivery; s.mu is held.
func (s *Session) newEntry(d Delivery, gen uint64) *Entry {
	var e *Entry
	if s.persistent {
		e = &Entry{body: &body{}}
	} else { // it keeps its body, so one allocation does
		both := &struct {
			Entry
			b body
		}{}
		e, both.body = &both.Entry, &both.b
	}
	s.seq++
	e.seq, e.size = s.seq, uint32(sizeOf(d.Message))
	e.m, e.subIDs, e.qos, e.retain, e.private, e.gen = d.Message, d.SubIDs, d.QoS, d.Retain, d.Private, gen
	if d.Sub != nil && d.Sub.Group != "" {
		e.share = d.Sub
	}
	return e
}

// bodyOf is the body of a delivery that the vault has.
func bodyOf(q message.StoredDelivery) *body {
	b := &body{
		m:        q.Message,
		subIDs:   q.SubIDs,
		id:       q.PacketID,
		qos:      q.QoS,
		retain:   q.Retain,
		private:  Private(q.Message.Topic),
		dup:      q.PacketID != 0,
		released: q.Released,
		firm:     true,
	}
	b.durable.Store(true)
	return b
}

func (e *Entry) stored() message.StoredDelivery {
	return message.StoredDelivery{
		Seq:      e.seq,
		Message:  e.m,
		QoS:      e.qos,
		Retain:   e.retain,
		SubIDs:   e.subIDs,
		PacketID: e.id,
		Released: e.released,
	}
}

// numbered tells whether it has a packet identifier.
func (e *Entry) numbered() bool { return e.body != nil && e.id != 0 }

// begun tells whether the client may have received it.
func (e *Entry) begun() bool { return e.body != nil && e.dup }

// doubt makes it be decided completely again; one without a body is in any case.
func (e *Entry) doubt() {
	if e.body != nil {
		e.gen = 0
	}
}

// expiry is when it expires, to the next full second if its body is in the vault; zero: never.
func (e *Entry) expiry() time.Time {
	switch {
	case e.body != nil:
		return e.m.Expires
	case e.expires == 0:
		return time.Time{}
	}
	return time.Unix(int64(e.expires), 0)
}

// expired tells whether the message expired before it was first sent (OASIS MQTT
// 5.0, 3.3.2-5): what the client may have begun to receive is completed.
func (e *Entry) expired(now time.Time) bool {
	at := e.expiry()
	return !at.IsZero() && !now.Before(at) && !(e.body != nil && (e.dup || e.released))
}
