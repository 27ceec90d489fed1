package broker_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// leaving is a CONNECT with a will, of a session that outlives its connection if keep is set.
func leaving(level byte, user string, keep bool, delay byte) rawclient.Connect {
	o := rawclient.Connect{Level: level, ID: user, User: user}
	if keep {
		o = kept(level, user)
	}
	o.Will = &rawclient.Will{Topic: "will/" + user, Payload: "of " + user, QoS: 1, Retain: true}
	if delay > 0 {
		o.Will.Props = []byte{24, 0, 0, 0, delay}
	}
	return o
}

// A will survives a restart of the gateway: it is sent once after it, if its client still
// has the right to publish it, and not if the client has sent DISCONNECT.
func TestWillSurvivesTheGateway(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		v := newMemory(t)
		with := func(o *broker.Options) { o.Vault = whole(v) }
		h := start(t, with)
		sub := h.connect(kept(level, "sub"))
		sub.Subscribe(1, "will/#", 1)
		h.offline(sub)
		for _, user := range []string{"clean", "revoked"} {
			h.connect(leaving(level, user, false, 0))
		}
		h.connect(leaving(level, "kept", true, 0))
		polite := h.connect(leaving(level, "polite", false, 0))
		polite.Put(0xe0, 0)
		polite.ExpectClosed()
		h.until("the polite one's is void", func() bool { return v.willsLeft() == 3 })
		h.stop()

		h = start(t, with, func(o *broker.Options) { o.Access.(*policy).publish["user:revoked"] = nil })
		got := map[string]bool{}
		sub = h.connect(kept(level, "sub"))
		for _, d := range drain(sub, 2) {
			got[d.Payload] = true
		}
		if !got["of clean"] || !got["of kept"] {
			t.Errorf("got %v", got)
		}
		sub.ExpectSilence()
		if !h.trail.has("will", "no-assignment") {
			t.Error("the refusal is not audited")
		}
		h.until("none is left", func() bool { return v.willsLeft() == 0 })
		h.stop()

		h = start(t, with)
		sub = h.connect(kept(level, "sub"))
		sub.ExpectSilence()
	})
}

// A will that was stored before a restart waits until the present policy is known, because
// its right may have been revoked meanwhile; the will of a client that connects now does not.
func TestRestoredWillWaitsForThePolicyOfNow(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	h := start(t, func(o *broker.Options) { o.Vault = whole(v) })
	for _, user := range []string{"withdrawn", "kept"} {
		h.connect(leaving(5, user, false, 0))
	}
	h.connect(leaving(5, "delayed", true, 1))
	h.stop()

	known := make(chan struct{})
	h = start(t, func(o *broker.Options) { o.Vault, o.PolicyKnown = whole(v), known })
	sub := h.client(5, "sub")
	sub.Subscribe(1, "will/#", 0)
	_ = h.connect(leaving(5, "now", false, 0)).Close()
	if d := sub.ExpectPublish(); d.Payload != "of now" {
		t.Errorf("got %+v", d)
	}
	h.until("all are due, and one is sent", func() bool { return h.WillsPending() == 0 && v.willsLeft() == 3 })
	sub.ExpectSilence()
	if n := v.willsLeft(); n != 3 {
		t.Errorf("%d are kept", n)
	}
	h.policy.change(func(p *policy) { p.publish["user:withdrawn"] = nil })
	close(known)
	got := map[string]bool{sub.ExpectPublish().Payload: true, sub.ExpectPublish().Payload: true}
	if !got["of kept"] || !got["of delayed"] {
		t.Errorf("got %v", got)
	}
	h.until("none is left", func() bool { return v.willsLeft() == 0 })
	sub.ExpectSilence()
}

// A client that connects again does not wait for that: the will of its last connection is
// sent before anything that it publishes now. Otherwise the will would come later, and say
// that the client is offline.
func TestRestoredWillComesBeforeItsClient(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		for _, keep := range []bool{false, true} {
			v := newMemory(t)
			h := start(t, func(o *broker.Options) { o.Vault = whole(v) })
			h.connect(leaving(level, "c", keep, 0))
			h.connect(leaving(level, "stays away", keep, 0))
			h.stop()

			known := make(chan struct{})
			h = start(t, func(o *broker.Options) { o.Vault, o.PolicyKnown = whole(v), known })
			sub := h.client(level, "sub")
			sub.Subscribe(1, "will/#", 0)
			h.until("both are due", func() bool { return h.WillsPending() == 0 })
			c := h.client(level, "c")
			c.Publish("will/c", "here again", 0, 0, 0)
			for _, want := range []string{"of c", "here again"} {
				if d := sub.ExpectPublish(); d.Payload != want {
					t.Errorf("got %q, want %q", d.Payload, want)
				}
			}
			close(known)
			if d := sub.ExpectPublish(); d.Payload != "of stays away" {
				t.Errorf("got %+v", d)
			}
			h.until("none is left", func() bool { return v.willsLeft() == 0 })
			h.stop()
		}
	})
}

// A will that is parked until the policy is known is dropped for the same reasons as any other.
func TestRestoredWillOfWhoIsForgotten(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	h := start(t, func(o *broker.Options) { o.Vault = whole(v) })
	h.connect(leaving(5, "forgotten", false, 0))
	h.connect(leaving(5, "thrown out", false, 0))
	h.stop()
	known := make(chan struct{})
	h = start(t, func(o *broker.Options) { o.Vault, o.PolicyKnown = whole(v), known })
	h.until("both are due", func() bool { return h.WillsPending() == 0 })
	h.Forget(named("user:forgotten"))
	h.Disconnect("user:thrown out", message.Banned, "")
	close(known)
	h.until("none is left", func() bool { return v.willsLeft() == 0 })
	if n := h.Stats().Retained; n != 0 {
		t.Errorf("%d were sent", n)
	}
}

// If the cloud does not answer, parked wills are sent after PolicyWait; when the gateway
// stops, none is sent.
func TestRestoredWillDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	h := start(t, func(o *broker.Options) { o.Vault = whole(v) })
	h.connect(leaving(5, "c", false, 0))
	h.stop()
	never := make(chan struct{})
	h = start(t, func(o *broker.Options) { o.Vault, o.PolicyKnown = whole(v), never })
	h.stop()
	if n := v.willsLeft(); n != 1 {
		t.Fatalf("%d are kept", n)
	}
	h = start(t, func(o *broker.Options) { o.Vault, o.PolicyKnown, o.PolicyWait = whole(v), never, time.Millisecond })
	sub := h.client(5, "sub")
	sub.Subscribe(1, "will/#", 0)
	if d := sub.ExpectPublish(); d.Payload != "of c" {
		t.Errorf("got %+v", d)
	}
	h.until("none is left", func() bool { return v.willsLeft() == 0 })
}

// A delay goes on after a restart: a session that comes back before its end
// makes the will void, and the end of the delay sends it.
func TestDelayedWillSurvivesTheGateway(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	with := func(o *broker.Options) { o.Vault = whole(v) }
	h := start(t, with)
	h.connect(leaving(5, "returns", true, 60))
	h.connect(leaving(5, "stays", true, 1))
	gone := h.connect(leaving(5, "gone", true, 1)) // its delay runs already
	_ = gone.Close()
	h.until("one waits", func() bool { return h.WillsPending() == 1 })
	h.connect(leaving(5, "clean", false, 60)) // ends with its connection
	h.stop()
	if n := v.willsLeft(); n != 4 {
		t.Fatalf("%d are kept", n)
	}

	h = start(t, with)
	back := h.connect(kept(5, "returns"))
	sub := h.client(5, "sub")
	sub.Subscribe(1, "will/#", 0)
	got := map[string]bool{}
	for range 3 {
		got[sub.ExpectPublish().Payload] = true
	}
	if !got["of clean"] || !got["of stays"] || !got["of gone"] {
		t.Errorf("got %v", got)
	}
	h.until("none is left", func() bool { return v.willsLeft() == 0 && h.WillsPending() == 0 })
	sub.ExpectSilence()
	back.ExpectSilence()
}

// The will is stored before the CONNACK is sent; if the store fails, the client is connected
// all the same.
func TestWillBeforeConnack(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	h := start(t, func(o *broker.Options) { o.Vault = whole(v) })
	v.stopped.Lock()
	commit := sync.OnceFunc(v.stopped.Unlock)
	defer commit()
	c := h.dial()
	c.Level = 5
	c.Put(leaving(5, "c", false, 0).Bytes()...)
	if p, err := c.Next(100 * time.Millisecond); err == nil {
		t.Errorf("got %s before the will is durable", p)
	}
	commit()
	c.ExpectType(2)
	if v.willsLeft() != 1 {
		t.Error("no will is kept")
	}

	v.breakWith(errDisk)
	h.connect(leaving(5, "other", false, 0))
	if n := h.Stats().Dropped["will-not-stored"]; n != 1 {
		t.Errorf("counted %d", n)
	}
	v.breakWith(nil)
	sub := h.client(5, "sub")
	sub.Subscribe(1, "will/#", 0)
	_ = c.Close()
	if d := sub.ExpectPublish(); d.Payload != "of c" {
		t.Errorf("got %+v", d)
	}
	h.until("none is left", func() bool { return v.willsLeft() == 0 })
}

// A will that was dropped is also deleted from the vault: no later start sends it.
func TestVoidWillsAreNotKept(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	h := start(t, func(o *broker.Options) { o.Vault = whole(v) })
	h.connect(leaving(5, "banned", true, 0))
	h.connect(leaving(5, "again", true, 60))
	h.connect(leaving(5, "again", true, 60)) // resumes
	gone := h.connect(leaving(5, "forgotten", true, 60))
	_ = gone.Close()
	h.until("one waits", func() bool { return h.WillsPending() == 1 })
	h.policy.change(func(p *policy) { p.banned["user:banned"] = true })
	if _, err := h.Recheck(context.Background(), everyone); err != nil {
		t.Fatal(err)
	}
	h.Forget(named("user:forgotten"))
	h.until("one is left", func() bool { return v.willsLeft() == 1 })
	if n := h.Stats().Retained; n != 0 {
		t.Errorf("%d were sent", n)
	}
}

// Wills are kept by number, and the newer one of a session is the one that
// counts: also if the clock was set back while the gateway was down.
func TestWillsRiseAcrossRestarts(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	later := uint64(time.Now().Add(time.Hour).UnixNano())
	v.wills[later] = message.StoredWill{ID: later, Session: "user:old\x00old", Topic: "will/old",
		Principal: &principal.Principal{Kind: principal.User, Key: "user:old"}}
	h := start(t, func(o *broker.Options) { o.Vault, o.PolicyKnown = whole(v), make(chan struct{}) })
	h.connect(leaving(5, "new", false, 0))
	v.mu.Lock()
	defer v.mu.Unlock()
	for id, w := range v.wills {
		if w.Topic == "will/new" && id <= later || len(v.wills) != 2 {
			t.Errorf("%d wills, one of %s is number %d", len(v.wills), w.Topic, id)
		}
	}
}
