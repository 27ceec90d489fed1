package broker_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

func everyone(*principal.Principal) bool { return true }

// B1: the alias is resolved before anything is decided.
func TestB1AliasIsResolvedBeforeDeciding(t *testing.T) {
	t.Parallel()
	for qos := range byte(3) {
		t.Run(fmt.Sprint("qos", qos), func(t *testing.T) {
			t.Parallel()
			h := start(t)
			sub, pub := h.client(5, "sub"), h.client(5, "pub")
			sub.Subscribe(1, "#", 0)
			pub.Publish("a/secret", "first", qos, 1, 0, []byte{35, 0, 1})
			finish(pub, qos, 1)
			sub.ExpectPublish()
			h.policy.change(func(p *policy) { p.publish["user:pub"] = []string{"b/#"} })
			pub.Publish("", "second", qos, 2, 0, []byte{35, 0, 1})
			switch qos {
			case 1:
				pub.Expect("40:000287")
			case 2:
				pub.Expect("50:000287")
			}
			pub.ExpectSilence()
			sub.ExpectSilence()
			// An alias that was never set, alias 0, one above the maximum.
			for _, alias := range [][]byte{{35, 0, 2}, {35, 0, 0}, {35, 0xff, 0xff}} {
				c := h.client(5, "alias")
				c.Publish("", "x", qos, 1, 0, alias)
				seen := c.ExpectClosed()
				if n := len(seen); n != 1 || seen[0].Body[0] != message.TopicAliasInvalid {
					t.Errorf("alias %v: %v", alias, seen)
				}
			}
		})
	}
}

// B2: what is denied is delivered to nobody, at every level and QoS.
func TestB2DeniedIsNotDelivered(t *testing.T) {
	t.Parallel()
	for _, ignore := range []bool{false, true} {
		matrix(t, func(t *testing.T, level, qos byte) {
			h := start(t, func(o *broker.Options) {
				if ignore {
					o.Listeners[0].OnDeniedPublish = broker.Ignore
				}
			})
			h.policy.publish["user:pub"] = []string{"ok"}
			sub, pub := h.client(level, "sub"), h.client(level, "pub")
			sub.Subscribe(1, "#", 2)
			pub.Publish("secret", "x", qos, 7, 1)
			switch {
			case level == 5 && qos > 0:
				pub.Expect(fmt.Sprintf("%02x:000787", []byte{0, 0x40, 0x50}[qos]))
				pub.ExpectSilence()
			case level == 4 && !ignore:
				pub.ExpectClosed()
			case qos > 0:
				pub.Expect(fmt.Sprintf("%02x:0007", []byte{0, 0x40, 0x50}[qos]))
			default:
				pub.ExpectSilence()
			}
			sub.ExpectSilence()
			late := h.client(level, "late")
			late.Subscribe(1, "#", 0)
			late.ExpectSilence() // nor retained
			if !h.trail.has("publish", "no-assignment") {
				t.Error("not audited")
			}
		})
	}
}

// B3: wills are decided at CONNECT and again when sent.
func TestB3WillAtConnect(t *testing.T) {
	t.Parallel()
	matrix(t, func(t *testing.T, level, qos byte) {
		h := start(t)
		h.policy.publish["user:w"] = []string{"ok"}
		c := h.dial()
		p := c.Connect(rawclient.Connect{Level: level, ID: "w", User: "w", Will: &rawclient.Will{Topic: "secret", Payload: "x", QoS: qos}})
		if want := map[byte]byte{4: 5, 5: 0x87}[level]; p.Body[1] != want {
			t.Fatalf("CONNACK %s", p)
		}
		c.ExpectClosed()
	})
}

func TestB3WillWhenSent(t *testing.T) {
	t.Parallel()
	matrix(t, func(t *testing.T, level, qos byte) {
		h := start(t)
		sub := h.client(level, "sub")
		sub.Subscribe(1, "will/#", qos)
		drop := func(user string, before func()) {
			c := h.connect(rawclient.Connect{Level: level, ID: user, User: user,
				Will: &rawclient.Will{Topic: "will/" + user, Payload: "gone", QoS: qos, Retain: true}})
			before()
			_ = c.Close()
			h.until("the connection is gone", func() bool { return h.Stats().Connections == 1 })
		}
		drop("kept", func() {})
		d := sub.ExpectPublish()
		if d.Topic != "will/kept" || d.Payload != "gone" || d.QoS != qos {
			t.Fatalf("will: %+v", d)
		}
		take(sub, d)
		drop("lost", func() { h.policy.change(func(p *policy) { p.publish["user:lost"] = nil }) })
		drop("banned", func() {
			h.policy.change(func(p *policy) { p.banned["user:banned"] = true })
			if r, err := h.Recheck(context.Background(), everyone); err != nil || r.Disconnected != 1 {
				t.Errorf("recheck: %+v %v", r, err)
			}
		})
		sub.ExpectSilence()
		drop("expired", func() { // ends the connection like a revocation, but the will is sent
			h.policy.change(func(p *policy) { p.expired["user:expired"] = true })
			if r, err := h.Recheck(context.Background(), everyone); err != nil || r.Disconnected != 1 {
				t.Errorf("recheck: %+v %v", r, err)
			}
		})
		if d = sub.ExpectPublish(); d.Topic != "will/expired" {
			t.Errorf("got %+v", d)
		}
		take(sub, d)
		sub.ExpectSilence()
		late := h.client(level, "late")
		late.Subscribe(1, "will/lost", 0)
		late.Subscribe(1, "will/banned", 0)
		late.Subscribe(1, "will/kept", 0)
		if d := late.ExpectPublish(); d.Topic != "will/kept" || !d.Retain {
			t.Fatalf("retained will: %+v", d)
		}
		late.ExpectSilence()
	})
}

// B3: a delayed will is decided when its delay is over, not when it starts.
func TestB3DelayedWill(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T) {
		h := startInMemory(t)
		sub := h.client(5, "sub")
		sub.Subscribe(1, "will/#", 0)
		die := func(user string) {
			c := h.connect(rawclient.Connect{Level: 5, ID: user, User: user, Props: []byte{17, 0, 0, 0, 30},
				Will: &rawclient.Will{Topic: "will/" + user, Payload: "x", Props: []byte{24, 0, 0, 0, 1}}})
			_ = c.Close()
		}
		began := time.Now()
		die("stays")
		die("revoked")
		die("returns")
		synctest.Wait()
		if n := h.WillsPending(); n != 3 {
			t.Fatalf("%d wills wait", n)
		}
		h.policy.change(func(p *policy) { p.publish["user:revoked"] = nil })
		back := h.connect(rawclient.Connect{Level: 5, ID: "returns", User: "returns", Keep: true})
		defer back.Close()
		if d := sub.ExpectPublish(); d.Topic != "will/stays" || time.Since(began) != time.Second {
			t.Fatalf("after %v got %+v", time.Since(began), d)
		}
		synctest.Wait()
		if n := h.WillsPending(); n != 0 {
			t.Errorf("%d wills wait", n)
		}
		sub.ExpectSilence()
	})
}

// B4: a session belongs to its principal: another principal with the same client id neither
// gets it nor ends it.
func TestB4Stranger(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		keep := rawclient.Connect{Level: level, ID: "shared-id", User: "victim", Keep: true}
		if level == 5 {
			keep.Props = []byte{17, 0, 0, 1, 0}
		}
		victim := h.connect(keep)
		victim.Subscribe(1, "a", 1)
		thief := keep
		thief.User = "thief"
		c := h.dial()
		if p := c.Connect(thief); p.Body[0] != 0 || p.Body[1] != 0 {
			t.Fatalf("the stranger got %s", p)
		}
		victim.ExpectSilence() // still connected
		failed := thief
		failed.User, failed.Password = "victim", "wrong"
		h.dial().Connect(failed)
		victim.ExpectSilence()
		h.offline(victim)
		pub := h.client(level, "pub")
		pub.Publish("a", "for the victim", 1, 1, 0)
		finish(pub, 1, 1)
		c.ExpectSilence()
		again := h.dial()
		if p := again.Connect(keep); p.Body[0] != 1 {
			t.Fatalf("the owner lost its session: %s", p)
		}
		if d := again.ExpectPublish(); d.Payload != "for the victim" {
			t.Fatalf("got %+v", d)
		}
	})
}

// B6: $share is recognised in any case, and decided on its inner filter.
func TestB6ShareInAnyCase(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		h.policy.read["user:s"] = []string{"ok/#", "$iothub/#"}
		s := h.client(level, "s")
		denied, refused := byte(0x87), byte(0x8f)
		if level < 5 {
			denied, refused = 0x80, 0x80
		}
		for filter, want := range map[string]byte{
			"$SHARE/g/secret": denied, "$Share/g/secret": denied, "$share/g/#": denied, "$share/g/ok/x": 0, "$sHaRe/g/ok/+": 0,
			"$share/g/$share/h/ok/x": refused, "$share/g/$iothub/twin/res/#": denied,
		} {
			if got := s.Subscribe(1, filter, 0); got != want {
				t.Errorf("%s: %#x, want %#x", filter, got, want)
			}
		}
	})
}

// Attack class 6: of many filters each has its own answer.
func TestManyFiltersSomeAllowed(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.policy.read["user:s"] = []string{"ok/#"}
	s := h.client(5, "s")
	var filters []byte
	for _, f := range []string{"ok/1", "secret", "ok/#", "$share/g/$share/h/a", "#"} {
		filters = append(append(filters, rawclient.Text(f)...), 1)
	}
	s.Put(rawclient.Frame(0x82, []byte{0, 1, 0}, filters)...)
	s.Expect("90:000100" + "01" + "87" + "01" + "8f" + "87")
	pub := h.client(5, "pub")
	pub.Publish("secret", "x", 0, 0, 0)
	pub.Publish("ok/1", "y", 0, 0, 0)
	if d := s.ExpectPublish(); d.Topic != "ok/1" {
		t.Fatalf("got %+v", d)
	}
	s.ExpectSilence()
}

// B11: the library's own decisions do not matter: a hook that allows
// everything changes nothing.
func TestB11OtherHooksDecideNothing(t *testing.T) {
	t.Parallel()
	h := start(t)
	if err := h.Library().AddHook(new(allowAll), nil); err != nil {
		t.Fatal(err)
	}
	h.policy.read["user:s"] = []string{"ok"}
	h.policy.publish["user:s"] = []string{"ok"}
	s := h.client(5, "s")
	if code := s.Subscribe(1, "secret", 0); code != 0x87 {
		t.Errorf("SUBSCRIBE: %#x", code)
	}
	s.Publish("secret", "x", 1, 1, 0)
	s.Expect("40:000187")
	c := h.dial()
	if p := c.Connect(rawclient.Connect{Level: 5, ID: "x", User: "x", Password: "wrong"}); p.Body[1] != 0x86 {
		t.Errorf("CONNECT: %s", p)
	}
}

type allowAll struct{ mqtt.HookBase }

func (*allowAll) ID() string { return "allow-all" }
func (*allowAll) Provides(b byte) bool {
	return b == mqtt.OnACLCheck || b == mqtt.OnConnectAuthenticate
}

// Requests to the gateway reach the services and nobody's subscription; the
// answer is private to the session that asked.
func TestServicesAndPrivateAnswers(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		var h *house
		h = start(t, func(o *broker.Options) {
			o.Services = services(func(p *principal.Principal, key string, m *message.Message, done func(byte)) {
				answer := &message.Message{Topic: "$iothub/twin/res/200/?$rid=" + m.Via.Request, Payload: []byte(p.Name),
					Publisher: &principal.Principal{Kind: principal.Gateway, Key: "gateway"}}
				if !h.SendSession(key, answer) || h.Send(p.Key, answer) != 1 {
					t.Error("the answer was not taken")
				}
				done(0)
			})
		})
		h.policy.route = func(name string) message.Route {
			if name == "$iothub/twin/GET/?$rid=7" {
				return message.Route{Handling: message.TwinGet, Request: "7"}
			}
			return message.Route{}
		}
		one, two, spy := h.client(level, "one"), h.client(level, "two"), h.client(level, "spy")
		one.Subscribe(1, "$iothub/twin/res/#", 0)
		two.Subscribe(1, "$iothub/twin/res/#", 0)
		spy.Subscribe(1, "#", 0)
		spy.Subscribe(2, "$iothub/#", 0)
		one.Publish("$iothub/twin/GET/?$rid=7", "", 1, 3, 1)
		var got []string
		for range 3 {
			p, err := one.Next(rawclient.Wait)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, hex.EncodeToString([]byte{p.First}))
		}
		if fmt.Sprint(got) != "[30 30 40]" {
			t.Errorf("the asker got %v", got)
		}
		two.ExpectSilence()
		spy.ExpectSilence()
	})
}

type services func(p *principal.Principal, key string, m *message.Message, done func(byte))

func (f services) Handle(p *principal.Principal, key string, m *message.Message, done func(byte)) {
	f(p, key, m, done)
}

// Telemetry goes to the outbox, to its own topic re-encoded, and to its
// mirror; each delivery is decided.
func TestTelemetryAndMirror(t *testing.T) {
	t.Parallel()
	matrix(t, func(t *testing.T, level, qos byte) {
		box := &outbox{}
		h := start(t, func(o *broker.Options) { o.Outbox = box })
		h.policy.route = func(string) message.Route {
			return message.Route{
				Handling: message.Telemetry,
				Topic:    "devices/d/messages/events/canonical",
				Mirror:   "spaces/p/devices/d/events",
			}
		}
		h.policy.read["user:space"] = []string{"spaces/p/#"}
		all, sp, pub := h.client(level, "all"), h.client(level, "space"), h.client(level, "pub")
		all.Subscribe(1, "devices/#", 0)
		sp.Subscribe(1, "spaces/p/#", 0)
		pub.Publish("devices/d/messages/events/raw", "x", qos, 1, 0)
		finish(pub, qos, 1)
		if d := all.ExpectPublish(); d.Topic != "devices/d/messages/events/canonical" {
			t.Errorf("got %+v", d)
		}
		if d := sp.ExpectPublish(); d.Topic != "spaces/p/devices/d/events" {
			t.Errorf("got %+v", d)
		}
		all.ExpectSilence()
		pub.ExpectSilence()
		if n := box.len(); n != 1 {
			t.Errorf("the outbox got %d", n)
		}
		h.Publish(
			&message.Message{Topic: "devices/d/x", QoS: 1, Publisher: &principal.Principal{Kind: principal.Upstream, Key: "upstream:x"}},
			nil,
		)
		all.ExpectPublish()
		if n := box.len(); n != 1 {
			t.Error("what came from upstream went back there")
		}
	})
}

// Credentials end by the time that is believed: with a system clock that was set back by
// two hours, one that ended an hour ago does not connect, and one that is connected ends in time.
func TestCredentialEndsByTheBelievedTime(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T) {
		believed := func() time.Time { return time.Now().Add(2 * time.Hour) }
		h := startInMemory(t, func(o *broker.Options) { o.Now = believed })
		at := time.Now().Add(time.Hour)
		h.names.expires.Store(&at)
		if p := h.dial().Connect(rawclient.Connect{Level: 4, ID: "c", User: "c"}); p.Body[1] == 0 {
			t.Error("a credential that ended an hour ago connects")
		}
		at2 := believed().Add(3 * time.Second)
		h.names.expires.Store(&at2)
		h.connect(rawclient.Connect{Level: 4, ID: "c", User: "c"}).ExpectClosed()
		if now := believed(); now.Before(at2) || now.After(at2.Add(time.Second)) {
			t.Errorf("closed at %v, want %v", now, at2)
		}
	})
}

// Credentials end while connected: the client is disconnected at that moment, and its will is sent.
func TestCredentialExpiry(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		timeless(t, func(t *testing.T) {
			h := startInMemory(t)
			sub := h.client(level, "sub")
			sub.Subscribe(1, "will", 0)
			at := time.Now().Add(3 * time.Second)
			h.names.expires.Store(&at)
			c := h.connect(rawclient.Connect{Level: level, ID: "c", User: "c", Will: &rawclient.Will{Topic: "will", Payload: "x"}})
			seen := c.ExpectClosed()
			if now := time.Now(); now.Before(at) || now.After(at.Add(time.Second)) { // FlushTimeout, because the client does not hang up
				t.Errorf("closed at %v, want %v", now, at)
			}
			if level == 5 && (len(seen) != 1 || seen[0].Body[0] != 0x87) {
				t.Errorf("seen %v", seen)
			}
			sub.ExpectPublish()
			late := h.dial()
			if p := late.Connect(rawclient.Connect{Level: level, ID: "c", User: "c"}); p.Body[1] == 0 {
				t.Error("an expired credential connects")
			}
		})
	})
}
