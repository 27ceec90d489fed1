package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
)

// What was sent and not acknowledged is sent again over the next connection, also to a client that
// unsubscribes first. Once its credential is refused nothing more of it leaves, although it has no
// subscription that could be suspended.
func TestNothingLeavesForARefusedCredential(t *testing.T) {
	for _, unsubscribes := range []bool{false, true} {
		t.Run(fmt.Sprint(unsubscribes), func(t *testing.T) {
			h := startInMemory(t, func(o *broker.Options) { o.Vault = whole(newMemory(t)) })
			c, pub := h.connect(kept(5, "c")), h.client(5, "pub")
			c.Subscribe(1, "a", 1)
			body := strings.Repeat("x", 1000)
			for i := range uint16(50) {
				pub.Publish("a", body, 1, i+1, 0)
				finish(pub, 1, i+1)
			}
			for range 50 {
				c.ExpectPublish()
			}
			_ = c.Close()
			h.until("it is away", func() bool { return h.Stats().Connections == 1 })
			c = h.connect(kept(5, "c")) // it reads the CONNACK and nothing else
			if unsubscribes {
				c.Put(rawclient.Frame(0xa2, []byte{0, 9}, rawclient.Props(5), rawclient.Text("a"))...)
				h.until("it has unsubscribed", func() bool { return h.Stats().Subscriptions == 0 })
			}
			h.policy.change(func(p *policy) { p.rolled["user:c"] = true })
			h.recheck(only("user:c"))
			n := 0
			for _, p := range c.ExpectClosed() {
				if p.Type() == 3 {
					n++
				}
			}
			if n > 0 {
				t.Errorf("%d messages after the revocation was confirmed", n)
			}
		})
	}
}
