package broker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
)

// What the standard asks of deliveries and of retained messages, where no other test of this package
// says it: docs/conformance.md names the test of each statement.

// DUP says that this packet is a repetition, and nothing of the publisher's packet (3.3.1-3).
func TestDupIsNotPassedOn(t *testing.T) {
	t.Parallel()
	matrix(t, func(t *testing.T, level, qos byte) {
		h := start(t)
		sub, pub := h.client(level, "sub"), h.client(level, "pub")
		sub.Subscribe(1, "a", qos)
		if qos == 0 {
			return // DUP with QoS 0 is malformed: TestB29AfterConnect, TestMalformedAt311
		}
		pub.Publish("a", "x", qos, 1, 8)
		finish(pub, qos, 1)
		if d := sub.ExpectPublish(); d.Dup {
			t.Errorf("got %+v", d)
		}
	})
}

// Retained messages: the last one of a topic replaces the others, with the QoS that it was published
// with; RETAIN 0 changes nothing; an empty one is delivered as any other and removes what is retained;
// they do not end with the publisher's session (3.3.1-5 to 3.3.1-8; of 3.1.1: 3.3.1-5 to 3.3.1-12, 3.1.2-7).
func TestRetainedMessages(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		live, pub := h.client(level, "live"), h.client(level, "pub")
		live.Subscribe(1, "a", 2)
		send := func(payload string, qos, retain byte) {
			t.Helper()
			pub.Publish("a", payload, qos, 1, retain)
			finish(pub, qos, 1)
			d := live.ExpectPublish()
			take(live, d)
			if d.Payload != payload || d.Retain {
				t.Errorf("live: got %+v, want %q without RETAIN", d, payload)
			}
		}
		replayed := func(want string, qos byte) {
			t.Helper()
			c := h.client(level, "late")
			c.Subscribe(1, "+", 2)
			if want != "" {
				if d := c.ExpectPublish(); d.Payload != want || d.QoS != qos || !d.Retain {
					t.Errorf("replayed: got %+v, want %q QoS %d", d, want, qos)
				} else {
					take(c, d)
				}
			}
			c.ExpectSilence()
			h.offline(c)
		}
		send("first", 2, 1)
		replayed("first", 2)
		send("second", 1, 1)
		send("not kept", 2, 0)
		send("", 1, 0)
		replayed("second", 1)
		send("third", 0, 1)
		replayed("third", 0)
		h.offline(pub)
		pub = h.client(level, "pub")
		replayed("third", 0)
		send("", 2, 1)
		replayed("", 0)
		if n := h.Stats().Retained; n != 0 {
			t.Errorf("%d retained", n)
		}
	})
}

// A will is published with its own QoS and RETAIN, and with its properties, user properties in order
// (3.1.2-14, 3.1.2-15, 3.1.3-10).
func TestWillAsItWasAskedFor(t *testing.T) {
	t.Parallel()
	matrix(t, func(t *testing.T, level, qos byte) {
		h := start(t)
		for _, retain := range []bool{false, true} {
			o := rawclient.Connect{Level: level, ID: "c", User: "c"}
			o.Will = &rawclient.Will{Topic: "will", Payload: "x", QoS: qos, Retain: retain}
			props := ""
			if level == 5 {
				props = "\x01\x01\x03\x00\x01c\x26\x00\x01z\x00\x011\x26\x00\x01a\x00\x012\x26\x00\x01z\x00\x013"
				o.Will.Props = []byte(props)
			}
			sub := h.client(level, "sub")
			sub.Subscribe(1, "will", 2)
			c := h.connect(o)
			_ = c.Close()
			d := sub.ExpectPublish()
			take(sub, d)
			if d.QoS != qos || d.Retain || string(d.Props) != props {
				t.Errorf("got %+v", d)
			}
			late := h.client(level, "late")
			late.Subscribe(1, "will", 0)
			if retain {
				late.ExpectPublish()
			}
			late.ExpectSilence()
			// A client without a will leaves none.
			sub.Subscribe(2, "#", 0)
			if retain {
				sub.ExpectPublish()
			}
			h.offline(late)
			sub.ExpectSilence()
		}
	})
}

// QoS 2 that has begun with one member of a share is completed with that one, on its next connection
// (4.8.2-4).
func TestShareCompletesWithItsMember(t *testing.T) {
	t.Parallel()
	h := start(t)
	a, pub := h.connect(kept(5, "a")), h.client(5, "pub")
	a.Subscribe(1, "$share/g/a", 2)
	pub.Publish("a", "x", 2, 1, 0)
	finish(pub, 2, 1)
	first := a.ExpectPublish()
	h.offline(a)
	b := h.client(5, "b")
	b.Subscribe(1, "$share/g/a", 2)
	b.ExpectSilence()
	a = h.connect(kept(5, "a"))
	if d := a.ExpectPublish(); d.ID != first.ID || !d.Dup {
		t.Errorf("got %+v after %+v", d, first)
	} else {
		take(a, d)
	}
	a.ExpectSilence()
	b.ExpectSilence()
}

// A delivery that the client refuses is done with: it comes neither again nor to another member of a
// share (4.4.0-2, 4.8.2-6).
func TestRefusedByTheReceiver(t *testing.T) {
	t.Parallel()
	for _, qos := range []byte{1, 2} {
		h := start(t)
		a, b, pub := h.connect(kept(5, "a")), h.connect(kept(5, "b")), h.client(5, "pub")
		a.Subscribe(1, "$share/g/a", qos)
		b.Subscribe(1, "$share/g/a", qos)
		pub.Publish("a", "x", qos, 1, 0)
		finish(pub, qos, 1)
		got, other := a, b
		h.until("one of them has it", func() bool {
			return slices.ContainsFunc(h.Sessions(), func(s broker.SessionInfo) bool {
				if s.Sent > 0 && s.ClientID == "b" {
					got, other = b, a
				}
				return s.Sent > 0
			})
		})
		d := got.ExpectPublish()
		got.Put(0x40|(qos-1)<<4, 3, byte(d.ID>>8), byte(d.ID), 0x80)
		got.ExpectSilence()
		h.offline(got)
		other.ExpectSilence()
		again := h.connect(kept(5, got.ID))
		again.ExpectSilence()
	}
}

// An identifier is free for a new message once its exchange is over: after PUBACK, after PUBCOMP, and
// after a PUBREC that refuses (4.3.2-5, 4.3.3-9, 4.3.3-12), whatever DUP says.
func TestIdentifiersAreFreeAgain(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		h.policy.publish["user:pub"] = []string{"a"}
		sub, pub := h.client(level, "sub"), h.client(level, "pub")
		sub.Subscribe(1, "a", 0)
		for _, qos := range []byte{1, 2, 1, 2, 2} {
			for _, dup := range []byte{0, 8} {
				pub.Publish("a", "x", qos, 7, dup)
				finish(pub, qos, 7)
				sub.ExpectPublish()
			}
		}
		if level == 5 { // 3.1.1 cannot be refused by PUBREC
			pub.Publish("secret", "x", 2, 7, 0)
			pub.Expect("50:000787")
			pub.Publish("a", "x", 2, 7, 8)
			finish(pub, 2, 7)
			sub.ExpectPublish()
		}
		// Before the PUBREL the same identifier is a repetition, acknowledged and not delivered (4.3.3-10).
		pub.Publish("a", "x", 2, 7, 0)
		pub.ExpectType(5)
		sub.ExpectPublish()
		pub.Publish("a", "x", 2, 7, 8)
		pub.ExpectType(5)
		sub.ExpectSilence()
	})
}

// What has begun is completed: over a lost connection, although the message has expired since
// (4.3.3-7, 4.3.3-13, 4.4.0-1), and after the end of its subscription (3.10.4-3). A PUBLISH whose
// PUBREC came does not come again, its PUBREL does (4.3.3-6).
func TestWhatHasBegunIsCompleted(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T) {
		h := startInMemory(t)
		c, pub := h.connect(kept(5, "c")), h.client(5, "pub")
		c.Subscribe(1, "a", 2)
		pub.Publish("a", "one", 2, 1, 0, []byte{2, 0, 0, 0, 2})
		finish(pub, 2, 1)
		pub.Publish("a", "two", 2, 2, 0, []byte{2, 0, 0, 0, 2})
		finish(pub, 2, 2)
		first, second := c.ExpectPublish(), c.ExpectPublish()
		c.Ack(5, first.ID)
		c.ExpectType(6)
		c.Put(rawclient.Frame(0xa2, []byte{0, 9}, rawclient.Props(5), rawclient.Text("a"))...)
		c.ExpectType(11)
		h.offline(c)
		time.Sleep(10 * time.Second)
		c = h.connect(kept(5, "c"))
		c.Expect("62:" + hexID(first.ID))
		again := c.ExpectPublish()
		if again.ID != second.ID || !again.Dup || again.Payload != "two" {
			t.Errorf("got %+v after %+v", again, second)
		}
		c.Ack(7, first.ID)
		take(c, again)
		c.ExpectSilence()
	})
}

func hexID(id uint16) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[id>>12], digits[id>>8&15], digits[id>>4&15], digits[id&15]})
}

// A client that does not acknowledge gets as many deliveries as its Receive Maximum, and every other
// packet all the same (3.3.4-9, 3.3.4-10, 4.9.0-1 to 4.9.0-3).
func TestAFullWindowDelaysNothingElse(t *testing.T) {
	t.Parallel()
	h := start(t)
	c, pub := h.connect(rawclient.Connect{Level: 5, ID: "c", User: "c", Props: []byte{33, 0, 2}}), h.client(5, "pub")
	c.Subscribe(1, "a", 2)
	for i := range uint16(4) {
		pub.Publish("a", "x", 2, i+1, 0)
		finish(pub, 2, i+1)
	}
	first, second := c.ExpectPublish(), c.ExpectPublish()
	c.ExpectSilence() // the answer to a ping
	c.Subscribe(2, "b", 0)
	pub.Publish("b", "QoS 0", 0, 0, 0)
	if d := c.ExpectPublish(); d.Payload != "QoS 0" {
		t.Errorf("got %+v", d)
	}
	c.Publish("c", "x", 1, 1, 0)
	c.ExpectType(4)
	c.Ack(5, first.ID)
	c.ExpectType(6)
	c.ExpectSilence() // PUBREC opens nothing, PUBCOMP does
	c.Ack(7, first.ID)
	c.ExpectPublish()
	c.ExpectSilence()
	c.Put(0x50, 3, byte(second.ID>>8), byte(second.ID), 0x80) // so does a PUBREC that refuses
	c.ExpectPublish()
	c.ExpectSilence()
}
