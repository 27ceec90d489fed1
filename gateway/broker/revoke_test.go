package broker_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

func only(key string) func(*principal.Principal) bool {
	return func(p *principal.Principal) bool { return p.Key == key }
}

func (h *house) recheck(match func(*principal.Principal) bool) broker.Report {
	h.t.Helper()
	r, err := h.Recheck(context.Background(), match)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// A lost subscription is suspended: nothing delivered, nothing queued, what
// waited is held; it comes back with its right, and only what is lost is taken.
func TestSuspendAndResume(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		v := newMemory(t)
		h := start(t, func(o *broker.Options) { o.Vault = whole(v); o.Inflight = 1 })
		sub, pub := h.connect(kept(level, "sub")), h.client(level, "pub")
		sub.Subscribe(1, "a", 1)
		sub.Subscribe(2, "b", 1)
		send := func(topic, payload string, id uint16) {
			pub.Publish(topic, payload, 1, id, 0)
			finish(pub, 1, id)
		}
		send("a", "1", 1)
		first := sub.ExpectPublish()
		send("a", "2", 2) // waits for the window
		h.policy.change(func(p *policy) { p.read["user:sub"] = []string{"b"} })
		if r := h.recheck(only("user:sub")); r.Suspended != 1 || r.Sessions != 1 {
			t.Fatalf("%+v", r)
		}
		take(sub, first)
		send("a", "3", 3) // neither delivered nor queued
		send("b", "4", 4)
		d := sub.ExpectPublish()
		if d.Payload != "4" {
			t.Fatalf("got %+v", d)
		}
		take(sub, d)
		sub.ExpectSilence()
		h.policy.change(func(p *policy) { p.read["user:sub"] = []string{"a", "b"} })
		if r := h.recheck(only("user:sub")); r.Resumed != 1 {
			t.Fatalf("%+v", r)
		}
		d = sub.ExpectPublish()
		if d.Payload != "2" {
			t.Fatalf("got %+v", d)
		}
		take(sub, d)
		send("a", "5", 5)
		take(sub, sub.ExpectPublish())
		sub.ExpectSilence()
	})
}

// After SuspendFor what waited is purged, and the quota given back.
func TestPurge(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	h := start(t, func(o *broker.Options) { o.Vault, o.SuspendFor = whole(v), 100*time.Millisecond })
	sub, pub := h.connect(kept(5, "sub")), h.client(5, "pub")
	sub.Subscribe(1, "a", 1)
	h.offline(sub)
	pub.Publish("a", "x", 1, 1, 0)
	finish(pub, 1, 1)
	h.policy.change(func(p *policy) { p.read["user:sub"] = nil })
	h.recheck(everyone)
	h.until("purged", func() bool { return v.queued("user:sub\x00sub") == 0 && h.Stats().QueuedBytes == 0 })
	h.policy.change(func(p *policy) { p.read["user:sub"] = []string{"a"} })
	h.recheck(everyone)
	c := h.connect(kept(5, "sub"))
	c.ExpectSilence()
	pub.Publish("a", "y", 1, 2, 0)
	finish(pub, 1, 2)
	if d := c.ExpectPublish(); d.Payload != "y" {
		t.Errorf("got %+v", d)
	}
}

// What was lost while the gateway was down, or the client away, is purged as well.
func TestPurgeAfterRestart(t *testing.T) {
	t.Parallel()
	for _, resumed := range []bool{false, true} {
		v := newMemory(t)
		with := func(o *broker.Options) { o.Vault, o.SuspendFor = whole(v), 100*time.Millisecond }
		h := start(t, with)
		sub, pub := h.connect(kept(5, "sub")), h.client(5, "pub")
		sub.Subscribe(1, "a", 1)
		h.offline(sub)
		pub.Publish("a", "x", 1, 1, 0)
		finish(pub, 1, 1)
		if resumed {
			h.policy.change(func(p *policy) { p.read["user:sub"] = nil })
			h.connect(kept(5, "sub")).ExpectSilence()
		} else {
			h.stop()
			h = start(t, with, func(o *broker.Options) { o.Access.(*policy).read["user:sub"] = nil })
		}
		h.until("purged", func() bool { return v.queued("user:sub\x00sub") == 0 && h.Stats().QueuedBytes == 0 })
	}
}

// Losing the right to be connected disconnects with 0x87.
func TestLosingConnect(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		sub, other := h.client(level, "sub"), h.client(level, "subway") // one name begins like the other
		h.policy.change(func(p *policy) { p.banned["user:sub"] = true })
		if r := h.recheck(only("user:sub")); r.Disconnected != 1 {
			t.Errorf("%+v", r)
		}
		if seen := sub.ExpectClosed(); level == 5 && (len(seen) != 1 || seen[0].Body[0] != 0x87) {
			t.Errorf("seen %v", seen)
		}
		other.ExpectSilence()
		if n := h.Disconnect("user:sub", 0x98, "x"); n != 0 {
			t.Errorf("%d connections of sub", n)
		}
		if n := h.Disconnect("user:subway", message.AdministrativeAction, "maintenance"); n != 1 {
			t.Errorf("%d connections of subway", n)
		}
		if seen := other.ExpectClosed(); level == 5 &&
			(len(seen) != 1 || seen[0].Body[0] != 0x98 || !strings.Contains(string(seen[0].Body), "maintenance")) {
			t.Errorf("seen %v", seen)
		}
	})
}

// Class 4: retained messages of a publisher who lost its right are hidden and
// come back with it; deletion deletes them, and what is queued.
func TestRetainedOfRevokedPublisher(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		v := newMemory(t)
		h := start(t, func(o *broker.Options) { o.Vault = whole(v) })
		off := h.connect(kept(level, "off"))
		off.Subscribe(1, "r/#", 1)
		h.offline(off)
		pub := h.client(level, "pub")
		pub.Publish("r/1", "x", 1, 1, 1)
		finish(pub, 1, 1)
		sees := func(want bool) {
			t.Helper()
			c := h.client(level, "reader")
			c.Subscribe(1, "r/#", 0)
			if want {
				c.ExpectPublish()
			}
			c.ExpectSilence()
			_ = c.Close()
		}
		sees(true)
		h.policy.change(func(p *policy) { p.publish["user:pub"] = nil })
		if r := h.recheck(only("user:pub")); r.RetainedHeld != 1 {
			t.Errorf("%+v", r)
		}
		sees(false)
		c := h.connect(kept(level, "off"))
		c.ExpectSilence() // queued: hidden for good, because the receiver asked in that time
		h.policy.change(func(p *policy) { delete(p.publish, "user:pub") })
		h.recheck(only("user:pub"))
		sees(true)
		if n := h.Forget(named("user:pub")); n != 1 {
			t.Errorf("forgot %d", n)
		}
		sees(false)
		if h.Stats().Retained != 0 {
			t.Error("still kept")
		}
		h.until("it is deleted", func() bool { return !v.retains("r/1") })
	})
}

// Class 22: a revocation that is confirmed between the judgement of a SUBSCRIBE
// and its taking effect has not seen the subscription, which may not survive it.
func TestSubscribeRacesRecheck(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		sub := h.connect(kept(level, "sub"))
		sub.Subscribe(1, "old", 1)
		var once sync.Once
		h.policy.judged = func(filter string) {
			if filter != "s" {
				return
			}
			once.Do(func() {
				h.policy.change(func(p *policy) { p.read["user:sub"] = []string{"old"} })
				h.recheck(only("user:sub"))
			})
		}
		if code, want := sub.Subscribe(2, "s", 1), map[byte]byte{4: 0x80, 5: 0x87}[level]; code != want {
			t.Errorf("granted %#x", code)
		}
		if n := h.Stats().Subscriptions; n != 1 {
			t.Errorf("%d subscriptions", n)
		}
		if !h.trail.has("subscribe", "no-assignment") {
			t.Error("not audited")
		}
		h.policy.change(func(p *policy) { p.read["user:sub"] = []string{"#"} })
		h.recheck(only("user:sub"))
		pub := h.client(level, "pub")
		pub.Publish("s", "x", 1, 1, 0)
		finish(pub, 1, 1)
		sub.ExpectSilence()
	})
}

// What is only counted does not hold up the confirmation.
func TestHiddenIsCountedAfterConfirmation(t *testing.T) {
	t.Parallel()
	h := start(t)
	pub := h.client(5, "pub")
	pub.Publish("r", "x", 1, 1, 1)
	finish(pub, 1, 1)
	var asked atomic.Pointer[time.Time]
	h.policy.route = func(string) message.Route {
		now := time.Now()
		asked.CompareAndSwap(nil, &now)
		return message.Route{}
	}
	r := h.recheck(only("user:pub"))
	if at := asked.Load(); at == nil || at.Before(r.ConfirmedAt) {
		t.Errorf("the retained message was judged at %v, confirmed at %v", at, r.ConfirmedAt)
	}
}

// Class 22: nothing is delivered after a revocation was confirmed, whatever
// races with it. After the answer to a first ping everything that the kernel
// had is read; from then on nothing may come until the right is back.
func TestNothingAfterConfirmation(t *testing.T) {
	t.Parallel()
	matrix(t, func(t *testing.T, level, qos byte) {
		h := start(t)
		sub := h.client(level, "sub")
		sub.Subscribe(1, "s/#", qos)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 3 {
			pub := h.client(level, fmt.Sprint("pub", i))
			wg.Go(func() {
				for id := uint16(1); ; id = id%60000 + 1 {
					select {
					case <-stop:
						return
					default:
					}
					pub.Publish("s/x", "x", qos, id, 0)
					finish(pub, qos, id)
				}
			})
		}
		defer wg.Wait()
		defer close(stop)
		// A receiver that reads: one that does not would be closed.
		packets := make(chan rawclient.Packet, 1<<16)
		wg.Go(func() {
			defer close(packets)
			for {
				p, err := sub.Next(rawclient.Wait)
				if err != nil {
					return
				}
				packets <- p
			}
		})
		defer sub.Close()
		// until reads and completes deliveries until what it is asked for.
		until := func(kind byte) (deliveries int) {
			for {
				p, ok := <-packets
				if !ok {
					t.Fatalf("the connection ended while waiting for %d", kind)
				}
				switch p.Type() {
				case 3:
					deliveries++
					if d := rawclient.Parse(level, p); d.QoS > 0 {
						sub.Ack(3+d.QoS, d.ID)
					}
				case 6:
					sub.Put(append([]byte{0x70, 2}, p.Body[:2]...)...)
				}
				if p.Type() == kind {
					return deliveries
				}
			}
		}
		for round := range 5 {
			until(3)
			h.policy.change(func(p *policy) { p.read["user:sub"] = nil })
			if r := h.recheck(only("user:sub")); r.Closed > 0 {
				t.Log("a write was stuck, so the connection was closed: that confirms it too")
				return
			}
			sub.Put(0xc0, 0)
			until(13)
			for range 5 {
				sub.Put(0xc0, 0)
				if n := until(13); n > 0 {
					t.Fatalf("round %d: %d messages after the revocation was confirmed", round, n)
				}
			}
			h.policy.change(func(p *policy) { p.read["user:sub"] = []string{"#"} })
			if r := h.recheck(only("user:sub")); r.Closed > 0 {
				t.Fatalf("a connection was closed by a grant: %+v", r)
			}
		}
	})
}

// Nothing of a large backlog in our own buffers survives a revocation: a
// receiver that does not read holds only what its kernel has.
func TestCutOrClosed(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		sub, pub := h.client(level, "sub"), h.client(level, "pub")
		sub.Subscribe(1, "s", 0)
		body := strings.Repeat("x", 8<<10)
		var r broker.Report
		// A busy kernel takes the backlog late, after something was dropped; then there is more capacity to fill.
		for r.Cut+r.Closed == 0 {
			h.policy.change(func(p *policy) { p.read["user:sub"] = []string{"s"} })
			h.recheck(only("user:sub"))
			for before := h.Stats().Dropped["slow-receiver-qos0"]; h.Stats().Dropped["slow-receiver-qos0"] == before; {
				pub.Publish("s", body, 0, 0, 0)
			}
			h.policy.change(func(p *policy) { p.read["user:sub"] = nil })
			began := time.Now()
			r = h.recheck(only("user:sub"))
			if d := time.Since(began); d > 30*time.Second { // half of WriteTimeout: it does not wait for the client
				t.Errorf("took %v", d)
			}
		}
		out := h.Stats().BytesOut
		if r.Closed > 0 {
			return
		}
		sub.Put(0xc0, 0)
		for {
			p, err := sub.Next(rawclient.Wait)
			if err != nil || p.Type() == 13 {
				break
			}
		}
		if more := h.Stats().BytesOut - out; more > 1<<10 {
			t.Errorf("%d bytes were handed to the kernel afterwards", more)
		}
	})
}
