package broker_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Session expiry: a session that is over leaves nothing, and neither its
// subscriptions nor its queue reach the next one of that id (B22).
func TestB22ExpiredSession(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	h := start(t, func(o *broker.Options) { o.Vault = whole(v) })
	o := rawclient.Connect{Level: 5, ID: "sub", User: "sub", Keep: true, Props: []byte{17, 0, 0, 0, 1}}
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

// B22: a connection that takes a session over receives its messages.
func TestB22TakeOver(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t, func(o *broker.Options) { o.Listeners[0].Limits.RatePerAddress, o.Contest.TakeOvers = 1e6, 1e6 })
		pub := h.client(level, "pub")
		var last *rawclient.Client
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

// A cloud-to-device message for which no device is connected is refused, so that the hub keeps it.
func TestACommandWithoutReceiverIsNotTaken(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.policy.change(func(p *policy) {
		p.route = func(string) message.Route { return message.Route{Handling: message.CloudToDevice} }
	})
	up := &principal.Principal{Kind: principal.Upstream, Key: "upstream:hub"}
	send := func() error {
		done := make(chan error, 1)
		h.Publish(&message.Message{Topic: "devices/d/messages/devicebound/", QoS: 1, Publisher: up}, func(err error) { done <- err })
		return <-done
	}
	var refused *message.Refused
	if err := send(); !errors.As(err, &refused) || refused.Code != message.NoMatchingSubscribers {
		t.Errorf("nobody is there: %v", err)
	}
	c := h.client(5, "d")
	c.Subscribe(1, "devices/d/messages/devicebound/#", 1)
	if err := send(); err != nil {
		t.Error(err)
	}
	take(c, c.ExpectPublish())
}

// here counts who is connected.
type here struct {
	mu sync.Mutex
	n  map[string]int
}

func (h *here) add(key string, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n[key] += n; h.n[key] < 0 {
		panic("left before it arrived")
	}
}

func (h *here) Arrived(p *principal.Principal) { h.add(p.Key, 1) }
func (h *here) Left(p *principal.Principal)    { h.add(p.Key, -1) }

func (h *here) count(key string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n[key]
}

// Presence is told at once of each connection and of its end, once each: also when one
// connection takes over from another, and when the right to connect is revoked.
func TestPresenceIsTold(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		who := &here{n: map[string]int{}}
		h := start(t, func(o *broker.Options) { o.Presence = who })
		is := func(want int) func() bool { return func() bool { return who.count("user:same") == want } }
		first := h.connect(kept(level, "same"))
		if !is(1)() {
			t.Fatal("connected, and not said")
		}
		second := h.connect(kept(level, "same"))
		first.ExpectClosed()
		h.until("one of two is left", is(1))
		second.Put(0xe0, 0)
		second.ExpectClosed()
		h.until("nobody is left", is(0))
		third := h.connect(kept(level, "same"))
		h.policy.change(func(p *policy) { p.banned["user:same"] = true })
		if c := h.dial().Connect(rawclient.Connect{Level: level, ID: "same", User: "same"}); c.Body[1] == 0 || who.count("user:same") != 1 {
			t.Errorf("refused, and counted: %d", who.count("user:same"))
		}
		if _, err := h.Recheck(t.Context(), func(*principal.Principal) bool { return true }); err != nil {
			t.Fatal(err)
		}
		third.ExpectClosed()
		h.until("nobody is left", is(0))
	})
}

// If the vault fails, publishes are refused: nothing is acknowledged that is not stored.
func TestVaultFails(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	h := start(t, func(o *broker.Options) { o.Vault = whole(v) })
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
