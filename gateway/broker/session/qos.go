package session

import (
	"sync/atomic"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// Acknowledged takes a PUBACK, PUBREC or PUBCOMP of the client. The
// identifiers are those of deliveries; what the client itself publishes has
// its own (Received).
func (s *Session) Acknowledged(conn any, kind byte, a frame.Ack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claim != conn || s.link == nil {
		return
	}
	e := s.ids[a.ID]
	known := e != nil && e.sent
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
		case e.firm: // it asks again
			s.proceed(e)
		}
	case frame.PUBCOMP:
		if known && e.released {
			s.finish(e)
		}
	}
	s.pump()
}

// Exchange is one QoS 2 publish of the client, from its PUBLISH to its PUBREL.
// Guarded by its session's lock.
type Exchange struct {
	id       uint16
	kept     bool // its message is with whoever keeps it: the Vault may have it as received
	answered bool // kept for good: a repetition is answered at once
	again    []func(code byte)
}

// Received begins the exchange of a QoS 2 publish for the connection that owns
// the session. nil: there is none to begin. If it is a repetition of one that
// was taken already, again runs with the code of that one: now, or as soon as
// it is known. What is not kept yet is acknowledged to nobody, whatever
// connection asks. A connection that has lost the session changes nothing.
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

// Answer ends the uncertainty about x. A refusal ends the exchange itself: the
// identifier is free.
func (s *Session) Answer(x *Exchange, code byte) {
	s.mu.Lock()
	if code >= 0x80 && s.inbound[x.id] == x {
		delete(s.inbound, x.id)
		if x.kept && s.persistent {
			s.store.c.Vault.Release(s.Key, x.id, nil)
		}
	}
	x.answered = true
	again := x.again
	x.again = nil
	s.mu.Unlock()
	for _, f := range again {
		f(code)
	}
}

// Keep makes x durable, once its message is on its way to be; done runs when it is.
func (s *Session) Keep(x *Exchange, done func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.persistent || s.inbound[x.id] != x {
		done(nil)
		return
	}
	x.kept = true
	s.store.c.Vault.Receive(s.Key, x.id, done)
}

// Released takes a PUBREL of the connection that owns the session; from another
// one it takes nothing. done gets the code of the PUBCOMP once the identifier
// is free for good, and until then it is in use: if it came back with a restart,
// the next publish that uses it would be taken for a repetition, acknowledged
// and lost. If that cannot be stored, the client asks again.
func (s *Session) Released(conn any, id uint16, done func(code byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.inbound[id]
	switch {
	case s.claim != conn:
	case x == nil:
		done(message.PacketIdentifierNotFound)
	case !x.kept || !s.persistent:
		delete(s.inbound, id)
		done(message.Success)
	default:
		s.stored(func(done func(error)) { s.store.c.Vault.Release(s.Key, id, done) }, func(err error) {
			if err != nil {
				return
			}
			if s.inbound[id] == x {
				delete(s.inbound, id)
			}
			done(message.Success)
		})
	}
}

// stored lets submit give something to the Vault; then runs with the outcome.
// The lock is held for both, also if the outcome is there at once.
func (s *Session) stored(submit func(done func(error)), then func(error)) {
	var over atomic.Bool // whoever comes second, submit or its done, finds it set
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

// Receiving tells whether a publish with that identifier would be a repetition.
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
