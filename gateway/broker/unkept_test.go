package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// A full member of a share is passed over while another has capacity; if all are full,
// one loses its oldest. Members that may not have a message lose nothing for it.
func TestShareWhoseMembersAreFull(t *testing.T) {
	t.Parallel()
	for _, qos := range []byte{1, 2} {
		h := start(t, func(o *broker.Options) { o.QueueMessages = 2 })
		var members []*rawclient.Client
		for _, name := range []string{"m1", "m2", "m3"} {
			m := h.connect(kept(5, name))
			m.Subscribe(1, "$share/g/a", 2)
			h.offline(m)
			members = append(members, m)
		}
		h.policy.change(func(p *policy) { p.read["user:m3"] = nil }) // has capacity and no right
		live, pub := h.client(5, "live"), h.client(5, "pub")
		live.Subscribe(1, "a", 1)
		for id := range uint16(4) {
			pub.Publish("a", fmt.Sprint(id), qos, id+1, 0)
			finish(pub, qos, id+1)
			take(live, live.ExpectPublish())
			live.ExpectSilence() // its acknowledgement is in: its own queue, of the same two, is empty
		}
		if st := h.Stats(); st.Dropped["session-overflow-oldest"] != 0 {
			t.Errorf("a full member was not passed over: %+v", st)
		}
		pub.Publish("a", "too many", qos, 5, 0)
		finish(pub, qos, 5)
		take(live, live.ExpectPublish())
		if st := h.Stats(); st.Dropped["session-overflow-oldest"] != 1 {
			t.Errorf("lost: %+v", st)
		}
		got := map[string]bool{}
		for i := range members[:2] {
			c := h.connect(kept(5, fmt.Sprint("m", i+1)))
			for _, d := range drain(c, 2) {
				got[d.Payload] = true
			}
			c.ExpectSilence()
			h.offline(c)
		}
		if len(got) != 4 || !got["too many"] {
			t.Errorf("got %v", got)
		}
		h.until("everything is given back", func() bool { return h.Stats().QueuedBytes == 0 })
		h.policy.change(func(p *policy) { p.read["user:m1"], p.read["user:m2"] = nil, nil })
		pub.Publish("a", "for nobody", qos, 6, 0)
		finish(pub, qos, 6)
		if n := h.Stats().Dropped["no-member-of-share"]; n != 1 {
			t.Errorf("counted %d", n)
		}
	}
}

// A SUBSCRIBE that cannot be stored changes nothing: a subscription that it would have
// replaced is as it was, and a new one does not exist.
func TestSubscribeThatIsNotKept(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		v := newMemory(t)
		h := start(t, func(o *broker.Options) { o.Vault = whole(v) })
		sub, pub := h.connect(kept(level, "sub")), h.client(level, "pub")
		sub.Subscribe(1, "old", 1)
		v.breakWith(errDisk)
		want := map[byte]byte{4: 0x80, 5: message.ImplementationSpecificError}[level]
		for id, f := range []string{"new", "old"} {
			if code := sub.Subscribe(uint16(2+id), f, 2); code != want {
				t.Errorf("%s: granted %#x", f, code)
			}
		}
		v.breakWith(nil)
		if n := h.Stats().Subscriptions; n != 1 {
			t.Errorf("%d subscriptions", n)
		}
		for id, f := range []string{"new", "old"} {
			pub.Publish(f, f, 2, uint16(1+id), 0)
			finish(pub, 2, uint16(1+id))
		}
		d := sub.ExpectPublish()
		if d.Payload != "old" || d.QoS != 1 {
			t.Errorf("got %+v", d)
		}
		take(sub, d)
		sub.ExpectSilence()
		if code := sub.Subscribe(4, "new", 2); code != 2 {
			t.Errorf("granted %#x", code)
		}
		h.offline(sub)
		h.until("the record says the same", func() bool {
			r, _ := v.saved("user:sub\x00sub")
			return len(r.Subscriptions) == 2 && r.Subscriptions[1].QoS == 1
		})
	})
}

// A damaged store: a queued record without its message, or whose publisher is
// unknown, can never be judged. It goes, loudly, and its neighbours stay.
func TestQueuedWithoutPublisher(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	key, who := "user:x\x00x", &principal.Principal{Kind: principal.User, Key: "user:x"}
	v.sessions[key] = message.StoredSession{Key: key, ClientID: "x", Principal: who, Version: 5, Expiry: time.Hour,
		Subscriptions: []message.Subscription{{Filter: "a", QoS: 1}}}
	v.queues[key] = map[uint64]message.StoredDelivery{
		1: {Seq: 1, QoS: 1, Message: &message.Message{Topic: "a", Payload: []byte("whose?")}},
		2: {Seq: 2, QoS: 1},
		3: {Seq: 3, QoS: 1, Message: &message.Message{Topic: "a", Payload: []byte("kept"), Publisher: who}},
	}
	h := start(t, func(o *broker.Options) { o.Vault = whole(v) })
	h.until("they are deleted", func() bool { return v.queued(key) == 1 })
	if n := h.Stats().Dropped["queued-without-publisher"]; n != 2 || !strings.Contains(h.log.String(), "queued-without-publisher") {
		t.Errorf("counted %d, logged: %s", n, h.log)
	}
	h.Forget(named("user:y"))
	h.recheck(only("user:y"))
	c := h.connect(kept(5, "x"))
	if d := c.ExpectPublish(); d.Payload != "kept" {
		t.Errorf("got %+v", d)
	}
}

// What a member of a share did not acknowledge before its session ended goes to
// another member (4.8.2); with QoS 2 only what it cannot have received.
func TestShareOfAMemberThatLeaves(t *testing.T) {
	t.Parallel()
	for _, qos := range []byte{1, 2} {
		h := start(t, func(o *broker.Options) { o.Inflight = 2 })
		leaves := h.client(5, "leaves")
		leaves.Subscribe(1, "$share/g/a", 2)
		leaves.Subscribe(2, "b", 2)
		pub := h.client(5, "pub")
		for id := range uint16(5) {
			pub.Publish("a", fmt.Sprint(id), qos, id+1, 0)
			finish(pub, qos, id+1)
		}
		pub.Publish("b", "its own", qos, 9, 0)
		finish(pub, qos, 9)
		for range 2 {
			leaves.ExpectPublish()
		}
		stays, other := h.client(5, "stays"), h.client(5, "other")
		stays.Subscribe(1, "$share/g/a", 2)
		other.Subscribe(1, "$share/other/a", 2)
		_ = leaves.Close()
		first := map[byte]int{1: 0, 2: 2}[qos]
		for i, d := range drain(stays, 5-first) {
			if d.Payload != fmt.Sprint(first+i) || d.Dup || d.Topic != "a" {
				t.Errorf("qos %d: got %+v at %d", qos, d, i)
			}
		}
		stays.ExpectSilence()
		other.ExpectSilence()
		h.until("everything is given back", func() bool { return h.Stats().QueuedBytes == 0 })
	}
}
