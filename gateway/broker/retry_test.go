package broker_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/broker"
)

// What a full outbox refuses of a client that cannot be told so is offered again when
// there is room, in order, behind nothing that came later. Local receivers have had
// it before that, once.
func TestOfferedAgainWhenRoomComes(t *testing.T) {
	t.Parallel()
	matrix(t, func(t *testing.T, level, qos byte) {
		if qos == 0 || qos == 1 && level == 5 {
			t.Skip("nobody waits, or the client is told")
		}
		box := &outbox{}
		box.fill()
		h := start(t, func(o *broker.Options) { o.Outbox, o.Vault = box, newMemory(t) })
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
		pub.ExpectSilence()
		box.empty()
		kind := map[byte]byte{1: 4, 2: 5}[qos]
		for id := range uint16(n) {
			if p := pub.ExpectType(kind); p.Body[1] != byte(id+1) {
				t.Fatalf("got %s for %d", p, id+1)
			}
		}
		if got := box.payloads(); !slices.Equal(got, want) {
			t.Errorf("offered %v", got)
		}
		live.ExpectSilence()
	})
}

// A QoS 2 publish that waits for room outlives its connection: the client repeats it,
// local receivers do not get it again, and it is acknowledged when upstream has it.
func TestWithheldQoS2OutlivesItsConnection(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		box := &outbox{}
		box.fill()
		h := start(t, func(o *broker.Options) { o.Outbox, o.Vault = box, newMemory(t) })
		live, pub := h.client(level, "live"), h.connect(kept(level, "pub"))
		live.Subscribe(1, "a", 0)
		pub.Publish("a", "x", 2, 1, 0)
		live.ExpectPublish()
		h.offline(pub)
		pub = h.connect(kept(level, "pub"))
		pub.Publish("a", "x", 2, 1, 8)
		pub.ExpectSilence()
		box.empty()
		pub.Expect("50:0001")
		pub.Ack(6, 1)
		pub.Expect("70:0001")
		live.ExpectSilence()
		if got := box.payloads(); len(got) != 1 {
			t.Errorf("offered %v", got)
		}
	})
}
