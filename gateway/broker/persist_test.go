package broker_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// kept is a CONNECT whose session outlives its connection.
func kept(level byte, user string) rawclient.Connect {
	o := rawclient.Connect{Level: level, ID: user, User: user, Keep: true}
	if level == 5 {
		o.Props = []byte{17, 0, 0, 1, 0}
	}
	return o
}

func (h *house) offline(c *rawclient.Client) {
	h.t.Helper()
	n := h.Stats().Connections
	_ = c.Close()
	h.until("offline", func() bool {
		connected := slices.ContainsFunc(
			h.Sessions(),
			func(s broker.SessionInfo) bool { return s.Key == "user:"+c.User+"\x00"+c.ID && s.Connected },
		)
		return !connected && h.Stats().Connections < n
	})
}

// B10: acknowledgements leave after everything is durable, in order, while
// many publishes of one client are on their way.
func TestB10AckAfterDurability(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"outbox", "queue", "retained"} {
		levels(t, func(t *testing.T, level byte) {
			box := &outbox{held: where == "outbox"}
			v := newMemory(t)
			h := start(t, func(o *broker.Options) { o.Outbox, o.Vault = box, whole(v) })
			retain := byte(0)
			switch where {
			case "queue":
				h.connect(kept(level, "sub")).Subscribe(1, "#", 1)
			case "retained":
				retain = 1
			}
			v.stopped.Lock()
			pub := h.client(level, "pub")
			for id := range uint16(6) {
				pub.Publish("a", "x", 1+byte(id%2), id+1, retain)
			}
			h.until("all are on their way", func() bool { return box.len() == 6 })
			pub.ExpectSilence()
			if where == "outbox" {
				v.stopped.Unlock()
				pub.ExpectSilence()
				box.release(nil)
			} else {
				v.stopped.Unlock()
			}
			for id := range 6 {
				pub.Expect(fmt.Sprintf("%02x:%04x", []byte{0x40, 0x50}[id%2], id+1))
			}
		})
	}
}

// B10: whatever becomes ready first, the order of the acknowledgements is that
// of the publishes.
func TestB10AcksInOrder(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		dones := make(chan func(byte), 3)
		h := start(t, func(o *broker.Options) {
			o.Services = services(func(_ *principal.Principal, _ string, _ *message.Message, done func(byte)) { dones <- done })
		})
		h.policy.route = func(string) message.Route { return message.Route{Handling: message.TwinGet} }
		pub := h.client(level, "pub")
		for id := range uint16(3) {
			pub.Publish("a", "x", 1+byte(id%2), id+1, 0)
		}
		first, second, third := <-dones, <-dones, <-dones
		third(0)
		second(0)
		second(0) // a service that answers twice changes nothing
		pub.ExpectSilence()
		first(0)
		pub.Expect("40:0001")
		pub.Expect("50:0002")
		pub.Expect("40:0003")
	})
}

// What the outbox refuses is refused: 0x97 for MQTT 5; 3.1.1 gets no ack and is closed.
func TestRefusedByOutbox(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		box := &outbox{refuse: &message.Refused{Code: 0x97, Reason: "outbox-full"}}
		h := start(t, func(o *broker.Options) { o.Outbox, o.RefuseHold = box, 200*time.Millisecond })
		pub := h.client(level, "pub")
		began := time.Now()
		pub.Publish("a", "x", 1, 1, 0)
		if level == 5 {
			pub.Expect("40:000197")
			pub.Publish("a", "x", 2, 2, 0)
			pub.Expect("50:000297")
		} else if seen := pub.ExpectClosed(); len(seen) != 0 || time.Since(began) < 200*time.Millisecond {
			t.Errorf("seen %v after %v", seen, time.Since(began))
		}
		if st := h.Stats(); st.Refused != st.Received {
			t.Errorf("%d of %d counted as refused", st.Refused, st.Received)
		}
	})
}

// B5, B15, class 2 and 3: sessions, queues and retained messages survive a
// restart, in order; everything is decided again before it is sent.
func TestRestart(t *testing.T) {
	t.Parallel()
	matrix(t, func(t *testing.T, level, qos byte) {
		v := newMemory(t)
		with := func(o *broker.Options) { o.Vault = whole(v) }
		h := start(t, with)
		sub := h.connect(kept(level, "sub"))
		sub.Subscribe(1, "a/#", 2)
		h.offline(sub)
		pub, other := h.client(level, "pub"), h.client(level, "other")
		for i := range 20 {
			pub.Publish("a/1", fmt.Sprint(i), qos, uint16(i+1), 0)
			finish(pub, qos, uint16(i+1))
		}
		pub.Publish("a/2", "secret", qos, 100, 0)
		finish(pub, qos, 100)
		other.Publish("a/3", "of a revoked publisher", qos, 1, 0)
		finish(other, qos, 1)
		pub.Publish("r", "retained", qos, 101, 1)
		finish(pub, qos, 101)
		h.until("retained is kept", func() bool { return v.retains("r") })
		h.stop()

		h2 := start(t, with)
		h2.policy.read["user:sub"] = []string{"a/1", "a/3"}
		h2.policy.publish["user:other"] = nil
		c := h2.dial()
		c.Level = level
		if p := c.Connect(kept(level, "sub")); p.Body[0] != 1 {
			t.Fatalf("session present: %s", p)
		}
		// The stored subscription a/# is wider than what is left: suspended.
		c.ExpectSilence()
		h2.policy.change(func(p *policy) { p.read["user:sub"] = []string{"a/#"} })
		if r, err := h2.Recheck(context.Background(), everyone); err != nil || r.Resumed != 1 {
			t.Fatalf("%+v %v", r, err)
		}
		if qos == 0 {
			c.ExpectSilence()
		} else {
			for i, d := range drain(c, 21) {
				if want := fmt.Sprint(i); d.Payload != want && (i != 20 || d.Payload != "secret") {
					t.Fatalf("%d: got %+v", i, d)
				}
			}
			c.ExpectSilence()
			h2.until("the vault is empty", func() bool { return v.queued("user:sub\x00sub") == 0 })
		}
		late := h2.client(level, "late")
		late.Subscribe(1, "r", 0)
		if d := late.ExpectPublish(); d.Payload != "retained" || !d.Retain {
			t.Errorf("got %+v", d)
		}
	})
}

// drain takes n deliveries and completes them, however they are mixed.
func drain(c *rawclient.Client, n int) []rawclient.Delivery {
	c.T.Helper()
	var got []rawclient.Delivery
	for open := 0; len(got) < n || open > 0; {
		p, err := c.Next(rawclient.Wait)
		if err != nil {
			c.T.Fatalf("after %d of %d: %v", len(got), n, err)
		}
		if p.Type() == 6 {
			c.Put(append([]byte{0x70, 2}, p.Body[:2]...)...)
			open--
			continue
		}
		d := rawclient.Parse(c.Level, p)
		got = append(got, d)
		switch d.QoS {
		case 1:
			c.Ack(4, d.ID)
		case 2:
			c.Ack(5, d.ID)
			open++
		}
	}
	return got
}

// B5: a stored session without an owner gets nothing and goes.
func TestB5SessionWithoutOwner(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	key := "user:x\x00x"
	v.sessions[key] = message.StoredSession{Key: key, ClientID: "x", Version: 4, Subscriptions: []message.Subscription{{Filter: "#"}}}
	h := start(t, func(o *broker.Options) { o.Vault = whole(v) })
	if st := h.Stats(); st.Sessions != 0 || st.Subscriptions != 0 {
		t.Errorf("kept: %+v", st)
	}
	h.until("deleted", func() bool { _, ok := v.saved(key); return !ok })
}

// B21: after a lost connection the unacknowledged come first, in order, with
// their identifiers and DUP; the receive maximum holds; the client's own
// identifiers are another space.
func TestB21ResumeInOrder(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		levels(t, func(t *testing.T, level byte) {
			v := newMemory(t)
			with := func(o *broker.Options) { o.Vault, o.Inflight = whole(v), 5 }
			h := start(t, with)
			sub := h.connect(kept(level, "sub"))
			sub.Subscribe(1, "a", 2)
			pub := h.client(level, "pub")
			for i := range 200 {
				pub.Publish("a", fmt.Sprint(i), 1+byte(i%2), uint16(i+1), 0)
				finish(pub, 1+byte(i%2), uint16(i+1))
			}
			var first []rawclient.Delivery
			for range 5 {
				first = append(first, sub.ExpectPublish())
			}
			sub.ExpectSilence() // the window is full
			// The client publishes with the identifiers of open deliveries.
			for _, d := range first {
				sub.Publish("b", "own", 1, d.ID, 0)
				sub.ExpectType(4)
			}
			sub.Put(
				rawclient.Frame(
					0x82,
					[]byte{byte(first[0].ID >> 8), byte(first[0].ID)},
					rawclient.Props(level),
					rawclient.Text("c"),
					[]byte{0},
				)...)
			if p := sub.ExpectType(9); p.Body[len(p.Body)-1] != 0 {
				t.Errorf("SUBSCRIBE with the identifier of a delivery: %s", p)
			}
			// PUBREC for the second (QoS 2), then the connection is lost.
			sub.Ack(5, first[1].ID)
			sub.ExpectType(6)
			h.offline(sub)
			if restart {
				h.stop()
				h = start(t, with)
			}
			c := h.dial()
			if p := c.Connect(kept(level, "sub")); p.Body[0] != 1 {
				t.Fatalf("session present: %s", p)
			}
			for i, want := range first {
				if i == 1 {
					c.Expect(fmt.Sprintf("62:%04x", want.ID))
					continue
				}
				d := c.ExpectPublish()
				if d.Payload != want.Payload || d.ID != want.ID || !d.Dup {
					t.Fatalf("resent %+v, was %+v", d, want)
				}
			}
			c.ExpectSilence()
			c.Ack(7, first[1].ID)
			next := c.ExpectPublish() // capacity for one more
			if next.Payload != "5" || next.Dup {
				t.Fatalf("got %+v", next)
			}
			for i, d := range first {
				if i != 1 {
					c.Ack(map[byte]byte{1: 4, 2: 5}[d.QoS], d.ID)
				}
			}
			seen := 5
			for seen < 199 {
				p, err := c.Next(rawclient.Wait)
				if err != nil {
					t.Fatalf("after %d: %v", seen, err)
				}
				if p.Type() == 6 {
					c.Put(append([]byte{0x70, 2}, p.Body...)...)
					continue
				}
				d := rawclient.Parse(level, p)
				if d.Payload != fmt.Sprint(seen+1) {
					t.Fatalf("got %s after %d", d.Payload, seen)
				}
				seen++
				c.Ack(map[byte]byte{1: 4, 2: 5}[d.QoS], d.ID)
				if seen == 6 {
					c.Ack(map[byte]byte{1: 4, 2: 5}[next.QoS], next.ID)
				}
			}
		})
	}
}

// QoS 2 is exactly once: a repeated PUBLISH is not delivered again, also after
// a restart; an unknown PUBREL is answered.
func TestQoS2ExactlyOnce(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		v := newMemory(t)
		with := func(o *broker.Options) { o.Vault = whole(v) }
		h := start(t, with)
		sub := h.client(level, "sub")
		sub.Subscribe(1, "a", 0)
		pub := h.connect(kept(level, "pub"))
		pub.Publish("a", "once", 2, 7, 0)
		pub.Expect("50:0007")
		sub.ExpectPublish()
		pub.Publish("a", "once", 2, 7, 8)
		pub.Expect("50:0007")
		sub.ExpectSilence()
		h.stop()
		h = start(t, with)
		sub = h.client(level, "sub")
		sub.Subscribe(1, "a", 0)
		pub = h.connect(kept(level, "pub"))
		pub.Publish("a", "once", 2, 7, 8)
		pub.Expect("50:0007")
		sub.ExpectSilence()
		pub.Ack(6, 7)
		pub.Expect("70:0007")
		pub.Ack(6, 7)
		if want := map[byte]string{4: "70:0007", 5: "70:000792"}[level]; true {
			pub.Expect(want)
		}
		pub.Publish("a", "twice", 2, 7, 0)
		finish(pub, 2, 7)
		sub.ExpectPublish()
	})
}

// B14: an offline queue has a quota. What does not fit costs its session its oldest
// message, and neither the publisher nor anybody else.
func TestB14QueueQuota(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(*broker.Options){
		"messages": func(o *broker.Options) { o.QueueMessages = 5 },
		"bytes":    func(o *broker.Options) { o.QueueBytes = 6000 },
		"total":    func(o *broker.Options) { o.TotalQueueBytes = 6000 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			levels(t, func(t *testing.T, level byte) {
				h := start(t, limit)
				sub := h.connect(kept(level, "sub"))
				sub.Subscribe(1, "a", 1)
				h.offline(sub)
				live, pub := h.client(level, "live"), h.client(level, "pub")
				live.Subscribe(1, "a", 0)
				body := string(make([]byte, 1000-256))
				const sent, limit = 99, 5
				for id := uint16(1); id <= sent; id++ {
					pub.Publish("a", fmt.Sprintf("%02d%s", id, body[2:]), 1, id, 0)
					finish(pub, 1, id)
					live.ExpectPublish()
				}
				if n := h.Stats().Dropped["session-overflow-oldest"]; n != sent-limit {
					t.Errorf("counted %d", n)
				}
				c := h.connect(kept(level, "sub"))
				for i, d := range drain(c, limit) {
					if want := fmt.Sprintf("%02d", sent-limit+1+i); d.Payload[:2] != want {
						t.Errorf("got %s, want %s", d.Payload[:2], want)
					}
				}
				c.ExpectSilence()
				h.until("everything is given back", func() bool { return h.Stats().QueuedBytes == 0 })
			})
		})
	}
}
