package upstream

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// remembered is how many messages are in memory.
func remembered(b *Outbox) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, byPriority := range b.flows {
		for _, f := range byPriority {
			n += len(f.items)
		}
	}
	return n
}

// What waits is on disk: a backlog is remembered by its first messages, also after a start,
// and is sent in order, over all routes of a priority, with what comes meanwhile behind it.
func TestABacklogIsOnDisk(t *testing.T) {
	d, c := newDisk(t), newCloud(false)
	o := Options{Storage: d, Connector: c, Memory: 1, Routes: []Route{{Name: "even", Filter: "t/even"}, {Name: "odd"}}}
	b := newBox(t, o)
	const n = 600
	send := func(b *Outbox, from, to int) {
		for i := from; i < to; i++ {
			m := msg("d", fmt.Sprint(i))
			if i/7%2 == 0 { // in runs, so that one route has more than a window before the other's next
				m.Topic = "t/even"
			}
			m.Accepted = time.Unix(1000+int64(i), 0)
			if err := offer(t, b, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(b, 0, n)
	if got := remembered(b); got > 2*b.window() {
		t.Errorf("%d of %d messages are in memory", got, n)
	}
	before := b.Stats()
	d.flush()
	b = newBox(t, o)
	if got := remembered(b); got > 2*b.window() {
		t.Errorf("%d of %d messages are in memory after a start", got, n)
	}
	if s := b.Stats(); s.Messages != n || s.Bytes != before.Bytes || !s.Oldest.Equal(time.Unix(1000, 0)) {
		t.Errorf("after a start %+v, before %+v", s, before)
	}
	pumping(t, b)
	c.set(true)
	send(b, n, n+100)
	eventually(t, "the outbox is empty", func() bool { return b.Stats().Messages == 0 && d.count() == 0 })
	var want []string
	for i := range n + 100 {
		want = append(want, fmt.Sprint("d ", i))
	}
	if diff := cmp.Diff(want, c.seen()); diff != "" {
		t.Error(diff)
	}
	if s := b.Stats(); s.Bytes != 0 || s.Devices != 0 {
		t.Errorf("nothing waits, and is accounted: %+v", s)
	}
}

// A message that is dropped or has expired may be on disk: policies see all that waits.
func TestPoliciesReachWhatIsOnDisk(t *testing.T) {
	t.Run("drop-oldest of all", func(t *testing.T) {
		d := newDisk(t)
		b := newBox(t, Options{Storage: d, Connector: newCloud(false), Memory: 1, Limits: Limits{Messages: 100},
			Routes: []Route{{Name: "safe", Filter: "t/safe"}, {Name: "loose", Overflow: DropOldest}}})
		for i := range 40 {
			_ = offer(t, b, msg("safe", fmt.Sprint("safe", i)))
		}
		for i := range 500 {
			if err := offer(t, b, msg(fmt.Sprint("d", i%3), fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		d.flush()
		var want []string
		for i := range 40 {
			want = append(want, fmt.Sprint("safe", i))
		}
		for i := 440; i < 500; i++ {
			want = append(want, fmt.Sprint(i))
		}
		if diff := cmp.Diff(want, d.payloads()); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("drop-oldest behind what may not be dropped", func(t *testing.T) {
		d := newDisk(t)
		b := newBox(t, Options{Storage: d, Connector: newCloud(false), Memory: 1, Limits: Limits{DeviceMessages: 50},
			Routes: []Route{{Name: "safe", Filter: "alarm"}, {Name: "loose", Overflow: DropOldest}}})
		for i := range 40 {
			m := msg("d", fmt.Sprint("safe", i))
			m.Topic = "alarm"
			_ = offer(t, b, m)
		}
		for i := range 100 {
			if err := offer(t, b, msg("d", fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		d.flush()
		got := d.payloads()
		if len(got) != 50 || got[40] != "90" || got[49] != "99" {
			t.Errorf("%v", got)
		}
	})
	t.Run("expired", func(t *testing.T) {
		d := newDisk(t)
		now := time.Unix(1000, 0)
		b := newBox(t, Options{Storage: d, Connector: newCloud(false), Memory: 1, Limits: Limits{Messages: 500},
			Now: func() time.Time { return now }, Routes: []Route{{Name: "r", TTL: time.Minute}}})
		for i := range 500 {
			_ = offer(t, b, msg("d", fmt.Sprint(i)))
		}
		now = now.Add(time.Hour)
		m := msg("d", "new")
		m.Accepted = now
		if err := offer(t, b, m); err != nil {
			t.Errorf("all that waits has expired: %v", err)
		}
		if s := b.Stats(); s.Dropped[ReasonExpired] != 500 || s.Messages != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A clock that is set while messages wait on disk expires none of them.
func TestASetClockExpiresNothingOnDisk(t *testing.T) {
	d, c := newDisk(t), newCloud(false)
	now, elapsed := time.Unix(1000, 0), time.Duration(0)
	b := newBox(t, Options{Storage: d, Connector: c, Memory: 1, Routes: []Route{{Name: "r", TTL: time.Hour}},
		Now: func() time.Time { return now }, Elapsed: func() time.Duration { return elapsed }})
	for i := range 200 {
		if i == 100 {
			now = time.Unix(1_800_000_000, 0)
		}
		m := msg("d", fmt.Sprint(i))
		m.Accepted = now
		_ = offer(t, b, m)
	}
	elapsed = 59 * time.Minute
	pumping(t, b)
	c.set(true)
	eventually(t, "the outbox is empty", func() bool { return b.Stats().Messages == 0 })
	if s := b.Stats(); s.Acked != 200 {
		t.Errorf("%+v", s)
	}
}

// Records that are damaged or missing cost themselves, and no others; the accounts stay right.
func TestDamagedRecordsAreCounted(t *testing.T) {
	d, c := newDisk(t), newCloud(false)
	b := newBox(t, Options{Storage: d, Connector: c, Memory: 1, Routes: []Route{{Name: "r"}}})
	for i := range 200 {
		_ = offer(t, b, msg("d", fmt.Sprint(i)))
	}
	d.flush()
	d.mu.Lock()
	for seq := range d.kept {
		if seq > 100 && seq%2 == 0 {
			delete(d.kept, seq)
		}
	}
	d.mu.Unlock()
	pumping(t, b)
	c.set(true)
	eventually(t, "the outbox is empty", func() bool { return b.Stats().Messages == 0 })
	s := b.Stats()
	if s.Dropped[ReasonUnreadable] != 50 || s.Acked != 150 || s.Bytes != 0 || unbalanced(s) != "" {
		t.Errorf("%+v %s", s, unbalanced(s))
	}
	var got []int
	for _, text := range c.seen() {
		n, _ := strconv.Atoi(strings.TrimPrefix(text, "d "))
		got = append(got, n)
	}
	if !slices.IsSorted(got) {
		t.Errorf("out of order: %v", got)
	}
}

// Two devices have two streams, and so have two routes of one; a publisher without a device has its own.
func TestStreamsAreApart(t *testing.T) {
	seen := map[message.StreamID]string{}
	for _, device := range []string{"", "d", "d2"} {
		for _, route := range []string{"r", "r2"} {
			for _, key := range []string{"device:d", "user:u"} {
				m := msg(device, "x")
				m.Publisher.Key = key
				name := m.Source() + " by " + route
				if other, twice := seen[message.StreamOf(m, route)]; twice && other != name {
					t.Errorf("%s and %s are one stream", name, other)
				}
				seen[message.StreamOf(m, route)] = name
			}
		}
	}
	if len(seen) != 8 {
		t.Errorf("%d streams", len(seen))
	}
}

// taken is a disk that yields what it is told of one more stream.
type taken struct {
	*disk
	stream message.StoredStream
}

func (d *taken) Streams(yield func(message.StoredStream) error) error {
	if err := d.disk.Streams(yield); err != nil {
		return err
	}
	return yield(d.stream)
}

// Numbers that the storage names as taken, of which nothing can be read, are not given again.
func TestTakenNumbersAreNotGivenAgain(t *testing.T) {
	d := newDisk(t)
	b := newBox(t, Options{Storage: &taken{d, message.StoredStream{Last: 7}}, Connector: newCloud(false), Routes: []Route{{Name: "r"}}})
	if s := b.Stats(); s.Messages != 0 || s.Restored != 0 || len(s.Dropped) != 0 {
		t.Errorf("accounted: %+v", s)
	}
	_ = offer(t, b, msg("d", "x"))
	d.flush()
	if list := d.sorted(); len(list) != 1 || list[0].Seq != 8 {
		t.Errorf("stored: %+v", list)
	}
}

// A refused message that the storage kept nevertheless is taken back, and holds up no acknowledged one.
func TestARefusedRecordIsTakenBack(t *testing.T) {
	d := newDisk(t)
	b := newBox(t, Options{Storage: d, Connector: newCloud(false), Routes: []Route{{Name: "r"}}})
	d.mu.Lock()
	d.fail, d.keeps = errors.New("half-way"), true
	d.mu.Unlock()
	if offer(t, b, msg("d", "refused")) == nil {
		t.Fatal("accepted")
	}
	d.flush()
	if n := d.count(); n != 0 {
		t.Errorf("%d records are left of a refused message", n)
	}
}

// Records that no account knows, before acknowledged messages on disk, hold up none of those.
func TestUnaccountedRecordsHoldUpNothing(t *testing.T) {
	for name, gap := range map[string]int{"before the stream": 0, "among the cold ones": 40} {
		t.Run(name, func(t *testing.T) {
			d, c := newDisk(t), newCloud(false)
			b := newBox(t, Options{Storage: d, Connector: c, Memory: 1, Routes: []Route{{Name: "other", Filter: "other"}, {Name: "r"}}})
			for i := range 20 {
				m := msg("d", fmt.Sprint("other ", i)) // so that the stream begins on disk
				m.Topic = "other"
				if err := offer(t, b, m); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 60 {
				if i == gap {
					b.mu.Lock()
					b.nextSeq++
					m := msg("d", "refused")
					q := message.StoredOutgoing{Stream: message.StreamOf(m, "r"), Seq: b.nextSeq, Size: 200, Route: "r", Topic: m.Topic, Message: m}
					b.mu.Unlock()
					d.mu.Lock()
					d.kept[q.Seq] = q
					d.mu.Unlock()
				}
				if err := offer(t, b, msg("d", fmt.Sprint(i))); err != nil {
					t.Fatal(err)
				}
			}
			pumping(t, b)
			c.set(true)
			eventually(t, "the outbox is empty", func() bool { return b.Stats().Messages == 0 })
			got := c.seen()
			if last := got[len(got)-1]; last != "d 59" || gap == 0 && len(got) != 80 {
				t.Errorf("%d sent, at last %q", len(got), last)
			}
			if s := b.Stats(); s.Bytes != 0 || s.Devices != 0 || unbalanced(s) != "" {
				t.Errorf("%+v %s", s, unbalanced(s))
			}
		})
	}
}

// A record that could not be read for a moment is sent to its own topic, once it can be read.
func TestAMomentsReadErrorKeepsTheTopic(t *testing.T) {
	d, c := newDisk(t), newCloud(false)
	b := newBox(t, Options{Storage: d, Connector: c, Memory: 1, Routes: []Route{{Name: "r"}}})
	for i := range 20 {
		_ = offer(t, b, msg("d", fmt.Sprint(i)))
	}
	d.flush()
	b.mu.Lock()
	f := b.flows["d"][0]
	d.mu.Lock()
	d.blind = errors.New("for a moment")
	d.mu.Unlock()
	b.load(f)
	d.mu.Lock()
	d.blind = nil
	d.mu.Unlock()
	b.mu.Unlock()
	pumping(t, b)
	c.set(true)
	eventually(t, "the outbox is empty", func() bool { return b.Stats().Messages == 0 })
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.topics) != 20 || slices.ContainsFunc(c.topics, func(s string) bool { return s != "t/d" }) {
		t.Errorf("sent to %q", c.topics)
	}
}
