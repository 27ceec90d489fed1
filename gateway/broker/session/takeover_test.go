package session

import (
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// keeper is a vault that notes what is deleted of a session.
type keeper struct {
	nowhere
	deleted, released int
}

func (k *keeper) DeleteSession(string, func(error)) { k.deleted++ }

func (k *keeper) Receive(_ string, _ uint16, done func(error)) { done(nil) }

func (k *keeper) Release(_ string, _ uint16, done func(error)) {
	k.released++
	if done != nil {
		done(nil)
	}
}

// A connection whose session was taken over by a newer one of the same principal cannot change the
// session any more, whichever packet of it is still being handled.
func TestTheOldConnectionChangesNothing(t *testing.T) {
	k := &keeper{}
	st := NewStore(Config{Sessions: k, Queues: k, Index: noIndex{}})
	o, who := open(st, 1, true)
	s, first := o.Session, o.Session.claim
	x := s.Received(first, 7, nil)
	if x == nil {
		t.Fatal("the owner cannot begin")
	}
	s.Keep(x, func(error) {})
	s.Answer(x, message.Success)
	if again, _ := open(st, 1, true); again.Displaced != first {
		t.Fatal("nothing was taken over")
	}

	s.SetExpiry(first, 0, false)
	if !s.Persistent() || s.Info().Expiry != time.Hour || k.deleted > 0 {
		t.Error("it ended the session of the new one")
	}
	answered := func(byte) { t.Error("it was answered") }
	if s.Received(first, 8, answered) != nil || s.Received(first, 7, answered) != nil || s.Unreleased() != 1 {
		t.Error("it began an exchange")
	}
	s.Released(first, 7, answered)
	if s.Unreleased() != 1 || k.released > 0 {
		t.Error("it ended an exchange of the new one")
	}
	other := *who
	if s.Renew(first, &other, says{}) || s.Principal() == &other {
		t.Error("it replaced the proof of the new one")
	}

	code := byte(0xff)
	s.Released(s.claim, 7, func(c byte) { code = c })
	if code != message.Success || k.released != 1 {
		t.Errorf("the owner: %x, %d released", code, k.released)
	}
	s.SetExpiry(s.claim, 0, false)
	if s.Persistent() || k.deleted != 1 {
		t.Error("the owner cannot end it")
	}
}
