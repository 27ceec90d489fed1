package broker_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// A connection that has lost its session, or is ending, still flushes its output buffer: a
// revocation removes the messages from that buffer too.
func TestRevokedWhileFlushing(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(h *house, c *rawclient.Client){
		"taken over":   func(h *house, c *rawclient.Client) { h.connect(kept(5, "sub")) },
		"clean start":  func(h *house, c *rawclient.Client) { h.client(5, "sub") },
		"disconnected": func(h *house, c *rawclient.Client) { c.Put(0xe0, 0) },
		"ended":        func(h *house, c *rawclient.Client) { h.Disconnect("user:sub", message.ServerShuttingDown, "") },
	} {
		for what, revoke := range map[string]func(p *policy){
			"receiver":  func(p *policy) { p.read["user:sub"] = []string{"open"} },
			"connect":   func(p *policy) { p.banned["user:sub"] = true },
			"publisher": func(p *policy) { p.publish["user:pub"] = []string{"open"} },
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				timeless(t, func(t *testing.T) {
					h := startInMemory(t, func(o *broker.Options) { o.FlushTimeout = time.Second })
					sub, pub := h.connect(kept(5, "sub")), h.client(5, "pub")
					sub.Subscribe(1, "#", 1)
					for i, topic := range []string{"open", "secret", "secret", "open"} {
						pub.Publish(topic, fmt.Sprint(topic, i), byte(i%2), uint16(i+1), 0)
					}
					synctest.Wait() // the writer has the first, and the pipe takes nothing of it
					lose(h, sub)
					synctest.Wait()
					h.policy.change(revoke)
					h.recheck(func(p *principal.Principal) bool { return p.Key == "user:sub" || p.Key == "user:pub" })
					for _, p := range sub.ExpectClosed() {
						if p.Type() == 3 && strings.HasPrefix(rawclient.Parse(5, p).Payload, "secret") {
							t.Errorf("got %+v", rawclient.Parse(5, p))
						}
					}
				})
			})
		}
	}
}

// nth runs f when it is called for that key for the nth time.
func nth(n int32, key string, f func()) *func(string) {
	var calls atomic.Int32
	hook := func(k string) {
		if k == key && calls.Add(1) == n {
			f()
		}
	}
	return &hook
}

// lasting is a session that lives for 256 seconds without its connection, and
// leaves a will after 9.
func lasting(payload string) rawclient.Connect {
	o := kept(5, "c")
	o.Will = &rawclient.Will{Topic: "will", Payload: payload, Props: []byte{24, 0, 0, 0, 9}}
	return o
}

// A connection whose CONNECT is still being handled, and whose session another connection
// has taken and left in the meantime, changes nothing of what that one left.
func TestSlowToArrive(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T) {
		opened, arrive := make(chan struct{}), make(chan struct{})
		access := &between{}
		h := startInMemory(t, func(o *broker.Options) { hooked(o, access) })
		sub := h.client(5, "sub")
		sub.Subscribe(1, "will", 0)
		access.connect.Store(nth(2, "user:c", func() { close(opened); <-arrive })) // asked again with the session open
		slow := h.dial()
		slow.Put(lasting("slow").Bytes()...)
		<-opened
		_ = h.connect(lasting("quick")).Close()
		synctest.Wait()
		close(arrive)
		synctest.Wait()
		began := time.Now()
		if d := sub.ExpectPublish(); d.Payload != "quick" || time.Since(began) != 9*time.Second {
			t.Errorf("after %v got %+v", time.Since(began), d)
		}
		sub.ExpectSilence()
		time.Sleep(256 * time.Second)
		synctest.Wait()
		if n := h.Stats().Sessions; n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

// The end of a session deletes nothing of a later session with the same key.
func TestSlowToExpire(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T) {
		access := &between{}
		h := startInMemory(t, func(o *broker.Options) { hooked(o, access) })
		sub, pub := h.client(5, "sub"), h.client(5, "pub")
		sub.Subscribe(1, "will", 0)
		c := h.connect(kept(5, "c"))
		c.Subscribe(1, "$share/g/a", 1)
		pub.Publish("a", "x", 1, 1, 0)
		finish(pub, 1, 1)
		_ = c.Close()
		synctest.Wait()
		other := h.client(5, "other")
		other.Subscribe(1, "$share/g/a", 1)
		came := make(chan time.Time, 1)
		access.deliver.Store(nth(1, "user:other", func() { // the first session has ended
			_ = h.connect(lasting("next")).Close()
			synctest.Wait()
			came <- time.Now()
		}))
		for len(came) == 0 {
			time.Sleep(time.Second)
		}
		began := <-came
		if d := sub.ExpectPublish(); d.Payload != "next" || time.Since(began) != 9*time.Second {
			t.Errorf("after %v got %+v", time.Since(began), d)
		}
	})
}

// slowTrail is an Auditor that takes its time.
type slowTrail struct{ broker.Auditor }

func (a slowTrail) Audit(r message.AuditRecord) {
	a.Auditor.Audit(r)
	time.Sleep(time.Second)
}

// A client that has its CONNACK has its session: a message that is published because of
// that is not lost, also with QoS 0.
func TestConnackMeansAttached(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		timeless(t, func(t *testing.T) {
			h := startInMemory(t, func(o *broker.Options) { o.Auditor = slowTrail{o.Auditor} })
			sub := h.connect(kept(level, "sub"))
			sub.Subscribe(1, "a", 0)
			h.offline(sub)
			sub = h.connect(kept(level, "sub"))
			h.Publish(
				&message.Message{
					Topic:     "a",
					Payload:   []byte("x"),
					Publisher: &principal.Principal{Kind: principal.Gateway, Key: "gateway"},
				},
				nil,
			)
			if d := sub.ExpectPublish(); d.Payload != "x" {
				t.Errorf("got %+v", d)
			}
		})
	})
}

// What the members of a share that end with the gateway have not acknowledged
// goes to one that outlives it.
func TestShareThroughAStop(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	with := func(o *broker.Options) { o.Vault = whole(v) }
	h := start(t, with)
	pub := h.client(5, "pub")
	for i := range 3 {
		h.client(5, fmt.Sprint("m", i)).Subscribe(1, "$share/g/a", 1)
	}
	for id := range uint16(9) {
		pub.Publish("a", fmt.Sprint(id), 1, id+1, 0)
		finish(pub, 1, id+1)
	}
	stays := h.connect(kept(5, "stays"))
	stays.Subscribe(1, "$share/g/a", 1)
	h.offline(stays)
	h.stop()
	h = start(t, with)
	got := map[string]bool{}
	stays = h.connect(kept(5, "stays"))
	for _, d := range drain(stays, 9) {
		got[d.Payload] = true
	}
	if len(got) != 9 {
		t.Errorf("got %v", got)
	}
}

// A restart does not forget what a session holds for a share: when it ends, that
// goes to another member all the same.
func TestShareOfAMemberThatEndsAfterARestart(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	with := func(o *broker.Options) { o.Vault = whole(v) }
	h := start(t, with)
	leaves, pub := h.connect(kept(5, "leaves")), h.client(5, "pub")
	for i, filter := range []string{"$share/g/a", "own", "$share/g/own"} {
		leaves.Subscribe(uint16(i+1), filter, 1)
	}
	h.offline(leaves)
	for id, name := range []string{"a", "own", "a"} {
		pub.Publish(name, fmt.Sprint(name, id), 1, uint16(id+1), 0)
		finish(pub, 1, uint16(id+1))
	}
	h.stop()
	h = start(t, with)
	stays := h.client(5, "stays")
	for i, filter := range []string{"$share/g/a", "$share/g/own"} {
		stays.Subscribe(uint16(i+1), filter, 1)
	}
	h.Forget(named("user:leaves"))
	for i, d := range drain(stays, 2) {
		if want := []string{"a0", "a2"}[i]; d.Payload != want {
			t.Errorf("got %+v, want %s", d, want)
		}
	}
	stays.ExpectSilence()
}

// A will is delivered before everything that the client publishes on its next connection,
// however late the old connection ends. Otherwise a client that publishes "online", and whose
// will is "offline", would seem offline to everybody.
func TestWillBeforeItsSuccessor(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]rawclient.Connect{"resumed": leaving(5, "c", true, 0), "clean": leaving(5, "c", false, 0)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, busy, let := startSlow(t)
			old := h.connect(leaving(5, "c", true, 0))
			old.Publish("slow", "x", 0, 0, 0)
			<-busy
			c := h.connect(again)
			c.Publish("will/c", "here", 1, 1, 1)
			finish(c, 1, 1)
			let()
			h.until("the old one has left", func() bool { return h.Stats().Connections == 1 })
			late := h.client(5, "late")
			late.Subscribe(1, "will/c", 0)
			if d := late.ExpectPublish(); d.Payload != "here" {
				t.Errorf("got %+v", d)
			}
		})
	}
}
