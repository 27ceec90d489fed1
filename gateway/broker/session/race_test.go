package session

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/broker/outbuf"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// Many publishers that take and give back quota at the limit at the same time neither lose nor gain
// any of it.
func TestQuotaIsGivenBack(t *testing.T) {
	t.Parallel()
	m := &message.Message{Topic: "a", Payload: make([]byte, 1000)}
	for name, c := range map[string]Config{
		"messages": {QueueMessages: 1, QueueBytes: 9 * int(sizeOf(m)), TotalQueueBytes: 1 << 30},
		"bytes":    {QueueMessages: 4, QueueBytes: 2 * int(sizeOf(m)), TotalQueueBytes: 1 << 30},
		"total":    {QueueMessages: 4, QueueBytes: 1 << 20, TotalQueueBytes: 2 * sizeOf(m)},
	} {
		c.Sessions, c.Queues, c.Index = nowhere{}, nowhere{}, noIndex{}
		st := NewStore(c)
		o, _ := open(st, 1, true)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 100_000 {
					if o.Session.Reserve(m) {
						o.Session.Release(m)
					}
				}
			})
		}
		all.Wait()
		if n, b, q := o.Session.count.Load(), o.Session.bytes.Load(), st.QueuedBytes(); n != 0 || b != 0 || q != 0 {
			t.Errorf("%s: %d messages and %d bytes of its own, %d of all", name, n, b, q)
		}
	}
}

// rules is a Rights that allows what the test sets.
type rules struct {
	says
	deliver func(*message.Message) bool
}

func (r rules) Deliver(m *message.Message) bool { return r.deliver == nil || r.deliver(m) }

// vessel is a connection whose writes always succeed.
type vessel struct{ strings.Builder }

func (*vessel) SetWriteDeadline(time.Time) error { return nil }
func (*vessel) Close() error                     { return nil }
func (*vessel) Abort() error                     { return nil }

func attach(t *testing.T, s *Session, out outbuf.Conn, window int) *outbuf.Buffer {
	t.Helper()
	b := outbuf.New(out, outbuf.Config{Limit: 1 << 20, Write: time.Minute, Stall: time.Millisecond})
	t.Cleanup(b.Abort)
	if !s.Attach(&Link{Out: b, Level: 4, Window: window, Conn: s.claim}) {
		t.Fatal("not attached")
	}
	return b
}

func everything(v interface {
	Sessions
	Queues
}) Config {
	return Config{Sessions: v, Queues: v, Index: noIndex{}, Judge: func(*message.Message) bool { return true }, Drop: func(string) {},
		QueueMessages: 100, QueueBytes: 1 << 20, TotalQueueBytes: 1 << 30}
}

func subscribe(s *Session, filters ...string) []*Sub {
	var subs []*Sub
	for _, f := range filters {
		subs = append(subs, NewSub(s, message.Subscription{Filter: f, QoS: 2}, topic.Subscription{Filter: f}))
	}
	s.Subscribe(s.claim, subs, func(*Sub) bool { return true }, nil)
	return subs
}

func deliver(t *testing.T, s *Session, sub *Sub, m *message.Message) {
	t.Helper()
	if !s.Reserve(m) || s.Deliver(Delivery{Message: m, Sub: sub, QoS: m.QoS, Gen: s.Now()}, nil) != Delivered {
		t.Fatal("not delivered")
	}
}

// A client may acknowledge a delivery that is still in the output buffer. If a revocation then cuts the
// delivery out of the buffer, it is not queued again, and its quota is not given back twice.
func TestAcknowledgedAndCut(t *testing.T) {
	t.Parallel()
	st := NewStore(everything(nowhere{}))
	o, _ := open(st, 1, false)
	s := o.Session
	s.persistent = false
	lost := false
	s.rights = rules{says: says{v: message.Verdict{Allowed: true}}, deliver: func(*message.Message) bool { return !lost }}
	sub := subscribe(s, "a")[0]
	b := attach(t, s, &vessel{}, 1)
	b.Cork()
	first, second := &message.Message{Topic: "a", QoS: 1}, &message.Message{Topic: "a", QoS: 1}
	deliver(t, s, sub, first)
	deliver(t, s, sub, second)
	s.Acknowledged(s.claim, frame.PUBACK, frame.Ack{ID: 1})
	if s.Info().Inflight != 1 {
		t.Fatalf("%+v", s.Info())
	}
	lost = true
	st.Generation()
	c := s.Recheck(func(*principal.Principal) bool { return true }, time.Now(), func(*Sub) bool { return true })
	if i := s.Info(); c.Cut != 2 || i.Inflight != 0 || i.Queued != 0 || s.Waiting() != 0 || st.QueuedBytes() != 0 {
		t.Errorf("%d cut, %+v, %d wait, %d bytes of all", c.Cut, i, s.Waiting(), st.QueuedBytes())
	}
}

// shelf is a store that notes what it has of inbound identifiers, and commits
// when it is told to.
type shelf struct {
	nowhere
	inbound map[uint16]bool
	held    bool
	waiting []func()
	fail    error
}

func (v *shelf) submit(f func(), done func(error)) {
	err := v.fail
	op := func() {
		if err == nil {
			f()
		}
		if done != nil {
			done(err)
		}
	}
	if v.held {
		v.waiting = append(v.waiting, op)
		return
	}
	op()
}

func (v *shelf) commit() {
	ops := v.waiting
	v.held, v.waiting = false, nil
	for _, op := range ops {
		op()
	}
}

func (v *shelf) DeleteSession(_ string, done func(error)) {
	v.submit(func() { clear(v.inbound) }, done)
}

func (v *shelf) Receive(_ string, id uint16, done func(error)) {
	v.submit(func() { v.inbound[id] = true }, done)
}

func (v *shelf) Release(_ string, id uint16, done func(error)) {
	v.submit(func() { delete(v.inbound, id) }, done)
}

// An open QoS 2 exchange of a session that has ended does not belong to the session that took its
// place. If its identifier were stored for the new session, that one would take a new publish for a
// repetition after a restart; if it were released there, a repetition would count as new.
func TestExchangeOfASessionThatEnded(t *testing.T) {
	t.Parallel()
	v := &shelf{inbound: map[uint16]bool{}}
	st := NewStore(everything(v))
	o, who := open(st, 1, true)
	old, conn := o.Session, o.Session.claim
	late, refused := old.Received(conn, 7, nil), old.Received(conn, 8, nil)
	old.Keep(refused, func(error) {})
	next := st.Open(
		Request{Principal: who, Rights: says{}, ClientID: "d1", Clean: true, Persistent: true, Expiry: time.Hour, Conn: new(int)},
	).Session
	x := next.Received(next.claim, 8, nil)
	next.Keep(x, func(error) {})
	next.Answer(x, message.Success)

	kept := false
	old.Keep(late, func(error) { kept = true })
	old.Answer(late, message.Success)
	old.Answer(refused, message.QuotaExceeded)
	if !kept || v.inbound[7] || !v.inbound[8] {
		t.Errorf("answered %v, stored %v", kept, v.inbound)
	}
}

// A packet identifier of QoS 2 is in use until its release is stored, over any number of connections
// and failures. If it were freed in memory only, it would be in use again after a restart, and the
// next publish with it would be taken for a repetition and lost.
func TestIdentifierUntilItIsReleased(t *testing.T) {
	t.Parallel()
	v := &shelf{inbound: map[uint16]bool{}}
	st := NewStore(everything(v))
	o, _ := open(st, 1, true)
	s := o.Session
	x := s.Received(s.claim, 7, nil)
	s.Keep(x, func(error) {})
	s.Answer(x, message.Success)

	var answers []byte
	answer := func(code byte) { answers = append(answers, code) }
	v.fail = errors.New("disk")
	s.Released(s.claim, 7, answer)
	if len(answers) > 0 || s.Unreleased() != 1 {
		t.Fatalf("not stored: answered %x, %d open", answers, s.Unreleased())
	}
	v.fail, v.held = nil, true
	s.Released(s.claim, 7, answer)
	open(st, 1, true) // the client comes back before that is durable
	s.Released(s.claim, 7, answer)
	if s.Received(s.claim, 7, func(byte) {}) != nil || len(answers) > 0 {
		t.Errorf("not durable: free, or answered %x", answers)
	}
	v.commit()
	if !bytes.Equal(answers, []byte{0, 0}) || s.Unreleased() != 0 || len(v.inbound) > 0 {
		t.Errorf("answered %x, %d open, stored %v", answers, s.Unreleased(), v.inbound)
	}
	s.Released(s.claim, 7, answer)
	if answers[2] != message.PacketIdentifierNotFound {
		t.Errorf("answered %x", answers)
	}
}

// A delivery that came after the new generation began and before its subscription was suspended was
// decided while the subscription still had its right, so it waits like the others.
func TestTakenJustBeforeTheSuspension(t *testing.T) {
	t.Parallel()
	st := NewStore(everything(nowhere{}))
	o, _ := open(st, 1, true)
	s := o.Session
	s.rights = rules{says: says{v: message.Verdict{Allowed: true}}}
	sub := subscribe(s, "a/#")[0]
	b := attach(t, s, &vessel{}, 1)
	b.Cork()
	st.Generation()
	deliver(t, s, sub, &message.Message{Topic: "a/1", QoS: 1})
	deliver(t, s, sub, &message.Message{Topic: "a/1", QoS: 1})
	c := s.Recheck(func(*principal.Principal) bool { return true }, time.Now(), func(*Sub) bool { return false })
	if c.Cut != 1 || b.Unsent() != 0 || len(s.held) != 2 {
		t.Errorf("%d cut, %d bytes on their way, %d held", c.Cut, b.Unsent(), len(s.held))
	}
}
