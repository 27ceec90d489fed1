package broker_test

import (
	"fmt"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/wire"
)

// Session expiry: a session that is over leaves nothing, and neither its
// subscriptions nor its queue reach the next one of that id (B22).
func TestB22ExpiredSession(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	h := start(t, func(o *broker.Options) { o.Vault = v })
	o := wire.Connect{Level: 5, ID: "sub", User: "sub", Keep: true, Props: []byte{17, 0, 0, 0, 1}}
	c := h.connect(o)
	c.Subscribe(1, "a", 1)
	h.offline(c)
	pub := h.client(5, "pub")
	pub.Publish("a", "x", 1, 1, 0)
	finish(pub, 1, 1)
	h.until("the session ends", func() bool { return h.Stats().Sessions == 1 })
	h.until("also in the vault", func() bool { _, ok := v.saved("user:sub\x00sub"); return !ok && v.queued("user:sub\x00sub") == 0 })
	if st := h.Stats(); st.Subscriptions != 0 || st.QueuedBytes != 0 {
		t.Errorf("left: %+v", st)
	}
	again := h.dial()
	if p := again.Connect(o); p.Body[0] != 0 {
		t.Errorf("session present: %s", p)
	}
	pub.Publish("a", "y", 1, 2, 0)
	finish(pub, 1, 2)
	again.ExpectSilence()
}

// B22: whoever takes over is never deaf.
func TestB22TakeOver(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t, func(o *broker.Options) { o.Listeners[0].Limits.RatePerAddress = 1e6 })
		pub := h.client(level, "pub")
		var last *wire.Client
		for i := range 150 {
			o := kept(level, "same")
			o.Keep = i%5 > 0 // mostly resumed, sometimes started afresh
			c := h.connect(o)
			c.Subscribe(1, "a", 0)
			if last != nil && i%10 == 0 {
				if seen := last.ExpectClosed(); level == 5 && (len(seen) == 0 || seen[len(seen)-1].Body[0] != 0x8e) {
					t.Fatalf("the old connection saw %v", seen)
				}
			}
			pub.Publish("a", fmt.Sprint(i), 0, 0, 0)
			if d := c.ExpectPublish(); d.Payload != fmt.Sprint(i) {
				t.Fatalf("take-over %d: got %+v", i, d)
			}
			last = c
		}
		if n := h.Stats().Subscriptions; n != 1 {
			t.Errorf("%d subscriptions", n)
		}
	})
}

// A vault that fails refuses: nothing is acknowledged that is not kept.
func TestVaultFails(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	h := start(t, func(o *broker.Options) { o.Vault = v })
	sub := h.connect(kept(5, "sub"))
	sub.Subscribe(1, "a", 1)
	v.mu.Lock()
	v.fail = errDisk
	v.mu.Unlock()
	pub := h.client(5, "pub")
	pub.Publish("a", "x", 1, 1, 0)
	pub.Expect("40:000183")
	sub.ExpectPublish()
	if code := sub.Subscribe(2, "b", 1); code != 0x83 {
		t.Errorf("SUBACK %#x", code)
	}
}
