package broker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
)

// A QoS 2 message that the client may have received, and has no right to any more, is not
// sent again, but its packet identifier is released with a PUBREL. Otherwise the client would
// take the next message with that identifier for a repetition and discard it.
func TestGivenUpQoS2IsReleased(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		levels(t, func(t *testing.T, level byte) {
			v := newMemory(t)
			with := func(o *broker.Options) { o.Vault = whole(v) }
			h := start(t, with)
			sub := h.connect(kept(level, "sub"))
			sub.Subscribe(1, "#", 2)
			pub := h.client(level, "pub")
			for i, topic := range []string{"secret", "open"} {
				pub.Publish(topic, topic, 2, uint16(i+1), 0)
				finish(pub, 2, uint16(i+1))
			}
			secret, second := sub.ExpectPublish(), sub.ExpectPublish()
			h.offline(sub)
			if restart {
				h.stop()
				h = start(t, with)
			}
			h.policy.change(func(p *policy) { p.publish["user:pub"] = []string{"open"} })
			if _, err := h.Recheck(context.Background(), everyone); err != nil {
				t.Fatal(err)
			}
			sub = h.connect(kept(level, "sub"))
			got := map[string]bool{}
			for range 2 {
				p, err := sub.Next(rawclient.Wait)
				if err != nil {
					t.Fatal(err)
				}
				got[p.String()] = true
				if p.Type() == 3 {
					got[rawclient.Parse(level, p).Payload] = true
				}
			}
			if !got[fmt.Sprintf("62:%04x", secret.ID)] || !got["open"] {
				t.Errorf("got %v", got)
			}
			sub.ExpectSilence()
			sub.Ack(7, secret.ID)
			take(sub, second)
			h.until("nothing is left", func() bool { return h.Stats().QueuedBytes == 0 && v.queued("user:sub\x00sub") == 0 })
		})
	}
}

// A QoS 2 delivery of a session that survives is sent when its identifier is
// durable, and its PUBREL is sent when the PUBREC is durable: after a crash the client and
// the gateway mean the same message by that identifier.
func TestQoS2DeliveryIsDurableFirst(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		v := newMemory(t)
		h := start(t, func(o *broker.Options) { o.Vault, o.Inflight = whole(v), 3 })
		sub, pub := h.connect(kept(level, "sub")), h.client(level, "pub")
		sub.Subscribe(1, "a", 2)
		for round := range 2 {
			v.stopped.Lock()
			commit := sync.OnceFunc(v.stopped.Unlock)
			defer commit()
			for i := range uint16(6) {
				pub.Publish("a", fmt.Sprint(i), 2, uint16(round)*10+i+1, 0)
			}
			pub.ExpectSilence()
			sub.ExpectSilence()
			commit()
			var got []rawclient.Delivery
			for i := range 3 {
				d := sub.ExpectPublish()
				if d.Payload != fmt.Sprint(i) {
					t.Fatalf("got %+v at %d", d, i)
				}
				got = append(got, d)
			}
			sub.ExpectSilence()
			for range 6 {
				pub.ExpectType(5)
			}
			v.stopped.Lock()
			commit = sync.OnceFunc(v.stopped.Unlock)
			defer commit()
			for _, d := range got {
				sub.Ack(5, d.ID)
				sub.Ack(5, d.ID) // asking twice does not help
			}
			sub.ExpectSilence()
			commit()
			for _, d := range got {
				sub.Expect(fmt.Sprintf("62:%04x", d.ID))
			}
			sub.ExpectSilence()
			for _, d := range got {
				sub.Ack(7, d.ID)
			}
			drain(sub, 3)
			sub.ExpectSilence()
		}
		h.until("nothing is left", func() bool { return h.Stats().QueuedBytes == 0 && v.queued("user:sub\x00sub") == 0 })
	})
}

// What waits for a suspended subscription goes with it, and comes with one that
// takes its place: it does not take up capacity for ever.
func TestHeldForWhatIsGone(t *testing.T) {
	t.Parallel()
	h := start(t)
	sub, pub := h.connect(kept(5, "sub")), h.client(5, "pub")
	for _, again := range []bool{false, true} {
		sub.Subscribe(1, "a", 1)
		h.offline(sub)
		pub.Publish("a", "held", 1, 1, 0)
		finish(pub, 1, 1)
		h.policy.change(func(p *policy) { p.read["user:sub"] = []string{"b"} })
		if r, err := h.Recheck(context.Background(), everyone); err != nil || r.Suspended != 1 {
			t.Fatalf("%+v %v", r, err)
		}
		sub = h.connect(kept(5, "sub"))
		sub.ExpectSilence()
		h.policy.change(func(p *policy) { p.read["user:sub"] = []string{"#"} })
		if again { // before Recheck: it finds nothing to resume
			sub.Subscribe(1, "a", 1)
			if _, err := h.Recheck(context.Background(), everyone); err != nil {
				t.Fatal(err)
			}
			take(sub, sub.ExpectPublish())
		} else {
			sub.Put(rawclient.Frame(0xa2, []byte{0, 9}, rawclient.Props(5), rawclient.Text("a"))...)
			sub.ExpectType(11)
			sub.ExpectSilence()
		}
		h.until("nothing is held", func() bool { return h.Stats().QueuedBytes == 0 })
	}
}

// After its UNSUBACK a subscription delivers nothing (3.10.4-2), also not what
// was on its way, for it or for one that it has replaced; another one that
// matches does.
func TestUnsubscribedOnTheWay(t *testing.T) {
	t.Parallel()
	for i := range 4 {
		other, replaced := i&1 > 0, i&2 > 0
		access := &between{}
		h := start(t, func(o *broker.Options) { hooked(o, access) })
		first, sub, pub := h.client(5, "first"), h.client(5, "sub"), h.client(5, "pub")
		first.Subscribe(1, "a", 0)
		sub.Subscribe(1, "a", 1)
		if other {
			sub.Subscribe(2, "+", 1)
		}
		onceFor(&access.deliver, "user:first", func() {
			if replaced {
				sub.Subscribe(3, "a", 1)
			}
			sub.Put(rawclient.Frame(0xa2, []byte{0, 9}, rawclient.Props(5), rawclient.Text("a"))...)
			sub.ExpectType(11)
		})
		pub.Publish("a", "x", 1, 1, 0)
		finish(pub, 1, 1)
		first.ExpectPublish()
		if other {
			take(sub, sub.ExpectPublish())
		}
		sub.ExpectSilence()
	}
}

// A client that has as many subscriptions as it may have can replace them.
func TestSubscriptionsCanBeReplacedAtTheLimit(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *broker.Options) { o.MaxSubscriptions = 3 })
	c := h.client(5, "c")
	for round := range 2 {
		for i := range 3 {
			if code := c.Subscribe(uint16(i+1), fmt.Sprint("t/", i), 1); code != 1 {
				t.Errorf("round %d: filter %d gets %02x", round, i, code)
			}
		}
	}
	var many []byte
	for _, f := range []string{"t/0", "t/3", "t/1", "t/4"} {
		many = append(append(many, rawclient.Text(f)...), 0)
	}
	c.Put(rawclient.Frame(0x82, []byte{0, 9}, rawclient.Props(5), many)...)
	c.Expect("90:0009000097" + "0097")
}
