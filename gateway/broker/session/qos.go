package session

import (
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
		default:
			e.released = true
			if s.persistent {
				s.store.c.Vault.Update(s.Key, e.record(), nil)
			}
			s.link.Out.Control(frame.AppendAck(nil, frame.PUBREL, a.ID, message.Success, s.link.Level))
		}
	case frame.PUBCOMP:
		if known && e.released {
			s.finish(e)
		}
	}
	s.pump()
}

// Received notes the identifier of a QoS 2 publish; false: it is a repetition
// of one that was taken already.
func (s *Session) Received(id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, again := s.inbound[id]; again {
		return false
	}
	s.inbound[id] = struct{}{}
	return true
}

// Keep makes the identifiers received durable; done runs when they are.
func (s *Session) Keep(done func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.save(done)
}

// Released takes a PUBREL, or the refusal of a QoS 2 publish; false: the
// identifier was not known.
func (s *Session) Released(id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.inbound[id]
	if known {
		delete(s.inbound, id)
		s.save(nil)
	}
	return known
}

// Unreleased is how many QoS 2 publishes wait for their PUBREL.
func (s *Session) Unreleased() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.inbound)
}
