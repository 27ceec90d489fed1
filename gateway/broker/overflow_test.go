package broker_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// A session that is away and full silences nobody: its publishers go on, it loses its
// oldest messages, and whose it is is told, audited once at the beginning and once at
// the end.
func TestAwaySessionSilencesNobody(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		const limit, sent = 1000, 3000
		told := make(chan []broker.SessionOverflow, 16)
		records := &overflows{}
		h := start(t, func(o *broker.Options) {
			o.Vault, o.QueueMessages, o.Auditor = whole(newMemory(t)), limit, records
			last := 0
			o.Overflowing = func(list []broker.SessionOverflow) { // comes again and again while it lasts
				if len(list) != last {
					last = len(list)
					told <- list
				}
			}
		})
		dashboard, live := h.connect(kept(level, "dashboard")), h.client(level, "live")
		dashboard.Subscribe(1, "t/#", 1)
		live.Subscribe(1, "t/#", 1)
		h.offline(dashboard)
		pub := h.client(level, "pub")
		for i := range sent {
			id := uint16(i + 1)
			pub.Publish("t/a", fmt.Sprint(i), 1, id, 0)
			finish(pub, 1, id)
			if d := live.ExpectPublish(); d.Payload != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", d.Payload, i)
			} else {
				take(live, d)
			}
		}
		if st := h.Stats(); st.Dropped["session-overflow-oldest"] != sent-limit || st.Refused != 0 {
			t.Errorf("%+v", st)
		}
		if l := <-told; len(l) != 1 || l[0].Principal != "user:dashboard" || l[0].ClientID != "dashboard" || l[0].Connected {
			t.Errorf("told %+v", l)
		}
		if n := records.n.Load(); n != 1 {
			t.Errorf("%d records of its beginning", n)
		}
		dashboard = h.connect(kept(level, "dashboard"))
		for i, d := range drain(dashboard, limit) {
			if want := fmt.Sprint(sent - limit + i); d.Payload != want {
				t.Fatalf("got %s, want %s", d.Payload, want)
			}
		}
		dashboard.ExpectSilence()
		for len(<-told) != 0 { //nolint:revive // the last list is empty
		}
		if n := records.n.Load(); n != 2 {
			t.Errorf("%d records after its end", n)
		}
	})
}

// overflows counts the records of overflows.
type overflows struct{ n atomic.Int64 }

func (a *overflows) Audit(r message.AuditRecord) {
	if r.Event == "overflow" {
		a.n.Add(1)
	}
}

// By the policy that ends the session, it and its connection go, and nobody else
// notices; the client is told why.
func TestOverflowEndsTheSession(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *broker.Options) {
		o.QueueMessages, o.Inflight, o.Overflow = 4, 2, broker.EndSession
	})
	slow, pub := h.connect(kept(5, "slow")), h.client(5, "pub")
	slow.Subscribe(1, "a", 1)
	for id := range uint16(8) {
		pub.Publish("a", "x", 1, id+1, 0)
		finish(pub, 1, id+1)
	}
	seen := slow.ExpectClosed()
	if last := seen[len(seen)-1]; last.Type() != 14 || last.Body[0] != message.QuotaExceeded {
		t.Errorf("seen %v", seen)
	}
	h.until("it is forgotten", func() bool { return h.Stats().Sessions == 1 && h.Stats().QueuedBytes == 0 })
}

// A message for a share of which every member is full costs one member by the policy,
// and never the others.
func TestOverflowOfAShareCostsOneMember(t *testing.T) {
	t.Parallel()
	const members, limit = 3, 4
	for policy, want := range map[broker.Overflow]struct{ left, newest, nobody uint64 }{
		broker.DropNewest: {left: members, newest: 1, nobody: 1},
		broker.EndSession: {left: members - 1, newest: 1, nobody: limit + 1}, // with what the ended one had
	} {
		h := start(t, func(o *broker.Options) { o.Vault, o.QueueMessages, o.Overflow = whole(newMemory(t)), limit, policy })
		for i := range members {
			m := h.connect(kept(5, fmt.Sprint("m", i)))
			m.Subscribe(1, "$share/g/a", 1)
			h.offline(m)
		}
		pub := h.client(5, "pub")
		for id := range uint16(members*limit + 1) {
			pub.Publish("a", "x", 1, id+1, 0)
			finish(pub, 1, id+1)
		}
		st := h.Stats()
		if n := uint64(st.Sessions) - 1; n != want.left {
			t.Errorf("policy %v: %d members are left, want %d", policy, n, want.left)
		}
		if n := st.Dropped["session-overflow-newest"]; n != want.newest {
			t.Errorf("policy %v: %d losses of members, want %d", policy, n, want.newest)
		}
		if n := st.Dropped["no-member-of-share"]; n != want.nobody {
			t.Errorf("policy %v: %d messages went to nobody, want %d", policy, n, want.nobody)
		}
	}
}
