package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
)

// B32: $SYS is ours, decided like any topic; the library's reaches nobody.
func TestB32Sys(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		timeless(t, func(t *testing.T) { sys(t, level) })
	})
}

func sys(t *testing.T, level byte) {
	h := startInMemory(t, func(o *broker.Options) { o.SysInterval, o.Version = time.Second, "1.2.3" })
	h.policy.read["user:admin"] = []string{"$SYS/#"}
	h.policy.publish["user:plain"] = []string{"kept"}
	away := h.connect(rawclient.Connect{Level: level, ID: "away", User: "away", Keep: true, Props: []byte{17, 0, 0, 0, 60}})
	away.Subscribe(1, "away", 1)
	_ = away.Close()
	h.until("one is away", func() bool { return h.Stats().Connections == 0 })
	plain, admin := h.client(level, "plain"), h.client(level, "admin")
	plain.Publish("kept", "x", 1, 1, 1)
	finish(plain, 1, 1)
	if code := plain.Subscribe(1, "$SYS/#", 0); code < 0x80 {
		t.Errorf("SUBACK %#x", code)
	}
	plain.Subscribe(2, "#", 0)
	plain.ExpectPublish() // what is retained
	if code := admin.Subscribe(1, "$SYS/#", 0); code != 0 {
		t.Fatalf("SUBACK %#x", code)
	}
	// What a new subscription gets at once, and what comes with each round: one of each, and nothing of the library's.
	all := broker.SysTopics()
	first := true
	for _, retain := range []bool{true, false, false} {
		got := map[string]string{}
		for range all {
			d := admin.ExpectPublish()
			if d.Retain != retain {
				t.Errorf("retain %v: got %+v", retain, d)
			}
			got[d.Topic] = d.Payload
		}
		for _, name := range all {
			if got[name] == "" {
				t.Errorf("retain %v: no %s", retain, name)
			}
		}
		for name, want := range map[string]string{
			"version": "gatehouse version 1.2.3", "clients/connected": "2", "clients/disconnected": "1", "clients/total": "3",
			"messages/received": "1", "publish/messages/received": "1", "subscriptions/count": "3", "retained messages/count": "1",
		} {
			if got["$SYS/broker/"+name] != want {
				t.Errorf("%s: %q, want %q", name, got["$SYS/broker/"+name], want)
			}
		}
		if first && got["$SYS/broker/uptime"] != "0 seconds" || !first && got["$SYS/broker/uptime"] == "0 seconds" {
			t.Errorf("uptime %q", got["$SYS/broker/uptime"])
		}
		first = false
	}
	plain.ExpectSilence()
}

// A new subscription gets only what it matches, and a shared one and one that asks for none get
// nothing before the next round (MQTT-3.3.1-11, 4.8.2).
func TestSysForOneSubscription(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.policy.read["user:admin"] = []string{"$SYS/#"}
	h.policy.read["user:part"] = []string{"$SYS/broker/clients/#"}
	admin := h.client(5, "admin")
	admin.Subscribe(1, "$SYS/broker/clients/+", 1, []byte{11, 7})
	for range 3 {
		d := admin.ExpectPublish()
		if !strings.HasPrefix(d.Topic, "$SYS/broker/clients/") || d.QoS != 0 || !d.Retain || string(d.Props) != "\x0b\x07" {
			t.Errorf("got %+v", d)
		}
	}
	admin.Subscribe(2, "$SYS/broker/retained messages/count", 0)
	if d := admin.ExpectPublish(); d.Payload != "0" {
		t.Errorf("got %+v", d)
	}
	admin.Subscribe(3, "$share/g/$SYS/#", 0)
	admin.Subscribe(4, "$SYS/broker/uptime", 2<<4) // retain handling: do not send
	admin.Subscribe(5, "$SYS/broker/clients/+", 1<<4)
	admin.ExpectSilence()
	part := h.client(4, "part")
	part.Subscribe(1, "$SYS/broker/clients/total", 0)
	if d := part.ExpectPublish(); d.Payload != "2" {
		t.Errorf("got %+v", d)
	}
	part.ExpectSilence()
}

// On a filtered listener a filter may be wider than the rights of its client: of what a new
// subscription gets at once each is decided by itself, too.
func TestSysIsDecidedForEach(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *broker.Options) { o.Listeners[0].Filtered = true })
	h.policy.read["user:part"] = []string{"$SYS/broker/clients/total"}
	part := h.client(5, "part")
	if code := part.Subscribe(1, "$SYS/#", 0); code != 0 {
		t.Fatalf("SUBACK %#x", code)
	}
	if d := part.ExpectPublish(); d.Topic != "$SYS/broker/clients/total" {
		t.Errorf("got %+v", d)
	}
	part.ExpectSilence()
}

// While nobody is subscribed below $SYS, no message is made of it.
func TestSysCostsNothingUnread(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T) {
		h := startInMemory(t, func(o *broker.Options) { o.SysInterval = time.Second })
		c := h.client(5, "c")
		c.Subscribe(1, "#", 0)
		before := h.NextMessage()
		time.Sleep(time.Minute)
		if n := h.NextMessage() - before; n != 1 {
			t.Errorf("%d messages were made in a minute", n-1)
		}
	})
}
