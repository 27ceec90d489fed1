package broker_test

import (
	"testing"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
)

// The session expiry interval of a DISCONNECT replaces the one of the CONNECT
// (3.14.2.2.2): it may end the session at once, shorten it or lengthen it, and
// not make one out of none.
func TestSessionExpiryOfDisconnect(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	h := start(t, func(o *broker.Options) { o.Vault = whole(v) })
	goodbye := func(user string, connect uint32, last byte) []rawclient.Packet {
		o := rawclient.Connect{Level: 5, ID: user, User: user}
		if connect > 0 {
			o.Props = []byte{17, byte(connect >> 24), byte(connect >> 16), byte(connect >> 8), byte(connect)}
		}
		c := h.connect(o)
		c.Subscribe(1, "a", 1)
		c.Put(0xe0, 7, 0, 5, 17, 0, 0, 0, last)
		return c.ExpectClosed()
	}
	for _, c := range []struct {
		user    string
		connect uint32
		last    byte
	}{{"ends", 3600, 0}, {"longer", 1, 255}, {"short", 3600, 1}} {
		if seen := goodbye(c.user, c.connect, c.last); len(seen) != 0 {
			t.Errorf("%s: %v", c.user, seen)
		}
	}
	// By then the one second of the other session is over as well.
	h.until("the short one has expired", func() bool { _, ok := v.saved("user:short\x00short"); return !ok })
	for user, stays := range map[string]byte{"ends": 0, "short": 0, "longer": 1} {
		c := h.dial()
		if p := c.Connect(kept(5, user)); p.Body[0] != stays {
			t.Errorf("%s: session present %d", user, p.Body[0])
		}
	}
	if seen := goodbye("none", 0, 60); len(seen) != 1 || seen[0].Body[0] != 0x82 {
		t.Errorf("a session out of none: %v", seen)
	}
}

// A subscription identifier and the retain flag come with a replayed message; a
// shared subscription is replayed nothing (3.3.1-9..11, 4.8.2).
func TestReplayedMessage(t *testing.T) {
	t.Parallel()
	h := start(t)
	pub := h.client(5, "pub")
	pub.Publish("r", "kept", 2, 1, 1)
	finish(pub, 2, 1)
	c := h.client(5, "c")
	c.Subscribe(1, "$share/g/r", 2, []byte{11, 5})
	c.ExpectSilence()
	c.Subscribe(2, "r", 1, []byte{11, 7})
	d := c.ExpectPublish()
	if !d.Retain || d.QoS != 1 || string(d.Props) != "\x0b\x07" {
		t.Errorf("got %+v", d)
	}
	take(c, d)
	c.ExpectSilence()
}

// A will whose delay is longer than its session goes with the session's end
// (3.1.3.2.2).
func TestWillDelayEndsWithTheSession(t *testing.T) {
	t.Parallel()
	h := start(t)
	sub := h.client(5, "sub")
	sub.Subscribe(1, "will/#", 0)
	o := leaving(5, "c", true, 200)
	o.Props = []byte{17, 0, 0, 0, 1}
	c := h.connect(o)
	_ = c.Close()
	if d := sub.ExpectPublish(); d.Payload != "of c" {
		t.Errorf("got %+v", d)
	}
	c = h.connect(leaving(5, "c", true, 200))
	c.Put(0xe0, 7, 4, 5, 17, 0, 0, 0, 0) // with will, and without session
	if d := sub.ExpectPublish(); d.Payload != "of c" {
		t.Errorf("got %+v", d)
	}
	h.until("none waits", func() bool { return h.WillsPending() == 0 })
}
