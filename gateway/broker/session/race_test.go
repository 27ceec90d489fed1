package session

import (
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

// Whatever many publishers take and give back at the limit at once, nothing of
// the quota is lost or won by it.
func TestQuotaIsGivenBack(t *testing.T) {
	t.Parallel()
	m := &message.Message{Topic: "a", Payload: make([]byte, 1000)}
	for name, c := range map[string]Config{
		"messages": {QueueMessages: 1, QueueBytes: 9 * int(sizeOf(m)), TotalQueueBytes: 1 << 30},
		"bytes":    {QueueMessages: 4, QueueBytes: 2 * int(sizeOf(m)), TotalQueueBytes: 1 << 30},
		"total":    {QueueMessages: 4, QueueBytes: 1 << 20, TotalQueueBytes: 2 * sizeOf(m)},
	} {
		c.Vault, c.Index = nowhere{}, noIndex{}
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

// rules grants what it is told to.
type rules struct {
	says
	deliver func(*message.Message) bool
}

func (r rules) Deliver(m *message.Message) bool { return r.deliver == nil || r.deliver(m) }

// vessel is a connection that takes everything.
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

func everything(v Vault) Config {
	return Config{Vault: v, Index: noIndex{}, Judge: func(*message.Message) bool { return true }, Drop: func(string) {},
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

// A client may acknowledge what it has not been sent yet: a revocation that
// cuts it out of the buffer afterwards does not bring it back, and gives back
// nothing twice.
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
