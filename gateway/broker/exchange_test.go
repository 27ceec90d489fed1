package broker_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
)

// The reader of a 3.1.1 client that waits for the window always goes on, even if the last
// acknowledgement is written just when the reader is about to wait for one.
func TestWindowIsNeverMissed(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *broker.Options) { o.ReceiveMaximum, o.Outbox = 1, &outbox{} })
	pub := h.client(4, "pub")
	const n = 60_000
	go func() {
		for i := range n {
			if _, err := pub.Write(rawclient.PublishFrame(4, "a", "x", 1, uint16(i+1), 0)); err != nil {
				return
			}
		}
	}()
	for i := range n {
		pub.Expect(fmt.Sprintf("40:%04x", i+1))
	}
}

// A client that comes back with its window full of QoS 2 publishes sends them
// all again: repetitions are no more than the receive maximum allows.
func TestRepetitionsFillNoWindow(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *broker.Options) { o.ReceiveMaximum = 3 })
	sub := h.client(5, "sub")
	sub.Subscribe(1, "a", 0)
	pub := h.connect(kept(5, "pub"))
	for id := range uint16(3) {
		pub.Publish("a", fmt.Sprint(id), 2, id+1, 0)
		pub.ExpectType(5)
		sub.ExpectPublish()
	}
	h.offline(pub)
	pub = h.connect(kept(5, "pub"))
	for id := range uint16(3) {
		pub.Publish("a", fmt.Sprint(id), 2, id+1, 8)
		pub.Expect(fmt.Sprintf("50:%04x", id+1))
	}
	sub.ExpectSilence()
	for id := range uint16(3) {
		pub.Ack(6, id+1)
		pub.Expect(fmt.Sprintf("70:%04x", id+1))
	}
	for id := range uint16(3) {
		pub.Publish("a", "new", 2, id+1, 0)
		pub.ExpectType(5)
		sub.ExpectPublish()
	}
	pub.Publish("a", "one too many", 2, 4, 0)
	if seen := pub.ExpectClosed(); len(seen) != 1 || seen[0].Body[0] != 0x93 {
		t.Errorf("seen %v", seen)
	}
}

// The PUBCOMP of a QoS 2 publish is sent when the release of its packet identifier is
// durable. Otherwise a crash would bring the identifier back, and the next publish that uses
// it would be acknowledged and lost. The record of the session is not written for it.
func TestPubcompAfterDurability(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		v := newMemory(t)
		h := start(t, func(o *broker.Options) { o.Vault = whole(v) })
		pub := h.connect(kept(level, "pub"))
		pub.ExpectSilence()
		h.until("the session is stored", func() bool { _, ok := v.saved("user:pub\x00pub"); return ok })
		before := v.sessionWrites()
		for id := range uint16(20) {
			pub.Publish("a", "x", 2, id+1, 0)
			pub.ExpectType(5)
		}
		v.stopped.Lock()
		commit := sync.OnceFunc(v.stopped.Unlock)
		defer commit()
		for id := range uint16(20) {
			pub.Ack(6, id+1)
		}
		pub.ExpectSilence()
		commit()
		for id := range uint16(20) {
			pub.Expect(fmt.Sprintf("70:%04x", id+1))
		}
		if n := v.sessionWrites() - before; n != 0 {
			t.Errorf("the session was written %d times for 20 publishes", n)
		}
	})
}

// A client that waits for the broker's acknowledgements is not closed for its keep alive.
func TestKeepAliveWhileHeldBack(t *testing.T) {
	t.Parallel()
	box := &outbox{held: true}
	h := start(t, func(o *broker.Options) { o.ReceiveMaximum, o.Outbox = 1, box })
	c := h.connect(rawclient.Connect{Level: 4, ID: "c", User: "c", KeepAlive: 1})
	c.Publish("a", "x", 1, 1, 0)
	h.until("the first is taken", func() bool { return box.len() == 1 })
	read := h.Stats().BytesIn
	c.Publish("a", "x", 1, 2, 0)
	h.until("the second is read", func() bool { return h.Stats().BytesIn > read })
	c.Put(0xc0, 0)
	c.Expect("d0:")
	time.Sleep(1600 * time.Millisecond) // the keep alive is in seconds
	box.release(nil)
	c.Expect("40:0001")
	h.until("the second is taken", func() bool { return box.len() == 2 })
	box.release(nil)
	c.Expect("40:0002")
}
