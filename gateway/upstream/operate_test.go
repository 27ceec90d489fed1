package upstream

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// operated is an outbox with 300 messages of a and 200 of b, by two routes, most of them on disk.
func operated(t *testing.T, c *cloud, o Options) (*Outbox, *disk) {
	t.Helper()
	d := newDisk(t)
	o.Storage, o.Connector, o.Memory = d, c, 1
	o.Routes = []Route{{Name: "alarm", Filter: "alarm/#"}, {Name: "rest"}}
	b := newBox(t, o)
	for i := range 500 {
		m := msg([]string{"a", "b"}[i%5/3], fmt.Sprint(i))
		m.Accepted = time.Unix(1000+int64(i), 0)
		if i%10 == 0 {
			m.Topic = "alarm/x"
		}
		if err := offer(t, b, m); err != nil {
			t.Fatal(err)
		}
	}
	d.flush()
	return b, d
}

func TestListAndPeek(t *testing.T) {
	b, _ := operated(t, newCloud(false), Options{})
	sums, bytes := map[string]int{}, int64(0)
	for _, p := range b.List(Selector{All: true}) {
		sums[p.Device+" "+p.Route] = p.Messages
		bytes += p.Bytes
	}
	if fmt.Sprint(sums) != "map[a alarm:50 a rest:250 b rest:200]" || bytes != b.Stats().Bytes {
		t.Errorf("%v, %d bytes of %d", sums, bytes, b.Stats().Bytes)
	}
	if list := b.List(Selector{Device: "b"}); len(list) != 1 || !list[0].Oldest.Equal(time.Unix(1003, 0)) {
		t.Errorf("%+v", list)
	}
	list := b.Peek(Selector{Device: "b", Route: "rest"}, 50)
	if len(list) != 50 || list[0].Topic != "t/b" || list[49].Accepted.Sub(list[0].Accepted) != 121*time.Second {
		t.Errorf("%d: %+v", len(list), list)
	}
	if got := b.Peek(Selector{Seq: list[3].Seq}, 50); len(got) != 1 || got[0] != list[3] {
		t.Errorf("one: %+v", got)
	}
}

// A purge takes what it says, wherever it waits, and nothing else.
func TestPurge(t *testing.T) {
	for _, tc := range []struct {
		name string
		s    Selector
		n    int
	}{
		{"nothing selected", Selector{}, 0},
		{"a device", Selector{Device: "a"}, 300},
		{"a route", Selector{Route: "alarm"}, 50},
		{"a route of a device without any", Selector{Device: "b", Route: "alarm"}, 0},
		{"all", Selector{All: true}, 500},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCloud(false)
			b, d := operated(t, c, Options{})
			if n := b.Purge(tc.s); n != tc.n {
				t.Errorf("%d purged, want %d", n, tc.n)
			}
			d.flush()
			s := b.Stats()
			if s.Messages != 500-tc.n || d.count() != 500-tc.n || s.Dropped[ReasonPurged] != uint64(tc.n) || unbalanced(s) != "" {
				t.Errorf("%d on disk, %+v %s", d.count(), s, unbalanced(s))
			}
			if left := b.List(tc.s); len(left) > 0 && !tc.s.Empty() {
				t.Errorf("left: %+v", left)
			}
			pumping(t, b)
			c.set(true)
			eventually(t, "the rest is sent", func() bool { return b.Stats().Messages == 0 })
			if got := len(c.seen()); got != 500-tc.n {
				t.Errorf("%d sent", got)
			}
		})
	}
}

// What is paused waits, whoever else is sent, and goes on where it stopped.
func TestPauseAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(true)
		b, _ := operated(t, c, Options{})
		b.Pause(Selector{Device: "a"})
		stop := pumping(t, b)
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := b.Stats(); s.Messages != 300 || !s.Paused {
			t.Errorf("a paused: %+v", s)
		}
		b.Pause(Selector{All: true})
		_ = offer(t, b, msg("b", "later"))
		b.Resume(Selector{Device: "a"})
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := b.Stats(); s.Messages != 301 {
			t.Errorf("all paused: %+v", s)
		}
		b.Resume(Selector{All: true})
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := b.Stats(); s.Messages != 0 || s.Paused || s.Acked != 501 {
			t.Errorf("resumed: %+v", s)
		}
		stop()
	})
}

// A drain lifts the replay limit, for what waits now.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(true)
		b, _ := operated(t, c, Options{Replay: 1})
		stop := pumping(t, b)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s := b.Stats(); s.Acked > 12 {
			t.Fatalf("%d sent in 10 s, at 1 a second", s.Acked)
		}
		b.Drain()
		time.Sleep(time.Second)
		synctest.Wait()
		if s := b.Stats(); s.Messages != 0 {
			t.Errorf("%+v", s)
		}
		if b.replay.Limit() != 1 {
			t.Error("the limit is not back")
		}
		stop()
	})
}

// A purge of one message reads its stream up to it, and no other.
func TestAPurgeOfOneReadsNoOtherStream(t *testing.T) {
	b, d := operated(t, newCloud(false), Options{})
	seq := uint64(0)
	d.mu.Lock()
	for _, q := range d.sorted() {
		if q.Message.Via.Device == "b" && q.Seq < 200 {
			seq = q.Seq
		}
	}
	d.mu.Unlock()
	if n := b.Purge(Selector{Seq: seq}); n != 1 {
		t.Errorf("%d purged", n)
	}
	b.mu.Lock()
	a, other := len(b.flows["a"][0].items), len(b.flows["b"][0].items)
	b.mu.Unlock()
	if a > 2*b.window() || other > 100 {
		t.Errorf("%d and %d messages were read into memory", a, other)
	}
	if n := b.Purge(Selector{Seq: seq}); n != 0 {
		t.Errorf("%d purged again", n)
	}
}

// watched is a disk that calls reading before each Next.
type watched struct {
	*disk
	reading func()
}

func (d *watched) Next(stream message.StreamID, after, upTo uint64, count int, bytes int64) ([]message.StoredOutgoing, error) {
	d.reading()
	return d.disk.Next(stream, after, upTo, count, bytes)
}

// Nobody who publishes waits while messages are read from the disk to be looked at.
func TestAPeekReadsWithoutTheLock(t *testing.T) {
	b, d := operated(t, newCloud(false), Options{})
	reads := 0
	b.opt.Storage = &watched{d, func() {
		if reads++; !b.mu.TryLock() {
			t.Error("the outbox is locked")
			return
		}
		b.mu.Unlock()
	}}
	if list := b.Peek(Selector{Device: "a"}, 200); len(list) != 200 || reads == 0 {
		t.Errorf("%d messages by %d reads", len(list), reads)
	}
}
