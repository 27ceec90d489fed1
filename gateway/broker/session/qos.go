package session

import (
	"sync/atomic"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// Acknowledged takes a PUBACK, PUBREC or PUBCOMP of the client, which answers a
// delivery. Deliveries and the client's own publishes (Received) have packet
// identifiers of their own: the same number means different things (B21).
//
// It returns false, and has done nothing, if an MQTT 5 client has received the delivery of that
// identifier and answers it with what does not belong to it: a PUBREC to QoS 1, or a PUBACK or a
// PUBCOMP before PUBREL to QoS 2 (OASIS MQTT 5.0, 4.3); from a client of MQTT 3.1.1, whose standard
// does not say what to do, such an answer finishes nothing. An identifier that is not in use is no
// mistake of the client: the delivery may have been given up since it was sent.
func (s *Session) Acknowledged(conn any, kind byte, a frame.Ack) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claim != conn || s.link == nil {
		return true
	}
	e := s.ids[a.ID]
	known := e != nil && e.sent
	if known && s.link.Level >= 5 && !e.answeredBy(kind) {
		return false
	}
	switch kind {
	case frame.PUBACK:
		if known && e.qos == 1 {
			s.finish(e)
		}
	case frame.PUBREC:
		switch {
		case !known || e.qos != 2:
			if a.Code < 0x80 {
				s.link.Out.Control(frame.AppendAck(nil, frame.PUBREL, a.ID, message.PacketIdentifierNotFound, s.link.Level))
			}
		case a.Code >= 0x80:
			s.finish(e)
		case !e.released:
			e.released = true
			s.update(e)
		case e.firm: // the client has sent its PUBREC again
			s.proceed(e)
		}
	case frame.PUBCOMP:
		if known && e.released {
			s.finish(e)
		}
	}
	s.endEpisode()
	s.pump()
	return true
}

// answeredBy reports whether an acknowledgement of that packet type answers what the client has
// got of e: a PUBCOMP does once the PUBREL was sent, which e.firm says of a released delivery.
func (e *Entry) answeredBy(kind byte) bool {
	switch kind {
	case frame.PUBACK:
		return e.qos == 1
	case frame.PUBCOMP:
		return e.qos == 2 && e.released && e.firm
	}
	return e.qos == 2
}

// Exchange is one QoS 2 publish of the client, from its PUBLISH to its PUBREL. Its
// fields are guarded by the mu of its session.
type Exchange struct {
	id       uint16
	kept     bool              // Keep was called: the vault may have the identifier
	answered bool              // Answer was called: a repetition gets success at once
	again    []func(code byte) // repetitions that wait for Answer
	withheld bool              // Withhold was called, and not Answer

	over atomic.Bool // the exchange has ended; read without mu
}

// Withhold notes that the publish waits for capacity of the outbox.
func (s *Session) Withhold(x *Exchange) {
	s.mu.Lock()
	x.withheld = !x.answered
	s.mu.Unlock()
}

// Withheld tells whether the publish of that identifier waits for capacity of the outbox.
func (s *Session) Withheld(id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.inbound[id]
	return x != nil && x.withheld
}

// Over tells whether the exchange has ended: by its PUBREL, a refusal, or with the session.
func (x *Exchange) Over() bool { return x.over.Load() }

// conclude ends the exchange with that identifier; s.mu is held.
func (s *Session) conclude(id uint16) {
	if x := s.inbound[id]; x != nil {
		x.over.Store(true)
		delete(s.inbound, id)
	}
}

// Received begins the exchange of a QoS 2 publish. It returns nil if none begins:
//
//   - The publish repeats one whose exchange is open. Then again runs with the code
//     of that one, now or when Answer gives it, so that a client that reconnects
//     and repeats is not acknowledged before the message is durable.
//   - The session belongs to another connection now. Then nothing happens.
func (s *Session) Received(conn any, id uint16, again func(code byte)) *Exchange {
	s.mu.Lock()
	if s.claim != conn {
		s.mu.Unlock()
		return nil
	}
	x := s.inbound[id]
	if x == nil {
		x = &Exchange{id: id}
		s.inbound[id] = x
		s.mu.Unlock()
		return x
	}
	answered := x.answered
	if !answered {
		x.again = append(x.again, again)
	}
	s.mu.Unlock()
	if answered {
		again(message.Success)
	}
	return nil
}

// Answer gives x its reason code, once that is known. A refusal ends the exchange
// and frees the identifier.
func (s *Session) Answer(x *Exchange, code byte) {
	s.mu.Lock()
	if code >= 0x80 && s.inbound[x.id] == x {
		s.conclude(x.id)
		if x.kept && s.persistent {
			s.store.c.Sessions.Release(s.Key, x.id, nil)
		}
	}
	x.answered, x.withheld = true, false
	again := x.again
	x.again = nil
	s.mu.Unlock()
	for _, f := range again {
		f(code)
	}
}

// Keep stores the identifier of x, after its message has been given to the vault;
// done runs when it is durable, without mu.
func (s *Session) Keep(x *Exchange, done func(error)) {
	s.mu.Lock()
	if !s.persistent || s.inbound[x.id] != x {
		s.mu.Unlock()
		done(nil)
		return
	}
	x.kept = true
	var over atomic.Bool // set by the first of the vault's answer and the unlock; the second calls done
	var early error
	s.store.c.Sessions.Receive(s.Key, x.id, func(err error) {
		early = err
		if !over.CompareAndSwap(false, true) {
			done(err)
		}
	})
	s.mu.Unlock()
	if !over.CompareAndSwap(false, true) {
		done(early)
	}
}

// Released takes a PUBREL of the client. done gets the code of the PUBCOMP once the
// vault has forgotten the identifier: if a restart brought it back, the next
// publish that uses it would be taken for a repetition, acknowledged and lost. If
// the vault fails, done never runs and the client repeats its PUBREL when it
// reconnects. Nothing happens if the session belongs to another connection now.
func (s *Session) Released(conn any, id uint16, done func(code byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.inbound[id]
	switch {
	case s.claim != conn:
	case x == nil:
		done(message.PacketIdentifierNotFound)
	case !x.kept || !s.persistent:
		s.conclude(id)
		done(message.Success)
	default:
		s.stored(func(done func(error)) { s.store.c.Sessions.Release(s.Key, id, done) }, func(err error) {
			if err != nil {
				return
			}
			if s.inbound[id] == x {
				s.conclude(id)
			}
			done(message.Success)
		})
	}
}

// stored calls submit, which gives something to the vault, and calls then with the
// vault's answer. s.mu is held by the caller and while both run: a vault may call done
// before submit returns, or later on a goroutine of its own.
func (s *Session) stored(submit func(done func(error)), then func(error)) {
	var over atomic.Bool // set by the first of done and the end of submit; the second runs then
	var early error
	submit(func(err error) {
		early = err
		if over.CompareAndSwap(false, true) {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		then(err)
	})
	if !over.CompareAndSwap(false, true) {
		then(early)
	}
}

// Receiving tells whether a QoS 2 publish with that identifier would be a repetition.
func (s *Session) Receiving(id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inbound[id] != nil
}

// Unreleased is how many QoS 2 publishes wait for their PUBREL.
func (s *Session) Unreleased() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.inbound)
}
