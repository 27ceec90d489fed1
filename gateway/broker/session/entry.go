package session

import (
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Entry is one delivery of QoS 1 or 2. Thousands may wait for a session whose client is away.
// All that is not needed to count them and to choose which one to drop is therefore in body, and
// is then kept in the vault only (shelving). An Entry takes 32 bytes.
type Entry struct {
	seq     uint64
	*body          // nil: it is in the vault only
	size    uint32 // the bytes that it counts for in quotas
	expires uint32 // if body is nil: when it expires, in seconds since 1970; 0: never
	origin  uint32 // if body is nil: its number in shelf.origins; otherwise 0
	counted bool   // it is counted in Session.fair
	gone    bool   // it has left the session, or the middle of the queue, and keeps its place there for a while
}

// body is the part of a delivery that can be read from the vault again. A delivery that has a
// packet identifier always has its body in memory.
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
	sent     bool        // it was sent and is not acknowledged (it is in the window)
	released bool        // PUBREC came, or the delivery was given up: only a PUBREL is left to send
	firm     bool        // identifier and released are as durable as they must be before its next packet
	durable  atomic.Bool // it is stored in the vault
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

// numbered reports whether e has a packet identifier.
func (e *Entry) numbered() bool { return e.body != nil && e.id != 0 }

// begun reports whether the client may have received e already.
func (e *Entry) begun() bool { return e.body != nil && e.dup }

// doubt makes e be decided completely again before it is sent. A delivery without a body is
// decided again in any case.
func (e *Entry) doubt() {
	if e.body != nil {
		e.gen = 0
	}
}

// expiry is when e expires, rounded up to a full second if its body is in the vault; zero: never.
func (e *Entry) expiry() time.Time {
	switch {
	case e.body != nil:
		return e.m.Expires
	case e.expires == 0:
		return time.Time{}
	}
	return time.Unix(int64(e.expires), 0)
}

// expired reports whether the message expired before it was first sent (OASIS MQTT 5.0,
// 3.3.2-5). A delivery that the client may have received already does not expire.
func (e *Entry) expired(now time.Time) bool {
	at := e.expiry()
	return !at.IsZero() && !now.Before(at) && !(e.body != nil && (e.dup || e.released))
}
