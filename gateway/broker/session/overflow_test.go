package session

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// heard collects what is dropped and which episodes begin and end.
type heard struct {
	dropped  map[string]int
	episodes []Episode
}

func (h *heard) config(messages int) Config {
	h.dropped = map[string]int{}
	c := everything(nowhere{})
	c.QueueMessages = messages
	c.Drop = func(reason string) { h.dropped[reason]++ }
	c.Overflowed = func(e Episode) { h.episodes = append(h.episodes, e) }
	return c
}

func from(publisher string, n, size int) *message.Message {
	return &message.Message{Topic: "a", QoS: 1, Payload: fmt.Appendf(nil, "%s%0*d", publisher, size, n),
		Publisher: &principal.Principal{Key: publisher}}
}

// openAs opens an away session of a principal, subscribed to a.
func openAs(st *Store, owner, client string) (*Session, *Sub) {
	p := &principal.Principal{Kind: principal.User, Key: owner}
	o := st.Open(Request{
		Principal:  p,
		Rights:     rules{says: says{v: message.Verdict{Allowed: true}}},
		ClientID:   client,
		Persistent: true,
		Expiry:     time.Hour,
		Conn:       client,
		Allow:      func(*Sub) bool { return true },
	})
	sub := subscribe(o.Session, "a")[0]
	o.Session.Detach(client, time.Now())
	return o.Session, sub
}

// put delivers m to s as the plane does.
func put(s *Session, sub *Sub, m *message.Message) bool {
	return s.Admit(m) && s.Deliver(Delivery{Message: m, Sub: sub, QoS: m.QoS, Gen: s.Now()}, nil) == Delivered
}

func waiting(s *Session) []string {
	var list []string
	for _, e := range s.queue.each() {
		list = append(list, string(e.m.Payload))
	}
	return list
}

// A noisy publisher loses its own oldest, however many a quiet one has waiting; what
// has a packet identifier stays, and the episode ends when there is capacity again.
func TestOverflowTakesFromWhoHoldsMost(t *testing.T) {
	t.Parallel()
	var h heard
	st := NewStore(h.config(8))
	s, sub := openAs(st, "user:s", "s")
	for i := range 3 {
		put(s, sub, from("alarm", i, 1))
	}
	for i := range 20 {
		put(s, sub, from("noise", i, 3))
	}
	want := []string{"alarm0", "alarm1", "alarm2", "noise015", "noise016", "noise017", "noise018", "noise019"}
	if got := waiting(s); !slices.Equal(got, want) {
		t.Fatalf("kept %v", got)
	}
	if i := s.Info(); i.Lost != (Lost{Oldest: 15}) || !i.Losing || h.dropped[lostOldest] != 15 || len(h.episodes) != 1 {
		t.Fatalf("%+v, %v, %v", i, h.dropped, h.episodes)
	}
	s.claim = "c"
	attach(t, s, &vessel{}, 8) // all get identifiers
	if put(s, sub, from("alarm", 9, 1)) || s.Info().Lost != (Lost{Oldest: 15, Newest: 1}) {
		t.Fatalf("something that was sent was dropped: %+v", s.Info())
	}
	for id := range uint16(5) {
		s.Acknowledged(s.claim, frame.PUBACK, frame.Ack{ID: id + 1})
	}
	if len(st.Losing()) != 1 {
		t.Fatal("over while more than a quarter waits")
	}
	s.Acknowledged(s.claim, frame.PUBACK, frame.Ack{ID: 6})
	if e := h.episodes; len(st.Losing()) != 0 || len(e) != 2 || !e[1].Over || e[1].Lost != 16 || e[1].Owner != "user:s" {
		t.Fatalf("%+v", e)
	}
	for id := range uint16(2) {
		s.Acknowledged(s.claim, frame.PUBACK, frame.Ack{ID: id + 7})
	}
	if s.fair != nil || s.Waiting() != 0 || st.QueuedBytes() != 0 || s.owner.bytes.Load() != 0 {
		t.Error("something is left")
	}
}

// drop-newest loses what comes; disconnect ends the session.
func TestOverflowPolicies(t *testing.T) {
	t.Parallel()
	for _, policy := range []Overflow{DropNewest, Disconnect} {
		var h heard
		c := h.config(3)
		c.Overflow = policy
		var st *Store
		c.End = func(s *Session) { st.EndIf(s, time.Time{}) }
		st = NewStore(c)
		s, sub := openAs(st, "user:s", "s")
		for i := range 5 {
			if ok := put(s, sub, from("p", i, 1)); ok != (i < 3) {
				t.Errorf("policy %d: %d: %v", policy, i, ok)
			}
		}
		if got := waiting(s); policy == DropNewest && !slices.Equal(got, []string{"p0", "p1", "p2"}) {
			t.Errorf("kept %v", got)
		}
		if alive := s.Alive(); alive != (policy == DropNewest) {
			t.Errorf("policy %d: alive: %v", policy, alive)
		}
		if policy == Disconnect && (len(h.episodes) != 2 || !h.episodes[1].Over || st.QueuedBytes() != 0) {
			t.Errorf("%+v, %d bytes", h.episodes, st.QueuedBytes())
		}
	}
}

// The principal that holds most of all queues loses first, in its fullest session;
// a principal that holds less than an equal part loses nothing for others.
func TestOverflowOfAllQueues(t *testing.T) {
	t.Parallel()
	var h heard
	c := h.config(1000)
	size := sizeOf(from("p", 0, 4))
	c.TotalQueueBytes = 12 * size
	st := NewStore(c)
	greedy1, sub1 := openAs(st, "user:greedy", "1")
	greedy2, sub2 := openAs(st, "user:greedy", "2")
	small, sub3 := openAs(st, "user:small", "3")
	put(small, sub3, from("p", 0, 4))
	for i := range 3 {
		put(greedy1, sub1, from("p", i, 4))
	}
	for i := range 30 {
		put(greedy2, sub2, from("p", i, 4))
	}
	for i := range 3 {
		put(small, sub3, from("p", i+1, 4))
	}
	if n := len(waiting(small)); n != 4 || small.Info().Lost != (Lost{}) {
		t.Errorf("the small one has %d, %+v", n, small.Info().Lost)
	}
	if a, b := len(waiting(greedy1)), len(waiting(greedy2)); a != 3 || b != 5 {
		t.Errorf("%d and %d of the greedy one are left", a, b)
	}
}

// The sessions of one principal together hold no more than its share.
func TestOverflowOfOnePrincipal(t *testing.T) {
	t.Parallel()
	var h heard
	c := h.config(1000)
	size := sizeOf(from("p", 0, 4))
	c.PrincipalBytes = 5 * size
	st := NewStore(c)
	for i := range 20 {
		s, sub := openAs(st, "user:many", fmt.Sprint(i))
		put(s, sub, from("p", i, 4))
	}
	if n := st.QueuedBytes(); n != 5*size || h.dropped[lostOldest] != 15 {
		t.Errorf("%d bytes, dropped %v", n, h.dropped)
	}
	other, sub := openAs(st, "user:other", "o")
	if !put(other, sub, from("p", 1, 4)) || h.dropped[lostOldest] != 15 {
		t.Error("another principal pays for it")
	}
}

// A message that is larger than the share of a principal costs that principal nothing else.
func TestOverflowByAMessageThatNeverFits(t *testing.T) {
	t.Parallel()
	var h heard
	c := h.config(1000)
	size := sizeOf(from("p", 0, 4))
	c.PrincipalBytes = 5 * size
	st := NewStore(c)
	s, sub := openAs(st, "user:s", "s")
	for i := range 5 {
		put(s, sub, from("p", i, 4))
	}
	if put(s, sub, from("p", 5, int(5*size))) || len(waiting(s)) != 5 || s.Info().Lost != (Lost{Newest: 1}) {
		t.Errorf("%d wait, lost %+v", len(waiting(s)), s.Info().Lost)
	}
}

// A delivery that expires in the middle of the queue is removed, also while the oldest of its publisher stays.
func TestOverflowForgetsWhatExpires(t *testing.T) {
	t.Parallel()
	var h heard
	st := NewStore(h.config(100))
	s, sub := openAs(st, "user:s", "s")
	now := time.Now()
	burst := func(n int) {
		for i := range n {
			m := from("p", i, 3)
			m.Expires = now.Add(time.Hour)
			put(s, sub, m)
		}
	}
	put(s, sub, from("p", 0, 3))
	put(s, sub, from("p", 1, 3))
	burst(99) // one too many: the first one is dropped, the second one stays
	for range 200 {
		s.Expire(now.Add(2 * time.Hour))
		burst(99)
	}
	if n := s.count.Load(); n != 100 || h.dropped[lostOldest] != 1 {
		t.Fatalf("%d wait, dropped %v", n, h.dropped)
	}
	if n := len(s.fair.by["p"].entries); n > 200 {
		t.Errorf("%d entries are kept for 100 that wait", n)
	}
	s.Expire(now.Add(2 * time.Hour))
	if p := s.fair.by["p"]; len(p.entries) > 2 || p.bytes != sizeOf(from("p", 1, 3)) || s.fair.oldest() != s.queue.front() {
		t.Errorf("%d entries and %d bytes are kept for one that waits", len(p.entries), p.bytes)
	}
}

// One message ends one session, although that session leaves messages to other members of
// its shared subscription: those may not take the quota for which it was ended.
func TestDisconnectEndsOneSession(t *testing.T) {
	t.Parallel()
	var h heard
	c := h.config(1000)
	size := sizeOf(from("p", 0, 4))
	c.TotalQueueBytes, c.Overflow = 40*size, Disconnect
	var st *Store
	var members []*Session
	var shared []*Sub
	ended := 0
	c.End = func(s *Session) {
		ended++
		st.EndIf(s, time.Time{})
		for _, l := range s.TakeLeft() { // what the broker does
			for i, m := range members {
				if m.Reserve(l.Message) {
					if m.Deliver(Delivery{Message: l.Message, Sub: shared[i], QoS: 1, Gen: m.Now()}, nil) == Delivered {
						break
					}
				}
			}
		}
	}
	st = NewStore(c)
	for i := range 4 {
		s, _ := openAs(st, fmt.Sprint("user:", i), "s")
		sub := NewSub(s, message.Subscription{Filter: "$share/g/a", QoS: 1}, topic.Subscription{Group: "g", Filter: "a"})
		s.claim = "x"
		s.Subscribe("x", []*Sub{sub}, func(*Sub) bool { return true }, nil)
		s.Detach("x", time.Now())
		for n := range 10 - i {
			put(s, sub, from("p", n, 4))
		}
		members, shared = append(members, s), append(shared, sub)
	}
	other, sub := openAs(st, "user:other", "o")
	for n := range 8 {
		if !put(other, sub, from("o", n, 4)) {
			t.Errorf("%d was lost", n)
		}
	}
	if ended != 2 || st.QueuedBytes() > c.TotalQueueBytes {
		t.Errorf("%d sessions were ended for the last 2 messages, %d bytes", ended, st.QueuedBytes()/size)
	}
}

// Publishers that find no quota at the same time end one session together, if that is enough.
func TestDisconnectEndsOneSessionForMany(t *testing.T) {
	t.Parallel()
	for range 50 {
		var h heard
		c := h.config(1000)
		size := sizeOf(from("p", 0, 4))
		c.TotalQueueBytes, c.Overflow = 100*size, Disconnect
		var st *Store
		var ended atomic.Int32
		c.Drop = func(string) {}
		c.End = func(s *Session) {
			ended.Add(1)
			runtime.Gosched()
			st.EndIf(s, time.Time{})
		}
		st = NewStore(c)
		for i := range 10 {
			s, sub := openAs(st, fmt.Sprint("user:", i), "s")
			for n := range 10 {
				put(s, sub, from("p", n, 4))
			}
		}
		other, sub := openAs(st, "user:other", "o")
		var all sync.WaitGroup
		for n := range 8 {
			all.Go(func() { put(other, sub, from("o", n, 4)) })
		}
		all.Wait()
		if ended.Load() != 1 || other.Waiting() != 8 {
			t.Fatalf("%d sessions ended, %d wait", ended.Load(), other.Waiting())
		}
	}
}
