package broker_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// B17, B26, class 5: filters and names on the wire.
func TestB17B26Matching(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		h.policy.read["*"] = []string{"#", "$SYS/#"}
		h.policy.publish["*"] = []string{"#", "$SYS/#"}
		pub := h.client(level, "pub")
		n := 0
		for filter, names := range map[string]map[string]bool{
			"a/#":        {"a": true, "a/b": true, "a/b/c/d": true, "ab": false, "b": false},
			"a/b":        {"a/b": true, "a/b/c/d": false},
			"+/#":        {"a": true, "a/b": true, "$SYS/x": false},
			"#":          {"a": true, "$SYS/x": false},
			"+/x":        {"a/x": true, "$SYS/x": false},
			"$SYS/+":     {"$SYS/x": true, "$SYS/x/y": false},
			"+/+":        {"/": true, "a": false, "a/": true},
			"/a":         {"a": false, "/a": true},
			"$share/g/#": {"a": true, "$SYS/x": false},
		} {
			n++
			id := fmt.Sprint("s", n)
			s := h.client(level, id)
			if code := s.Subscribe(1, filter, 0); code != 0 {
				t.Fatalf("%s: %#x", filter, code)
			}
			for name, want := range names {
				pub.Publish(name, "x", 1, 1, 0)
				finish(pub, 1, 1)
				if want {
					if d := s.ExpectPublish(); d.Topic != name {
						t.Errorf("%s: got %+v", filter, d)
					}
				} else {
					s.ExpectSilence()
				}
			}
			_ = s.Close()
		}
	})
}

// Overlapping subscriptions give one delivery: the highest QoS, every identifier.
func TestOverlap(t *testing.T) {
	t.Parallel()
	h := start(t)
	s, pub := h.client(5, "s"), h.client(5, "pub")
	s.Subscribe(1, "a/#", 1, []byte{11, 1})
	s.Subscribe(2, "a/b", 2, []byte{11, 0x80, 1})
	s.Subscribe(3, "+/b", 0)
	pub.Publish("a/b", "x", 2, 1, 0)
	finish(pub, 2, 1)
	d := s.ExpectPublish()
	if d.QoS != 2 || len(d.Props) != 5 || !strings.Contains(hex.EncodeToString(d.Props), "0b01") ||
		!strings.Contains(hex.EncodeToString(d.Props), "0b8001") {
		t.Errorf("got %+v %x", d, d.Props)
	}
	take(s, d)
	s.ExpectSilence()
}

// No local, retain as published, retain handling; replacing a subscription.
func TestSubscriptionOptions(t *testing.T) {
	t.Parallel()
	h := start(t)
	c, pub := h.client(5, "c"), h.client(5, "pub")
	c.Subscribe(1, "a", 0x04)
	c.Publish("a", "own", 0, 0, 0)
	c.ExpectSilence()
	pub.Publish("a", "kept", 1, 1, 1)
	finish(pub, 1, 1)
	if d := c.ExpectPublish(); d.Retain {
		t.Error("retain on a live message without retain as published")
	}
	if c.Subscribe(2, "a", 0x08); !c.ExpectPublish().Retain {
		t.Error("a replayed message without retain")
	}
	pub.Publish("a", "kept again", 1, 2, 1)
	finish(pub, 1, 2)
	if d := c.ExpectPublish(); !d.Retain {
		t.Error("retain as published")
	}
	c.Subscribe(3, "a", 0x10) // only if new: it is not
	c.ExpectSilence()
	c.Subscribe(4, "+", 0x10)
	c.ExpectPublish()
	c.Subscribe(5, "a/#", 0x20)
	c.ExpectSilence()
	pub.Publish("a", "", 0, 0, 1) // deletes
	pub.ExpectSilence()
	late := h.client(5, "late")
	late.Subscribe(1, "#", 0)
	late.ExpectSilence()
}

// Message properties travel; the expiry shrinks, and what is over is not sent.
func TestPropertiesAndExpiry(t *testing.T) {
	t.Parallel()
	timeless(t, propertiesAndExpiry)
}

func propertiesAndExpiry(t *testing.T) {
	h := startInMemory(t)
	s, pub := h.client(5, "s"), h.client(5, "pub")
	s.Subscribe(1, "a", 1)
	props := "0101" + "020000000a" + "030001" + "63" + "08000172" + "0900026364" + "2600016b000176" + "2600016b000177"
	b, _ := hex.DecodeString(props)
	pub.Publish("a", "x", 1, 1, 1, b)
	finish(pub, 1, 1)
	d := s.ExpectPublish()
	if got := hex.EncodeToString(d.Props); got != props {
		t.Errorf("got  %s\nwant %s", got, props)
	}
	take(s, d)
	time.Sleep(3 * time.Second)
	s.Subscribe(2, "a", 1)
	d = s.ExpectPublish()
	if got := hex.EncodeToString(d.Props); got != strings.Replace(props, "020000000a", "0200000007", 1) {
		t.Errorf("three seconds later got  %s\nwant %s", got, props)
	}
	take(s, d)
	time.Sleep(7 * time.Second)
	s.Subscribe(3, "a", 1)
	s.ExpectSilence()
	off := h.connect(kept(5, "off"))
	off.Subscribe(1, "b", 1)
	h.offline(off)
	pub.Publish("b", "short", 1, 2, 1, []byte{2, 0, 0, 0, 1})
	finish(pub, 1, 2)
	pub.Publish("b", "long", 1, 3, 0)
	finish(pub, 1, 3)
	time.Sleep(time.Second)
	off = h.connect(kept(5, "off"))
	if d := off.ExpectPublish(); d.Payload != "long" || len(d.Props) != 0 { // B12: no expiry of the library's
		t.Errorf("got %+v", d)
	}
	late := h.client(5, "late")
	late.Subscribe(1, "b", 0)
	late.ExpectSilence()
	h.until("the retained ones are gone", func() bool { return h.Stats().Retained == 0 })
}

// A shared message goes to one member, in turn, and only to one that may
// receive it now; groups are separate.
func TestShared(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		a, b, lone, pub := h.client(level, "a"), h.client(level, "b"), h.client(level, "lone"), h.client(level, "pub")
		a.Subscribe(1, "$share/g/t", 1)
		b.Subscribe(1, "$share/g/t", 1)
		lone.Subscribe(1, "$share/h/t", 0)
		send := func(id uint16) {
			pub.Publish("t", "x", 1, id, 0)
			finish(pub, 1, id)
			lone.ExpectPublish()
		}
		for i := range uint16(6) {
			send(i + 1)
		}
		for range 3 {
			take(a, a.ExpectPublish())
			take(b, b.ExpectPublish())
		}
		a.ExpectSilence()
		h.policy.change(func(p *policy) { p.read["user:a"] = nil })
		for i := range uint16(4) {
			send(i + 1)
			take(b, b.ExpectPublish())
		}
		a.ExpectSilence()
	})
}

// RETAIN is cleared where nothing may wait for whoever comes next.
func TestRetainIsCleared(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.policy.publish["*"] = []string{"#", "$iothub/#", "$IoTHub/#"}
	pub := h.client(5, "pub")
	for i, name := range []string{"$iothub/twin/GET", "$IoTHub/x", "deviceupdate/devices/d/get"} {
		pub.Publish(name, "x", 1, uint16(i+1), 1)
		finish(pub, 1, uint16(i+1))
	}
	if n := h.Stats().Retained; n != 0 {
		t.Errorf("%d retained", n)
	}
}

// The gateway's own messages, and those of an upstream link, are decided for
// each receiver; the link's also for itself.
func TestPublishFromInside(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.policy.read["user:no"] = []string{"other"}
	h.policy.publish["upstream:cloud"] = []string{"down/#"}
	yes := h.client(5, "yes")
	yes.Subscribe(1, "#", 1)
	result := make(chan error, 1)
	cloud := &principal.Principal{Kind: principal.Upstream, Key: "upstream:cloud"}
	h.Publish(&message.Message{Topic: "down/x", QoS: 1, Payload: []byte("1"), Publisher: cloud}, func(err error) { result <- err })
	if err := <-result; err != nil {
		t.Error(err)
	}
	take(yes, yes.ExpectPublish())
	for _, name := range []string{"elsewhere", "a/+", ""} {
		h.Publish(&message.Message{Topic: name, QoS: 1, Publisher: cloud}, func(err error) { result <- err })
		if err := <-result; err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	h.Publish(
		&message.Message{Topic: "gw", Payload: []byte("2"), Publisher: &principal.Principal{Kind: principal.Gateway, Key: "gateway"}},
		nil,
	)
	yes.ExpectPublish()
	yes.ExpectSilence()
	if h.Ping(t.Context()) != nil {
		t.Error("no round trip")
	}
	if s := h.Sessions(); len(s) != 1 || !s[0].Connected || s[0].ClientID != "yes" || s[0].Subscriptions != 1 {
		t.Errorf("sessions %+v", s)
	}
}

// B18: one Run owns everything; stopping tells clients and leaves nothing.
func TestB18Stop(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		c, idle := h.client(level, "c"), h.dial()
		h.stop()
		if seen := c.ExpectClosed(); level == 5 && (len(seen) != 1 || seen[0].Body[0] != 0x8b) {
			t.Errorf("seen %v", seen)
		}
		idle.ExpectClosed()
	})
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	for _, o := range []broker.Options{{}, {Authenticator: &names{}}} {
		if _, err := broker.New(o); err == nil {
			t.Error("accepted")
		}
	}
}

// What an operator reads of one session: its counters, and what it is subscribed to. A delivery
// that is denied counts against no publisher.
func TestSessionCountsItsOwn(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.policy.publish["user:pub"] = []string{"ok/#"}
	h.policy.read["user:pub"] = []string{"ok/#"}
	h.policy.read["user:shut"] = []string{"ok/#"}
	pub, shut := h.client(5, "pub"), h.client(5, "shut")
	pub.Subscribe(1, "ok/b", 0)
	pub.Subscribe(2, "ok/a", 1)
	if code := pub.Subscribe(3, "no/#", 0); code < 0x80 {
		t.Fatalf("no/# is granted: %#x", code)
	}
	shut.Subscribe(1, "ok/a", 0)
	h.policy.change(func(p *policy) { p.read["user:shut"] = []string{"other"} }) // not told to the broker: decided at the delivery
	for id, name := range []string{"ok/a", "no/a"} {
		pub.Publish(name, "x", 1, uint16(id+1), 0)
	}
	take(pub, pub.ExpectPublish())
	pub.ExpectType(4)
	pub.ExpectType(4)
	var got broker.SessionInfo
	for _, s := range h.Sessions() {
		if s.ClientID == "pub" {
			got = s
		}
	}
	if got.Received != 2 || got.Sent != 1 || got.Denied != 2 || got.Subscriptions != 2 {
		t.Errorf(
			"%d received, %d sent, %d denied, %d subscriptions; want 2, 1, 2, 2",
			got.Received,
			got.Sent,
			got.Denied,
			got.Subscriptions,
		)
	}
	if all, suspended := h.Filters(got.Key); len(all) != 2 || all[0] != "ok/a" || all[1] != "ok/b" || len(suspended) != 0 {
		t.Errorf("filters %q, suspended %q", all, suspended)
	}
	if st := h.Stats(); st.Received != 2 || st.Refused != 1 || st.Denied != 2 {
		t.Errorf("received %d, refused %d, denied %d; want 2, 1, 2", st.Received, st.Refused, st.Denied)
	}
	pub.Put(0x30, 0x00) // a PUBLISH without a topic
	pub.ExpectClosed()
	h.until("it is counted", func() bool { return h.Stats().Malformed == 1 })
}
