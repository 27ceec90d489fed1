package broker_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// between runs a function right after a decision was made and before it is used; deliver
// runs one before a delivery to that principal is decided.
type between struct {
	broker.Access
	publish, connect, deliver atomic.Pointer[func(key string)]
}

func (b *between) Open(p *principal.Principal) broker.Rights {
	return &betweenRights{b.Access.Open(p), b, p.Key}
}

type betweenRights struct {
	broker.Rights
	b   *between
	key string
}

func (r *betweenRights) Publish(name string, m *message.Message) message.Verdict {
	v := r.Rights.Publish(name, m)
	if f := r.b.publish.Load(); f != nil {
		(*f)(r.key)
	}
	return v
}

func (r *betweenRights) Connect() message.Verdict {
	v := r.Rights.Connect()
	if f := r.b.connect.Load(); f != nil {
		(*f)(r.key)
	}
	return v
}

func (r *betweenRights) Deliver(m *message.Message) bool {
	if f := r.b.deliver.Load(); f != nil {
		(*f)(r.key)
	}
	return r.Rights.Deliver(m)
}

func hooked(o *broker.Options, b *between) { b.Access, o.Access = o.Access, b }

// onceFor runs f at the first call for that principal only.
func onceFor(at *atomic.Pointer[func(string)], key string, f func()) {
	g := func(k string) {
		if k == key {
			at.Store(nil)
			f()
		}
	}
	at.Store(&g)
}

// Class 22: a publish that was decided before a revocation was confirmed is
// not delivered after it.
func TestPublishInFlightWhileRevoked(t *testing.T) {
	t.Parallel()
	matrix(t, func(t *testing.T, level, qos byte) {
		b := &between{}
		v := newMemory(t)
		h := start(t, func(o *broker.Options) { hooked(o, b); o.Vault = whole(v) })
		sub, pub := h.client(level, "sub"), h.client(level, "pub")
		sub.Subscribe(1, "a", qos)
		h.connect(kept(level, "away")).Subscribe(1, "a", 1)
		onceFor(&b.publish, "user:pub", func() {
			h.policy.change(func(p *policy) { p.publish["user:pub"] = nil })
			h.recheck(only("user:pub"))
		})
		pub.Publish("a", "late", qos, 1, 0)
		h.until("decided", func() bool { return b.publish.Load() == nil })
		if qos > 0 {
			finish(pub, qos, 1)
		} else {
			pub.ExpectSilence()
		}
		sub.ExpectSilence()
		if n := v.queued("user:away\x00away"); n != 0 {
			t.Errorf("%d queued for who is away", n)
		}
	})
}

// Class 22: so is a retained message that is about to be replayed.
func TestReplayInFlightWhileRevoked(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		b := &between{}
		h := start(t, func(o *broker.Options) { hooked(o, b) })
		sub, pub := h.client(level, "sub"), h.client(level, "pub")
		pub.Publish("a", "kept", 1, 1, 1)
		finish(pub, 1, 1)
		onceFor(&b.publish, "user:pub", func() { // when it is judged for the replay
			h.policy.change(func(p *policy) { p.publish["user:pub"] = nil })
			h.recheck(only("user:pub"))
		})
		sub.Subscribe(1, "a", 1)
		sub.ExpectSilence()
		if b.publish.Load() != nil {
			t.Error("never judged")
		}
	})
}

// Class 22: a client is disconnected if the right by which its CONNECT was allowed is
// revoked before its session is open.
func TestConnectInFlightWhileRevoked(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		b := &between{}
		h := start(t, func(o *broker.Options) { hooked(o, b) })
		onceFor(&b.connect, "user:c", func() {
			h.policy.change(func(p *policy) { p.banned["user:c"] = true })
			h.recheck(only("user:c"))
		})
		c := h.dial()
		if p := c.Connect(rawclient.Connect{Level: level, ID: "c", User: "c"}); p.Body[1] == 0 {
			t.Errorf("let in: %s", p)
		}
		c.ExpectClosed()
		h.until("its session is gone", func() bool { return h.Stats().Sessions == 0 })
	})
}

// A QoS 2 publish that is repeated on a new connection is acknowledged when
// the first copy is kept, not before; what is refused meanwhile is not acknowledged.
func TestQoS2RepeatedBeforeItIsDurable(t *testing.T) {
	t.Parallel()
	for _, kept2 := range []bool{true, false} {
		t.Run(fmt.Sprint("kept ", kept2), func(t *testing.T) {
			t.Parallel()
			box := &outbox{held: true}
			h := start(t, func(o *broker.Options) { o.Outbox, o.Vault = box, whole(newMemory(t)) })
			first := h.connect(kept(5, "pub"))
			first.Publish("a", "x", 2, 1, 0)
			h.until("offered", func() bool { return box.len() == 1 })
			h.offline(first)
			again := h.connect(kept(5, "pub"))
			again.Publish("a", "x", 2, 1, 8)
			again.ExpectSilence()
			if kept2 {
				box.release(nil)
				again.Expect("50:0001")
				again.Ack(6, 1)
				again.Expect("70:0001")
				if n := box.len(); n != 1 {
					t.Errorf("offered %d times", n)
				}
				return
			}
			box.release(&message.Refused{Code: 0x97, Reason: "outbox-full"})
			again.Expect("50:000197")
			again.Publish("a", "x", 2, 1, 8) // a new exchange
			h.until("offered again", func() bool { return box.len() == 2 })
			box.release(nil)
			again.Expect("50:0001")
		})
	}
}

func user(size int) []byte {
	return append(append([]byte{38}, rawclient.Text("k")...), rawclient.Text(strings.Repeat("v", size))...)
}

// What a client hides in properties counts against the quotas of queues and of
// retained messages like any other byte.
func TestPropertiesCount(t *testing.T) {
	t.Parallel()
	t.Run("queue", func(t *testing.T) {
		t.Parallel()
		h := start(t, func(o *broker.Options) { o.Vault, o.QueueBytes = whole(newMemory(t)), 64<<10 })
		sub, pub := h.connect(kept(5, "sub")), h.client(5, "pub")
		sub.Subscribe(1, "a", 1)
		h.offline(sub)
		for id := range uint16(3) {
			pub.Publish("a", "", 1, id+1, 0, user(20<<10))
			pub.Expect(fmt.Sprintf("40:%04x", id+1))
		}
		if n := h.Stats().Dropped["session-overflow-oldest"]; n != 0 {
			t.Errorf("%d lost", n)
		}
		pub.Publish("a", "", 1, 9, 0, user(20<<10))
		pub.Expect("40:0009")
		if n := h.Stats().Dropped["session-overflow-oldest"]; n != 1 {
			t.Errorf("%d lost", n)
		}
	})
	t.Run("retained", func(t *testing.T) {
		t.Parallel()
		h := start(t, func(o *broker.Options) { o.MaxRetainedBytes = 64 << 10 })
		pub := h.client(5, "pub")
		for id := range uint16(3) {
			pub.Publish(fmt.Sprint("a", id), "x", 1, id+1, 1, user(20<<10))
			pub.ExpectType(4)
		}
		pub.Publish("b", "x", 1, 9, 1, user(20<<10))
		pub.Expect("40:0009")
		if st := h.Stats(); st.Retained >= 4 {
			t.Errorf("%d are kept", st.Retained)
		}
	})
}

// B8: connections of one address that send nothing do not keep other addresses out.
func TestB8OneAddressDoesNotFillTheDoor(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *broker.Options) { o.Listeners[0].Limits.Pending = 32 })
	for range 40 {
		h.dial()
	}
	h.until("the silent ones are in or out", func() bool { s := h.Stats(); return s.Accepted+s.RefusedEarly == 40 })
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	nc, err := d.DialContext(context.Background(), "tcp", h.addr)
	if err != nil {
		t.Fatal("a second loopback address is needed:", err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	c := &rawclient.Client{T: t, Conn: nc}
	if p := c.Connect(rawclient.Connect{Level: 5, ID: "c", User: "c"}); p.Body[1] != 0 {
		t.Errorf("refused: %s", p)
	}
}

// A QoS 2 publish uses the receive maximum once, not once for its PUBREC and
// once for its PUBREL.
func TestReceiveMaximumQoS2(t *testing.T) {
	t.Parallel()
	box := &outbox{held: true}
	h := start(t, func(o *broker.Options) { o.Outbox, o.ReceiveMaximum = box, 6 })
	c := h.client(5, "c")
	for id := range uint16(6) {
		c.Publish("a", "x", 1+byte(id%2), id+1, 0)
	}
	h.until("six are taken", func() bool { return box.len() == 6 })
	c.ExpectSilence()
	c.Publish("a", "x", 2, 9, 0)
	if seen := c.ExpectClosed(); len(seen) != 1 || seen[0].Body[0] != 0x93 {
		t.Errorf("seen %v", seen)
	}
	box.release(nil)
}

// One principal cannot pile up sessions.
func TestSessionsOfOnePrincipal(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *broker.Options) { o.Vault, o.MaxSessions = whole(newMemory(t)), 3 })
	id := func(i int) rawclient.Connect {
		o := kept(5, "u")
		o.ID = fmt.Sprint("client", i)
		return o
	}
	for i := range 3 {
		h.offline(h.connect(id(i)))
	}
	if p := h.dial().Connect(id(3)); p.Body[1] != 0x97 {
		t.Errorf("got %s", p)
	}
	h.connect(id(1)) // its existing sessions can still be resumed
	h.client(5, "other")
	if n := h.Stats().Sessions; n != 4 {
		t.Errorf("%d sessions", n)
	}
}

// A client that connects and disconnects again and again leaves nothing in the broker but its session.
func TestComingAndGoingLeavesNoTimers(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *broker.Options) { o.Vault = whole(newMemory(t)) })
	for range 10 {
		h.offline(h.connect(kept(5, "c")))
	}
	h.until("one timer", func() bool { return h.Timers() <= 1 })
	h.connect(kept(5, "c"))
	if n := h.Timers(); n != 0 {
		t.Errorf("%d timers for a connected session", n)
	}
}

// A client that takes its session from itself, again and again, leaves nothing behind:
// what the broker holds afterwards is what it held after the first time.
func TestTakeoversLeaveNothing(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	h := start(t, func(o *broker.Options) { o.Vault, o.Contest.TakeOvers = whole(v), 1e6 })
	h.connect(kept(5, "c"))
	type holds struct{ connections, sessions, subscriptions, timers, wills, clients int }
	now := func() holds {
		st := h.Stats()
		return holds{st.Connections, st.Sessions, st.Subscriptions, h.Timers(), h.WillsPending(), h.Library().Clients.Len()}
	}
	before := now()
	for range 150 { // an address may connect 200 times a second
		old := h.connect(kept(5, "c"))
		old.Subscribe(1, "a", 1)
	}
	before.subscriptions = 1
	h.until("what it held before", func() bool { return now() == before })
}

// B20: many receivers that do not read hold a publisher up no longer than one does.
func TestB20ManySlowReceivers(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T) {
		const stall = 150 * time.Millisecond
		h := startInMemory(t, func(o *broker.Options) { o.Stall, o.Buffer = stall, 8<<10 })
		for i := range 12 {
			h.client(5, fmt.Sprint("slow", i)).Subscribe(1, "a", 0)
		}
		pub := h.client(5, "pub")
		began := time.Now()
		payload := strings.Repeat("x", 32<<10)
		for range 16 {
			pub.Publish("a", payload, 0, 0, 0)
		}
		pub.ExpectSilence()
		if n := h.Stats().Dropped["slow-receiver-qos0"]; n < 12 {
			t.Errorf("%d were dropped", n)
		}
		// The first publish waits for one of them, which begins the stall of all; the second for what is left of it.
		if took := time.Since(began); took > 2*stall {
			t.Errorf("twelve that do not read held a publisher up for %v", took)
		}
	})
}

// A receiver whose queue is full keeps no publish from being retained.
func TestFullReceiverAndRetained(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	h := start(t, func(o *broker.Options) { o.Vault, o.QueueMessages = whole(v), 1 })
	sub, pub := h.connect(kept(5, "sub")), h.client(5, "pub")
	sub.Subscribe(1, "a/#", 1)
	h.offline(sub)
	pub.Publish("a/1", "x", 1, 1, 1)
	pub.Expect("40:0001")
	pub.Publish("a/2", "x", 1, 2, 1)
	pub.Expect("40:0002")
	if n := h.Stats().Retained; n != 2 || !v.retains("a/2") {
		t.Errorf("%d retained", n)
	}
}

// A QoS 0 publish is not acknowledged, so nothing is kept in memory for its
// acknowledgement: otherwise such records would accumulate while a disk hangs.
func TestQoS0OffersWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	asked := make(chan bool, 2)
	h := start(t, func(o *broker.Options) {
		o.Outbox = offers(func(_ *message.Message, done func(error)) bool {
			asked <- done != nil
			if done != nil {
				go done(nil)
			}
			return true
		})
	})
	c := h.client(5, "c")
	c.Publish("a", "x", 0, 0, 0)
	c.Publish("a", "x", 1, 1, 0)
	if zero, one := <-asked, <-asked; zero || !one {
		t.Errorf("an answer is wanted for QoS 0: %v, for QoS 1: %v", zero, one)
	}
	c.ExpectType(4)
}

type offers func(*message.Message, func(error)) bool

func (f offers) Offer(m *message.Message, _ *message.Wait, done func(error)) bool { return f(m, done) }
