package broker_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
)

// QoS 2 is exactly once and in order, wherever connections are lost and however
// often the gateway starts again: of what it received the receiver keeps only the packet
// identifiers without a PUBREL, as a client must (4.3.3).
func TestExactlyOnceThroughLosses(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		v := newMemory(t)
		with := func(o *broker.Options) { o.Vault, o.Inflight = whole(v), 7 }
		h := start(t, with)
		chance := rand.New(rand.NewPCG(1, uint64(level)))
		unreleased := map[uint16]bool{}
		var got []string
		c := h.connect(kept(level, "sub"))
		c.Subscribe(1, "a", 2)
		const rounds, each = 12, 20
		for round := range rounds {
			pub := h.client(level, "pub")
			for i := range each {
				pub.Publish("a", fmt.Sprint(round*each+i), 2, uint16(i+1), 0)
				finish(pub, 2, uint16(i+1))
			}
			h.offline(pub)
			for answers := 5 + chance.IntN(2*each); answers > 0 && len(got) < (round+1)*each; answers-- {
				receive(c, unreleased, &got)
			}
			lost := chance.IntN(2) == 0 // else it is taken over
			if lost {
				h.offline(c)
			}
			if chance.IntN(3) == 0 {
				h.stop()
				h = start(t, with)
				lost = true
			}
			old := c
			c = h.connect(kept(level, "sub"))
			if !lost {
				_ = old.Close()
				h.until("the old one has left", func() bool { return h.Stats().Connections == 1 })
			}
		}
		for len(got) < rounds*each || len(unreleased) > 0 {
			receive(c, unreleased, &got)
		}
		c.ExpectSilence()
		for i, payload := range got {
			if payload != fmt.Sprint(i) {
				t.Fatalf("got %s at %d of %d", payload, i, len(got))
			}
		}
		h.until("nothing is left", func() bool { return h.Stats().QueuedBytes == 0 && v.queued("user:sub\x00sub") == 0 })
	})
}

// receive takes one packet as a client does.
func receive(c *rawclient.Client, unreleased map[uint16]bool, got *[]string) {
	c.T.Helper()
	p, err := c.Next(rawclient.Wait)
	if err != nil {
		c.T.Fatalf("after %d: %v", len(*got), err)
	}
	switch p.Type() {
	case 3:
		d := rawclient.Parse(c.Level, p)
		if !unreleased[d.ID] {
			unreleased[d.ID] = true
			*got = append(*got, d.Payload)
		}
		c.Ack(5, d.ID)
	case 6:
		id := uint16(p.Body[0])<<8 | uint16(p.Body[1])
		delete(unreleased, id)
		c.Ack(7, id)
	default:
		c.T.Fatalf("got %s", p)
	}
}
