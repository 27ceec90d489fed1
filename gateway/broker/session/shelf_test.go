package session

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// What waits for a session that is away takes 40 bytes of memory a delivery: an Entry
// and the pointer to it.
func TestAnEntryIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Entry{}) + unsafe.Sizeof((*Entry)(nil)); n > 40 {
		t.Errorf("%d bytes", n)
	}
}

// While the session is away, the bodies of stored deliveries leave memory, also of those that were
// being stored when it went away. They come back in order, a page at a time.
func TestAwayIsOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive()
		st := NewStore(a.config())
		s, sub := openAs(st, "user:s", "s")
		a.hold = true
		back(t, st, s, "c1", 2)
		for i := range 5 {
			put(s, sub, from("p", i, 4))
		}
		s.Detach("c1", time.Now())
		for i := 5; i < 500; i++ {
			put(s, sub, from("p", i, 4))
		}
		if s.shelf.entries != 0 {
			t.Fatalf("%d are in the vault only, and not durable", s.shelf.entries)
		}
		a.commit()
		if s.shelf.entries != 498 || len(s.shelf.origins.list) != 1 { // two have an identifier
			t.Fatalf("%d are in the vault only, of %d publishers", s.shelf.entries, len(s.shelf.origins.list))
		}
		a.hold = false
		for i := 500; i < 600; i++ {
			put(s, sub, from("p", i, 4))
		}
		if s.shelf.entries != 598 {
			t.Fatalf("%d are in the vault only", s.shelf.entries)
		}
		back(t, st, s, "c2", 2)
		if got := drain(t, s); !slices.Equal(got, numbered(0, 600)) {
			t.Errorf("got %d: %v", len(got), got)
		}
		if a.longest > pageMessages || a.reads < 600/pageMessages {
			t.Errorf("%d reads, the longest of %d", a.reads, a.longest)
		}
		if s.shelf.entries != 0 || s.shelf.origins.by != nil || st.QueuedBytes() != 0 || len(a.queue) != 0 {
			t.Errorf("left: %d entries, %v, %d bytes, %d records", s.shelf.entries, s.shelf.origins, st.QueuedBytes(), len(a.queue))
		}
	})
}

// A page is limited in bytes as well, and has at least one delivery.
func TestPagesAreBounded(t *testing.T) {
	sizes := func(list ...uint32) (all []*Entry) {
		for _, n := range list {
			all = append(all, &Entry{size: n})
		}
		return all
	}
	for _, tc := range []struct {
		entries []*Entry
		want    int
	}{
		{nil, 0},
		{sizes(1 << 20), 1},
		{sizes(1<<20, 1), 1},
		{sizes(32<<10, 32<<10, 1), 2},
		{sizes(slices.Repeat([]uint32{1}, 100)...), 64},
	} {
		if got := page(tc.entries); got != tc.want {
			t.Errorf("%d entries: %d", len(tc.entries), got)
		}
	}
}

// A session that is away loses by a restart, by overflow, by expiry and by the deletion of publishers
// exactly what it would lose if its queue were in memory.
func TestAwayOnDiskLosesTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive()
		c := a.config()
		c.QueueMessages = 300
		dropped := map[string]int{}
		c.Drop = func(reason string) { dropped[reason]++ }
		st := NewStore(c)
		s, sub := openAs(st, "user:s", "s")
		want := []string{}
		for i := range 20 {
			put(s, sub, from("alarm", i, 4))
			want = append(want, fmt.Sprintf("alarm%04d", i))
		}
		for i := range 20 {
			put(s, sub, from("gone", i, 4))
		}
		for i := range 30 {
			m := from("short", i, 4)
			m.Expires = time.Now().Add(time.Minute)
			put(s, sub, m)
		}
		for i := range 1000 {
			put(s, sub, from("noise", i, 4))
		}
		for i := 770; i < 1000; i++ {
			want = append(want, fmt.Sprintf("noise%04d", i))
		}
		if s.shelf.entries != 300 || dropped[lostOldest] != 770 || len(a.queue) != 300 || a.reads > 0 {
			t.Fatalf("%d in the vault only, %v, %d records, %d reads", s.shelf.entries, dropped, len(a.queue), a.reads)
		}

		st = NewStore(c) // a restart
		if err := st.Load(time.Now(), func(*message.StoredSession) Rights { return s.rights }, func(*Sub) bool { return true }); err != nil {
			t.Fatal(err)
		}
		s, _ = st.Get(s.Key)
		if s.shelf.entries != 300 || s.Waiting() != 300 {
			t.Fatalf("after a restart %d are in the vault only, %d wait", s.shelf.entries, s.Waiting())
		}
		time.Sleep(time.Minute + time.Second)
		s.Expire(time.Now())
		n := s.Forget(func(p *principal.Principal) bool { return p.Key == "gone" })
		if n != 20 || dropped["expired"] != 30 || a.reads > 0 {
			t.Errorf("%d forgotten, %v, %d reads", n, dropped, a.reads)
		}
		back(t, st, s, "c", 100)
		if got := drain(t, s); !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	})
}

// When the time is over in which a lost right may return, the deliveries that needed it are deleted from
// the disk, and no others.
func TestPurgeReachesTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive()
		st := NewStore(a.config())
		s, sub := openAs(st, "user:s", "s")
		s.claim = "x"
		other := subscribe(s, "b")[0]
		s.Detach("x", time.Now())
		for i := range 200 {
			put(s, sub, from("p", i, 4))
			m := from("q", i, 4)
			m.Topic = "b"
			put(s, other, m)
		}
		st.Generation()
		s.Recheck(func(*principal.Principal) bool { return true }, time.Now(), func(s *Sub) bool { return s.Filter != "b" })
		if n := s.Purge(time.Now().Add(-time.Second)); n != 0 || len(a.queue) != 400 {
			t.Fatalf("%d went before their time", n)
		}
		if n := s.Purge(time.Now()); n != 200 || len(a.queue) != 200 || s.Waiting() != 200 || s.shelf.entries != 200 {
			t.Fatalf("%d went, %d records are left, %d wait, %d in the vault only", n, len(a.queue), s.Waiting(), s.shelf.entries)
		}
		back(t, st, s, "c", 100)
		if got := drain(t, s); !slices.Equal(got, numbered(0, 200)) {
			t.Errorf("got %v", got)
		}
	})
}

// Deliveries that were read ahead, or are being read, when a right is lost are decided again. Those for
// a suspended subscription wait on disk, and return to their places when it is resumed.
func TestRevokedWhileItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive()
		st := NewStore(a.config())
		s, sub := openAs(st, "user:s", "s")
		for i := range 200 {
			put(s, sub, from("p", i, 4))
		}
		allowed := false
		all := func(*principal.Principal) bool { return true }
		a.reading = func() {
			a.reading = nil
			st.Generation()
			s.Recheck(all, time.Now(), func(*Sub) bool { return allowed })
		}
		back(t, st, s, "c", 10)
		if got := drain(t, s); len(got) != 0 {
			t.Fatalf("sent without a right: %v", got)
		}
		if len(s.held) != 200 || s.shelf.entries != 200 {
			t.Errorf("%d held, %d in the vault only", len(s.held), s.shelf.entries)
		}
		s.Detach("c", time.Now())
		allowed = true
		st.Generation()
		s.Recheck(all, time.Now(), func(*Sub) bool { return allowed })
		back(t, st, s, "c", 10)
		if got := drain(t, s); !slices.Equal(got, numbered(0, 200)) {
			t.Errorf("got %v", got)
		}
	})
}

// If another connection takes the session over while a page is read, or its client goes away, no
// delivery is lost or sent twice.
func TestTakenOverWhileItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive()
		st := NewStore(a.config())
		s, sub := openAs(st, "user:s", "s")
		for i := range 200 {
			put(s, sub, from("p", i, 4))
		}
		a.reading = func() { s.Detach("c1", time.Now()) }
		back(t, st, s, "c1", 10)
		synctest.Wait()
		if s.shelf.entries != 200 {
			t.Fatalf("%d in the vault only", s.shelf.entries)
		}
		a.reading = func() {
			if a.reads == 2 {
				back(t, st, s, "c3", 10)
			}
		}
		back(t, st, s, "c2", 10)
		if got := drain(t, s); !slices.Equal(got, numbered(0, 200)) {
			t.Errorf("got %v", got)
		}
	})
}

// A delivery whose stored record is missing or damaged is dropped and holds up no other. If the vault
// cannot be read, it is read again later.
func TestUnreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive()
		c := a.config()
		dropped := map[string]int{}
		c.Drop = func(reason string) { dropped[reason]++ }
		st := NewStore(c)
		s, sub := openAs(st, "user:s", "s")
		for i := range 100 {
			put(s, sub, from("p", i, 4))
		}
		delete(a.queue, 1)
		a.queue[50] = message.StoredDelivery{Seq: 50}
		a.fail = errors.New("the disk is away")
		back(t, st, s, "c", 10)
		synctest.Wait()
		if now, _ := sent(s); len(now) != 0 || s.Waiting() != 100 {
			t.Fatalf("sent %v, %d wait", now, s.Waiting())
		}
		a.mu.Lock()
		a.fail = nil
		a.mu.Unlock()
		time.Sleep(2 * readAgain)
		want := slices.Delete(numbered(1, 100), 48, 49)
		if got := drain(t, s); !slices.Equal(got, want) || dropped["queued-unreadable"] != 2 {
			t.Errorf("got %v, %v", got, dropped)
		}
		if s.Waiting() != 0 || st.QueuedBytes() != 0 {
			t.Errorf("%d wait, %d bytes", s.Waiting(), st.QueuedBytes())
		}
	})
}

// When a session ends, the deliveries of its shared subscriptions that are on disk go to other members.
func TestShareOnDiskIsLeftToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive()
		st := NewStore(a.config())
		s, _ := openAs(st, "user:s", "s")
		shared := NewSub(s, message.Subscription{Filter: "$share/g/a", QoS: 1}, topic.Subscription{Group: "g", Filter: "a"})
		s.claim = "x"
		s.Subscribe("x", []*Sub{shared}, func(*Sub) bool { return true }, nil)
		s.Detach("x", time.Now())
		for i := range 200 {
			put(s, shared, from("p", i, 4))
			put(s, s.subs["a"], from("own", i, 4))
		}
		if s.shelf.entries != 400 {
			t.Fatalf("%d in the vault only", s.shelf.entries)
		}
		st.EndIf(s, time.Time{})
		var got []string
		for _, l := range s.TakeLeft() {
			if l.Sub != shared {
				t.Fatal("another subscription")
			}
			got = append(got, string(l.Message.Payload))
		}
		if !slices.Equal(got, numbered(0, 200)) || len(a.queue) > 0 || st.QueuedBytes() != 0 {
			t.Errorf("left %v, %d records, %d bytes", got, len(a.queue), st.QueuedBytes())
		}
	})
}

// A session that is resumed with a session expiry of 0 still delivers what is on disk, and leaves
// nothing there. A crash before that ends the session.
func TestResumedForTheLastTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive()
		st := NewStore(a.config())
		s, sub := openAs(st, "user:s", "s")
		for i := range 200 {
			put(s, sub, from("p", i, 4))
		}
		st.Open(Request{Principal: s.who, Rights: s.rights, ClientID: "s", Conn: "c", Allow: func(*Sub) bool { return true }})
		if a.deleted > 0 || a.saved.Expiry != 0 {
			t.Fatalf("deleted %d times, expiry %v", a.deleted, a.saved.Expiry)
		}
		attach(t, s, &vessel{}, 10)
		if got := drain(t, s); !slices.Equal(got, numbered(0, 200)) {
			t.Errorf("got %v", got)
		}
		put(s, sub, from("p", 200, 4))
		s.Detach("c", time.Now())
		st.EndIf(s, time.Time{})
		if a.deleted != 1 || len(a.queue) > 0 {
			t.Errorf("deleted %d times, %d records", a.deleted, len(a.queue))
		}
	})
}

// A connected session that holds up its publishers for too long counts as away.
func TestStalledIsOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive()
		st := NewStore(a.config())
		s, sub := openAs(st, "user:s", "s")
		back(t, st, s, "c", 1)
		for i := range 10 {
			put(s, sub, from("p", i, 4))
		}
		s.throttle.spent.Store(true)
		for i := 10; i < 100; i++ {
			s.mu.Lock()
			s.throttle.spent.Store(true) // ease takes it for one that reads
			s.mu.Unlock()
			put(s, sub, from("p", i, 4))
		}
		if s.shelf.entries != 90 {
			t.Errorf("%d in the vault only", s.shelf.entries)
		}
		if got := drain(t, s); !slices.Equal(got, numbered(0, 100)) {
			t.Errorf("got %v", got)
		}
	})
}

// BenchmarkAway shows what a delivery to a session that is away costs, in time and in
// memory that stays.
func BenchmarkAway(b *testing.B) {
	a := newArchive()
	c := a.config()
	c.QueueMessages, c.QueueBytes, c.TotalQueueBytes = 1<<30, 1<<40, 1<<40
	c.Queues = forgetful{a}
	st := NewStore(c)
	s, sub := openAs(st, "user:s", "s")
	m := from("p", 0, 100)
	m.Topic = strings.Repeat("a", 20)
	before := live()
	for b.Loop() {
		put(s, sub, m)
	}
	b.ReportMetric(float64(live()-before)/float64(s.Waiting()), "heap-B/entry")
}

// forgetful is an archive that stores nothing.
type forgetful struct{ *archive }

func (forgetful) Enqueue(_ string, _ message.StoredDelivery, done func(error)) { done(nil) }

func live() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
