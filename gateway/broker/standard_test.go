package broker_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
)

// What the standard asks of a server at CONNECT and of the shape of packets, where no other test of
// this package says it: docs/conformance.md names the test of each statement.

// Malformed packets of MQTT 3.1.1 close the connection, without an answer; TestB29AfterConnect has
// those of MQTT 5.
func TestMalformedAt311(t *testing.T) {
	t.Parallel()
	h := start(t)
	text := rawclient.Text
	for name, frame := range map[string][]byte{
		"second CONNECT":          rawclient.Connect{Level: 4, ID: "x", User: "x"}.Bytes(),
		"PUBLISH QoS 3":           rawclient.Frame(0x36, text("a"), []byte{0, 1}),
		"PUBLISH DUP QoS 0":       rawclient.Frame(0x38, text("a")),
		"PUBLISH identifier 0":    rawclient.Frame(0x32, text("a"), []byte{0, 0}),
		"PUBLISH wildcard":        rawclient.Frame(0x30, text("a/#")),
		"PUBLISH no topic":        rawclient.Frame(0x30, text("")),
		"PUBLISH NUL":             rawclient.Frame(0x30, text("a\x00")),
		"PUBLISH not UTF-8":       rawclient.Frame(0x30, text("a\xff")),
		"PUBLISH surrogate":       rawclient.Frame(0x30, text("\xed\xa0\x80")),
		"PUBREL flags":            {0x60, 2, 0, 1},
		"SUBSCRIBE flags":         rawclient.Frame(0x80, []byte{0, 1}, text("a"), []byte{0}),
		"SUBSCRIBE identifier 0":  rawclient.Frame(0x82, []byte{0, 0}, text("a"), []byte{0}),
		"SUBSCRIBE nothing":       rawclient.Frame(0x82, []byte{0, 1}),
		"SUBSCRIBE reserved bits": rawclient.Frame(0x82, []byte{0, 1}, text("a"), []byte{4}),
		"SUBSCRIBE QoS 3":         rawclient.Frame(0x82, []byte{0, 1}, text("a"), []byte{3}),
		"SUBSCRIBE not UTF-8":     rawclient.Frame(0x82, []byte{0, 1}, text("\xc0\xaf"), []byte{0}),
		"UNSUBSCRIBE flags":       rawclient.Frame(0xa0, []byte{0, 1}, text("a")),
		"UNSUBSCRIBE nothing":     rawclient.Frame(0xa2, []byte{0, 1}),
		"UNSUBSCRIBE not UTF-8":   rawclient.Frame(0xa2, []byte{0, 1}, text("\xff")),
		"PINGREQ flags":           {0xc1, 0},
		"DISCONNECT flags":        {0xe1, 0},
		"PUBACK flags":            {0x41, 2, 0, 1},
		"SUBACK from a client":    {0x90, 3, 0, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := h.connect(rawclient.Connect{Level: 4, ID: name, User: name})
			c.Put(frame...)
			if seen := c.ExpectClosed(); len(seen) != 0 {
				t.Errorf("answered %v", seen)
			}
		})
	}
}

// Client ids: what the standard lists is taken, and longer ones; one that is empty is replaced by one
// of the client's own, which only MQTT 5 is told (3.1.3-5 to 3.1.3-7, 3.2.2-16).
func TestClientIDs(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		for n := 1; n <= 23; n++ {
			h.connect(rawclient.Connect{Level: level, ID: letters[n : n+n%23+1], User: "u"})
		}
		h.connect(rawclient.Connect{Level: level, ID: letters, User: "u"})
		seen := map[string]bool{}
		for range 3 {
			p := h.dial().Connect(rawclient.Connect{Level: level, User: "u", KeepAlive: 10})
			if p.Body[1] != 0 || p.Body[0] != 0 {
				t.Fatalf("no client id: %s", p)
			}
			if level == 5 {
				_, id, _ := bytes.Cut(p.Body[3:], []byte{18, 0})
				seen[string(id[1:1+id[0]])] = true
			}
		}
		if level == 5 && len(seen) != 3 {
			t.Errorf("assigned %v", seen)
		}
		if n := h.Stats().Connections; n < 3 {
			t.Errorf("%d connections: clients without a client id take over from each other", n)
		}
	})
}

// Session Present says whether the gateway has the session that the client goes on with, and is 0
// in every refusal (3.2.2-2, 3.2.2-3, 3.2.2-6; of 3.1.1: 3.2.2-1 to 3.2.2-4).
func TestSessionPresent(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		clean := kept(level, "c")
		clean.Keep = false
		present := func(o rawclient.Connect, want byte) {
			t.Helper()
			c := h.dial()
			if p := c.Connect(o); p.Body[0] != want || p.Body[1] != 0 {
				t.Errorf("%+v: %s, want session present %d", o, p, want)
			}
			h.offline(c)
		}
		present(kept(level, "c"), 0)
		present(kept(level, "c"), 1)
		refused := kept(level, "c")
		refused.Password = "wrong"
		if p := h.dial().Connect(refused); p.Body[0] != 0 || p.Body[1] == 0 {
			t.Errorf("refused with %s", p)
		}
		present(clean, 0)
		want := byte(0)
		if level == 5 { // clean start with an expiry: the new session stays
			want = 1
		}
		present(kept(level, "c"), want)
	})
}

// Each acknowledgement carries the identifier of what it acknowledges, and UNSUBACK comes also where
// nothing is deleted; the codes stand in the order of the filters.
func TestAcknowledgementsCarryTheIdentifier(t *testing.T) {
	t.Parallel()
	h := start(t)
	text := rawclient.Text
	h.policy.read["user:c"] = []string{"ok/#"}
	for level, want := range map[byte][]string{
		4: {"90:0102" + "01" + "80" + "00", "b0:0103"},
		5: {"90:010200" + "01" + "87" + "00", "b0:010300" + "00" + "11" + "00"},
	} {
		c := h.connect(rawclient.Connect{Level: level, ID: fmt.Sprint("c", level), User: "c"})
		c.Put(rawclient.Frame(0x82, []byte{1, 2}, rawclient.Props(level),
			text("ok/1"), []byte{1}, text("secret"), []byte{0}, text("ok/2"), []byte{0})...)
		c.Expect(want[0])
		c.Put(rawclient.Frame(0xa2, []byte{1, 3}, rawclient.Props(level), text("ok/1"), text("never"), text("ok/2"))...)
		c.Expect(want[1])
		c.Publish("ok/1", "x", 1, 0x0104, 0)
		c.Expect("40:0104")
		c.Publish("ok/1", "x", 2, 0x0105, 0)
		c.Expect("50:0105")
		c.Ack(6, 0x0105)
		c.Expect("70:0105")
		c.ExpectSilence() // and PINGREQ is answered
	}
}

// Names are compared byte by byte: a byte order mark is a character, case counts, and what Unicode
// holds for equal is not (1.5.4-3, 4.7.3-4; of 3.1.1: 1.5.3-3, 4.7.3-4).
func TestNothingIsNormalised(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		names := []string{"caf\u00e9", "cafe\u0301", "\ufeffcaf\u00e9", "CAF\u00c9", "caf\u00e9/"}
		c, pub := h.client(level, "c"), h.client(level, "pub")
		for i, name := range names {
			c.Subscribe(1, name, 0)
			for id, other := range names {
				pub.Publish(other, "x", 1, uint16(id+1), 0)
				finish(pub, 1, uint16(id+1))
			}
			if d := c.ExpectPublish(); d.Topic != name {
				t.Errorf("%d: got %q", i, d.Topic)
			}
			c.ExpectSilence()
			c.Put(rawclient.Frame(0xa2, []byte{0, 9}, rawclient.Props(level), rawclient.Text(name))...)
			c.ExpectType(11)
		}
	})
}

// With Request Problem Information 0 no packet but CONNACK, DISCONNECT and PUBLISH has a Reason String
// or User Property; the gateway sends none in DISCONNECT either. Response Information is never sent
// (3.1.2-28, 3.1.2-29).
func TestRequestedInformation(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.policy.read["user:c"] = []string{"ok"}
	h.policy.publish["user:c"] = []string{"ok"}
	for _, response := range []byte{0, 1} {
		c := h.dial()
		p := c.Connect(rawclient.Connect{Level: 5, ID: "c", User: "c", KeepAlive: 10, Props: []byte{23, 0, 25, response}})
		for rest := p.Body[3:]; len(rest) > 0; { // the properties of TestConnack, by their identifiers
			size := map[byte]int{33: 2, 34: 2, 37: 1, 39: 4, 40: 1, 41: 1, 42: 1}[rest[0]]
			if size == 0 {
				t.Fatalf("CONNACK %s has property %d", p, rest[0])
			}
			rest = rest[1+size:]
		}
		c.Publish("secret", "x", 1, 1, 0)
		c.Expect("40:000187")
		c.Put(rawclient.Frame(0x82, []byte{0, 2}, rawclient.Props(5), rawclient.Text("secret"), []byte{0})...)
		c.Expect("90:00020087")
		c.Put(rawclient.Connect{Level: 5, ID: "c", User: "c"}.Bytes()...)
		if seen := c.ExpectClosed(); len(seen) != 1 || seen[0].String() != "e0:82" {
			t.Errorf("ended with %v", seen)
		}
	}
}

// An authentication method that nobody knows is refused, and the server sends no AUTH to a client that
// named none (4.12.0-1, 4.12.0-6).
func TestUnknownAuthenticationMethod(t *testing.T) {
	t.Parallel()
	h := start(t)
	method := append([]byte{21}, rawclient.Text("names")...)
	c := h.dial()
	p := c.Connect(rawclient.Connect{Level: 5, ID: "c", User: "c", Password: "wrong", Props: method})
	if p.Body[1] < 0x80 {
		t.Errorf("CONNACK %s", p)
	}
	c.ExpectClosed()
	if p := h.dial().Connect(rawclient.Connect{Level: 5, ID: "c", User: "c", KeepAlive: 10}); p.Type() != 2 || bytes.Contains(p.Body, method) {
		t.Errorf("CONNACK %s", p)
	}
}

// MQTT over WebSocket is a stream in binary frames, however they divide it; another type of frame ends
// the connection (6.0.0-1, 6.0.0-2).
func TestWebSocketFrames(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *broker.Options) { o.Listeners[0].Kind = broker.WebSocket })
	ctx, cancel := context.WithTimeout(t.Context(), rawclient.Wait)
	defer cancel()
	dial := func() *websocket.Conn {
		ws, _, err := websocket.Dial(ctx, "ws://"+h.addr+"/mqtt", &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			t.Fatal(err)
		}
		return ws
	}
	stream := slices.Concat(rawclient.Connect{Level: 4, ID: "c", User: "c"}.Bytes(),
		rawclient.Frame(0x82, []byte{0, 1}, rawclient.Text("a"), []byte{0}), []byte{0xc0, 0})
	for _, size := range []int{1, 7, len(stream)} {
		ws := dial()
		for part := range slices.Chunk(stream, size) {
			if err := ws.Write(ctx, websocket.MessageBinary, part); err != nil {
				t.Fatal(err)
			}
		}
		c := &rawclient.Client{T: t, Level: 4, Conn: websocket.NetConn(ctx, ws, websocket.MessageBinary)}
		for _, want := range []byte{2, 9, 13} {
			c.ExpectType(want)
		}
		_ = ws.CloseNow()
	}
	ws := dial()
	if err := ws.Write(ctx, websocket.MessageText, stream); err != nil {
		t.Fatal(err)
	}
	if kind, b, err := ws.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("after a text frame: %v %x %v", kind, b, err)
	}
	_ = ws.CloseNow()
}

// A CONNECT of which the rest does not come, or of another protocol, reaches nobody; what follows a
// refused CONNECT is not looked at (3.1.4-5 of 3.1.1, 3.1.4-6).
func TestNothingAfterARefusal(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		sub := h.client(level, "sub")
		sub.Subscribe(1, "#", 0)
		nc, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		c := &rawclient.Client{T: t, Conn: nc, Level: level}
		bad := rawclient.Connect{Level: level, ID: "bad", User: "bad", Password: "wrong"}
		c.Put(slices.Concat(bad.Bytes(), rawclient.PublishFrame(level, "a", strings.Repeat("x", 100), 0, 0, 0))...)
		if seen := c.ExpectClosed(); len(seen) != 1 || seen[0].Type() != 2 {
			t.Errorf("seen %v", seen)
		}
		sub.ExpectSilence()
	})
}
