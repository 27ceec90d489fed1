package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// waitingBox is an outbox without capacity.
func waitingBox(t *testing.T, edit ...func(*broker.Options)) (*outbox, *house) {
	box := &outbox{full: true}
	return box, start(t, func(o *broker.Options) {
		o.Outbox, o.Vault = box, whole(newMemory(t))
		for _, f := range edit {
			f(o)
		}
	})
}

// If the outbox is full and the acknowledgement cannot say so (MQTT 3.1.1, or QoS 2), it is
// withheld until there is capacity. Local receivers get the publish before that, once.
func TestWithheldUntilThereIsCapacity(t *testing.T) {
	t.Parallel()
	matrix(t, func(t *testing.T, level, qos byte) {
		if qos == 0 || qos == 1 && level == 5 {
			t.Skip("nobody waits, or the client is told")
		}
		box, h := waitingBox(t)
		live, pub := h.client(level, "live"), h.connect(kept(level, "pub"))
		live.Subscribe(1, "a", 0)
		const n = 10
		var want []string
		for id := range uint16(n) {
			want = append(want, fmt.Sprint(id))
			pub.Publish("a", fmt.Sprint(id), qos, id+1, 0)
			if d := live.ExpectPublish(); d.Payload != fmt.Sprint(id) {
				t.Fatalf("got %s", d.Payload)
			}
		}
		pub.Hex("c000") // a PINGREQ is answered meanwhile
		pub.Expect("d0:")
		pub.ExpectSilence()
		box.empty()
		kind := map[byte]byte{1: 4, 2: 5}[qos]
		for id := range uint16(n) {
			if p := pub.ExpectType(kind); p.Body[1] != byte(id+1) {
				t.Fatalf("got %s for %d", p, id+1)
			}
		}
		if got := box.payloads(); !slices.Equal(got, want) {
			t.Errorf("upstream has %v", got)
		}
		live.ExpectSilence()
	})
}

// An MQTT 5 client is told at QoS 1 that the outbox is full, and is not held up.
func TestToldAtQoS1OfMQTT5(t *testing.T) {
	t.Parallel()
	box, h := waitingBox(t)
	box.mu.Lock()
	box.full, box.refuse = false, &message.Refused{Code: 0x97, Reason: "outbox-full"}
	box.mu.Unlock()
	live, pub := h.client(5, "live"), h.client(5, "pub")
	live.Subscribe(1, "a", 0)
	for id := byte(1); id < 100; id++ {
		pub.Publish("a", "x", 1, uint16(id), 0)
		pub.Expect(fmt.Sprintf("40:00%02x97", id))
		live.ExpectPublish()
	}
}

// A QoS 2 publish that waits outlives its connection: the client repeats it, local receivers do
// not get it again, and it is acknowledged when upstream has it. One of QoS 1 does not: the client
// sends it again.
func TestWithheldAndItsConnection(t *testing.T) {
	t.Parallel()
	matrix(t, func(t *testing.T, level, qos byte) {
		if qos == 0 || qos == 1 && level == 5 {
			t.Skip("nobody waits, or the client is told")
		}
		box, h := waitingBox(t)
		live, pub := h.client(level, "live"), h.connect(kept(level, "pub"))
		live.Subscribe(1, "a", 0)
		pub.Publish("a", "x", qos, 1, 0)
		live.ExpectPublish()
		h.offline(pub)
		pub = h.connect(kept(level, "pub"))
		pub.Publish("a", "x", qos, 1, 8)
		if qos == 1 {
			live.ExpectPublish()
		}
		pub.ExpectSilence()
		box.empty()
		if qos == 1 {
			pub.Expect("40:0001")
		} else {
			pub.Expect("50:0001")
			pub.Ack(6, 1)
			pub.Expect("70:0001")
		}
		live.ExpectSilence()
		if got := box.payloads(); len(got) != 1 {
			t.Errorf("upstream has %v", got)
		}
	})
}

// With its session, a QoS 2 publish that waits ends.
func TestWithheldEndsWithItsSession(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		box, h := waitingBox(t)
		pub := h.connect(kept(level, "pub"))
		pub.Publish("a", "old", 2, 1, 0)
		h.until("it waits", func() bool { return box.withheld() == 1 })
		h.offline(pub)
		pub = h.client(level, "pub") // a clean session
		pub.Publish("a", "new", 2, 1, 0)
		h.until("both wait", func() bool { return box.withheld() == 2 })
		box.empty()
		pub.Expect("50:0001")
		if got := box.payloads(); !slices.Equal(got, []string{"new"}) {
			t.Errorf("upstream has %v", got)
		}
	})
}

// A publish that waits is not taken when the right to it is lost meanwhile.
func TestWithheldLosesItsRight(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		box, h := waitingBox(t)
		pub := h.connect(kept(level, "pub"))
		pub.Publish("a", "x", 2, 1, 0)
		h.until("it waits", func() bool { return box.withheld() == 1 })
		h.policy.change(func(p *policy) { p.publish["user:pub"] = []string{"other"} })
		h.recheck(only("user:pub"))
		box.empty()
		pub.Expect(map[byte]string{4: "50:0001", 5: "50:000187"}[level])
		if got := box.payloads(); len(got) != 0 {
			t.Errorf("upstream has %v", got)
		}
	})
}

// The identifier of a QoS 2 publish is stored after the outbox has stored the message. Otherwise
// a repetition after a power cut is acknowledged, and nobody has the message.
func TestQoS2IdentifierAfterTheOutbox(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		box, vault := &outbox{held: true}, newMemory(t)
		h := start(t, func(o *broker.Options) { o.Outbox, o.Vault = box, whole(vault) })
		pub := h.connect(kept(level, "pub"))
		pub.Publish("a", "x", 2, 1, 0)
		h.until("offered", func() bool { return box.len() == 1 })
		pub.ExpectSilence()
		if n := vault.identifiers(); n != 0 {
			t.Errorf("%d identifiers stored before the message", n)
		}
		box.release(nil)
		pub.Expect("50:0001")
		if n := vault.identifiers(); n != 1 {
			t.Errorf("%d identifiers stored", n)
		}
	})
}

// Only RefuseHold without any capacity ends the connection.
func TestWithheldTooLong(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		const hold = 400 * time.Millisecond
		box, h := waitingBox(t, func(o *broker.Options) { o.RefuseHold = hold })
		pub := h.connect(kept(level, "pub"))
		began := time.Now()
		for id := range uint16(4) { // each that is taken is capacity
			pub.Publish("a", "x", 2, id+1, 0)
			pub.Publish("a", "x", 2, id+101, 0)
			h.until("they wait", func() bool { return box.withheld() >= 2 })
			time.Sleep(hold / 2)
			box.first()
			pub.ExpectType(5)
		}
		seen := pub.ExpectClosed()
		if time.Since(began) < 2*hold {
			t.Errorf("closed after %v", time.Since(began))
		}
		want := map[byte]int{4: 0, 5: 1}[level] // a DISCONNECT
		if len(seen) != want || want == 1 && !strings.HasPrefix(fmt.Sprint(seen[0]), "e0:97") {
			t.Errorf("seen %v", seen)
		}
		pub = h.connect(kept(level, "pub")) // and what the session repeats counts as well
		pub.Publish("a", "x", 2, 104, 8)
		pub.ExpectClosed()
	})
}

// The publishes of one connection that wait are bounded: beyond the bound the connection is not
// read until the outbox has taken one of them.
func TestWithheldBytesHoldBackTheReader(t *testing.T) {
	t.Parallel()
	box, h := waitingBox(t)
	pub := h.connect(kept(4, "pub"))
	payload := strings.Repeat("x", 100<<10)
	for id := range uint16(6) {
		pub.Publish("a", payload, 1, id+1, 0)
	}
	h.until("three wait", func() bool { return box.withheld() == 3 })
	time.Sleep(50 * time.Millisecond)
	if n := box.withheld(); n != 3 {
		t.Errorf("%d wait", n)
	}
	box.first()
	pub.Expect("40:0001")
	h.until("one more waits", func() bool { return box.withheld() == 3 })
}
