package broker_test

import (
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
)

// A write of a revoked message that the client keeps from ending ends with the connection: Recheck counts
// it as closed, and the client gets no answer any more on it.
func TestAStuckWriteOfARevokedMessageEndsTheConnection(t *testing.T) {
	t.Parallel()
	h := start(t)
	sub, pub := h.client(5, "sub"), h.client(5, "pub")
	sub.Subscribe(1, "s", 0)
	body := strings.Repeat("x", 8<<10)
	for closed := 0; closed == 0; {
		h.policy.change(func(p *policy) { p.read["user:sub"] = []string{"s"} })
		h.recheck(only("user:sub"))
		for before := h.Stats().Dropped["slow-receiver-qos0"]; h.Stats().Dropped["slow-receiver-qos0"] == before; {
			pub.Publish("s", body, 0, 0, 0)
		}
		h.policy.change(func(p *policy) { p.read["user:sub"] = nil })
		closed = h.recheck(only("user:sub")).Closed
	}
	_, _ = sub.Write([]byte{0xc0, 0}) // PINGREQ
	for {
		p, err := sub.Next(rawclient.Wait)
		if err != nil {
			break
		}
		if p.Type() == 13 {
			t.Fatal("the connection is served on")
		}
	}
	h.until("the connection has ended", func() bool { return h.Stats().Connections == 1 })
}
