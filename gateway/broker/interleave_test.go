package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/wire"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// A connection that has lost its session, or is ending, flushes what it was
// given before: a revocation takes it from that one too.
func TestRevokedWhileFlushing(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(h *house, c *wire.Client){
		"taken over":   func(h *house, c *wire.Client) { h.connect(kept(5, "sub")) },
		"clean start":  func(h *house, c *wire.Client) { h.client(5, "sub") },
		"disconnected": func(h *house, c *wire.Client) { c.Put(0xe0, 0) },
		"ended":        func(h *house, c *wire.Client) { h.Disconnect("user:sub", message.ServerShuttingDown, "") },
	} {
		for what, revoke := range map[string]func(p *policy){
			"receiver":  func(p *policy) { p.read["user:sub"] = []string{"open"} },
			"connect":   func(p *policy) { p.banned["user:sub"] = true },
			"publisher": func(p *policy) { p.publish["user:pub"] = []string{"open"} },
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				timeless(t, func(t *testing.T) {
					h := startInMemory(t, func(o *broker.Options) { o.FlushTimeout = time.Second })
					sub, pub := h.connect(kept(5, "sub")), h.client(5, "pub")
					sub.Subscribe(1, "#", 1)
					for i, topic := range []string{"open", "secret", "secret", "open"} {
						pub.Publish(topic, fmt.Sprint(topic, i), byte(i%2), uint16(i+1), 0)
					}
					synctest.Wait() // the writer has the first, and the pipe takes nothing of it
					lose(h, sub)
					synctest.Wait()
					h.policy.change(revoke)
					h.recheck(func(p *principal.Principal) bool { return p.Key == "user:sub" || p.Key == "user:pub" })
					for _, p := range sub.ExpectClosed() {
						if p.Type() == 3 && strings.HasPrefix(wire.Parse(5, p).Payload, "secret") {
							t.Errorf("got %+v", wire.Parse(5, p))
						}
					}
				})
			})
		}
	}
}
