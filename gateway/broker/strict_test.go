package broker_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
)

// protocolError expects that the connection ends, in MQTT 5 with a DISCONNECT "protocol error".
func protocolError(t *testing.T, c *rawclient.Client, what string) {
	t.Helper()
	seen := c.ExpectClosed()
	if c.Level < 5 {
		if len(seen) != 0 {
			t.Errorf("%s: answered %v", what, seen)
		}
		return
	}
	if len(seen) != 1 || seen[0].First != 0xe0 || seen[0].Body[0] != 0x82 {
		t.Errorf("%s: got %v, want DISCONNECT 0x82", what, seen)
	}
}

// A filter that MQTT's grammar does not know is no wish that can be granted or refused: the
// connection ends (MQTT-4.7.1-1, 4.7.1-2, 4.7.1-3, 4.7.3-1, 4.8.2-1, 4.8.2-2), and none of the
// filters beside it is subscribed to.
func TestInvalidFilters(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		for i, f := range []string{
			"", "a+b", "a#", "#/a", "a/#/b", "+a", "a/+b/c", "##", "a/b#",
			"$share", "$share/g", "$share/g/", "$share//x", "$share/+/x", "$share/a#/x", "$share/g/a#", "$SHARE//x", "$share/g/$share/h/a#",
		} {
			kept := rawclient.Connect{Level: level, ID: fmt.Sprint("c", i), User: "c", Keep: true}
			if level == 5 {
				kept.Props = []byte{17, 0, 0, 0, 60}
			}
			c := h.connect(kept)
			c.Put(rawclient.Frame(0x82, []byte{0, 1}, rawclient.Props(level),
				rawclient.Text("good"), []byte{0}, rawclient.Text(f), []byte{0})...)
			protocolError(t, c, fmt.Sprintf("SUBSCRIBE %q", f))
			c = h.connect(kept)
			c.Put(rawclient.Frame(0xa2, []byte{0, 1}, rawclient.Props(level), rawclient.Text("good"), rawclient.Text(f))...)
			protocolError(t, c, fmt.Sprintf("UNSUBSCRIBE %q", f))
		}
		if n := h.Stats().Subscriptions; n != 0 {
			t.Errorf("%d subscriptions of packets that were refused", n)
		}
	})
}

// An acknowledgement of another kind than its delivery ends an MQTT 5 connection, and finishes
// nothing: the delivery comes again. A client of MQTT 3.1.1 keeps its connection.
func TestWrongAcknowledgement(t *testing.T) {
	t.Parallel()
	const puback, pubrec, pubcomp = 4, 5, 7
	for _, w := range []struct {
		qos  byte
		kind byte
	}{{1, pubrec}, {1, pubcomp}, {2, puback}, {2, pubcomp}} {
		t.Run(fmt.Sprintf("QoS %d type %d", w.qos, w.kind), func(t *testing.T) {
			t.Parallel()
			levels(t, func(t *testing.T, level byte) {
				h := start(t)
				o := rawclient.Connect{Level: level, ID: "c", User: "c", Keep: true}
				if level == 5 {
					o.Props = []byte{17, 0, 0, 0, 60}
				}
				c := h.connect(o)
				c.Subscribe(1, "a", w.qos)
				pub := h.client(level, "pub")
				pub.Publish("a", "x", w.qos, 1, 0)
				finish(pub, w.qos, 1)
				d := c.ExpectPublish()
				c.Ack(w.kind, d.ID)
				if level == 5 {
					protocolError(t, c, "wrong acknowledgement")
				} else {
					c.Put(0xc0, 0)
					for c.ExpectTypes(6, 13) != 13 { // a PUBREL may come before the answer to the ping
					}
					_ = c.Close()
				}
				c = h.connect(o)
				again := c.ExpectPublish()
				if !again.Dup || again.ID != d.ID {
					t.Errorf("got %+v after %+v", again, d)
				}
				take(c, again)
				c.ExpectSilence()
			})
		})
	}
}

// An acknowledgement of an identifier that is not in use is answered as the standard says, and ends
// nothing: the delivery may have been given up while the client answered it.
func TestAcknowledgementOfNothing(t *testing.T) {
	t.Parallel()
	h := start(t)
	c := h.client(5, "c")
	c.Ack(4, 7)
	c.Ack(7, 7)
	c.ExpectSilence()
	c.Ack(5, 7)
	c.Expect("62:000792") // PUBREL: packet identifier not found
	c.Ack(6, 7)
	c.Expect("70:000792")
	c.ExpectSilence()
}

// A client that takes only small packets is told in the CONNACK what it cannot guess, and not what
// it assumes anyway; if even that is too large for it, there is no answer (MQTT-3.1.2-24).
func TestConnackOfASmallClient(t *testing.T) {
	t.Parallel()
	h := start(t)
	size := func(n byte) []byte { return []byte{39, 0, 0, 0, n} }
	const whole, bare = 24, 16 // bytes of the CONNACK with and without what equals the default
	for n := byte(1); n <= whole+1; n++ {
		c := h.dial()
		c.Level = 5
		c.Put(rawclient.Connect{Level: 5, ID: "c", User: "c", KeepAlive: 10, Props: size(n)}.Bytes()...)
		if n < bare {
			if seen := c.ExpectClosed(); len(seen) != 0 {
				t.Errorf("%d: %v", n, seen)
			}
			continue
		}
		p := c.ExpectType(2)
		want := bare
		if n >= whole {
			want = whole
		}
		if p.Body[1] != 0 || 2+len(p.Body) != want {
			t.Errorf("%d: %s of %d bytes, want %d", n, p, 2+len(p.Body), want)
		}
		for _, prop := range [][]byte{{33, 1, 0}, {39, 0, 16, 0, 0}, {34, 0, 64}} { // receive, packet size, aliases
			if !contains(p.Body, prop) {
				t.Errorf("%d: %s without %x", n, p, prop)
			}
		}
		_ = c.Close()
	}
	// A refusal loses its Reason String, and keeps its code.
	c := h.dial()
	c.Put(rawclient.Connect{Level: 5, ID: "c", User: "c", Password: "wrong", Props: size(8)}.Bytes()...)
	if seen := c.ExpectClosed(); len(seen) != 1 || seen[0].String() != "20:008600" {
		t.Errorf("refused with %v", seen)
	}
	// So does a DISCONNECT (MQTT-3.14.2-3).
	c = h.connect(rawclient.Connect{Level: 5, ID: "c", User: "c", KeepAlive: 10, Props: size(bare)})
	c.Put(rawclient.Connect{Level: 5, ID: "c", User: "c"}.Bytes()...)
	if seen := c.ExpectClosed(); len(seen) != 1 || seen[0].String() != "e0:82" {
		t.Errorf("ended with %v", seen)
	}
}

// What equals MQTT's own default only because it was configured so is left out as well.
func TestConnackWithoutDefaults(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *broker.Options) { o.ReceiveMaximum = 65535 })
	p := h.dial().Connect(rawclient.Connect{Level: 5, ID: "c", User: "c", KeepAlive: 10, Props: []byte{39, 0, 0, 0, 13}})
	if p.Body[1] != 0 || 2+len(p.Body) != 13 {
		t.Errorf("got %s", p)
	}
}

func contains(body, part []byte) bool {
	for i := range body {
		if slices.Equal(part, body[i:min(len(body), i+len(part))]) {
			return true
		}
	}
	return false
}
