package upstream

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic/mapping"
)

func code(err error) string {
	var r *message.Refused
	if errors.As(err, &r) {
		return fmt.Sprintf("%02x %s", r.Code, r.Reason)
	}
	return fmt.Sprint(err)
}

func TestOverflowPolicies(t *testing.T) {
	for _, tc := range []struct {
		name     string
		limits   Limits
		overflow Overflow
		want     []string // answers to five messages of d1
		other    string   // then one of d2
		left     []string
	}{
		{
			"refuse by device", Limits{DeviceMessages: 3}, Refuse,
			[]string{"<nil>", "<nil>", "<nil>", "97 outbox-full", "97 outbox-full"}, "<nil>",
			[]string{"1", "2", "3", "x"},
		},
		{
			"refuse by all", Limits{Messages: 3}, Refuse,
			[]string{"<nil>", "<nil>", "<nil>", "97 outbox-full", "97 outbox-full"}, "97 outbox-full",
			[]string{"1", "2", "3"},
		},
		{
			"refuse by bytes", Limits{Bytes: 3 * 133}, Refuse,
			[]string{"<nil>", "<nil>", "97 outbox-full", "97 outbox-full", "97 outbox-full"}, "97 outbox-full",
			[]string{"1", "2"},
		},
		{
			"newest by device", Limits{DeviceMessages: 3}, DropNewest,
			[]string{"<nil>", "<nil>", "<nil>", "<nil>", "<nil>"}, "<nil>", []string{"1", "2", "3", "x"},
		},
		{
			"oldest by device", Limits{DeviceMessages: 3}, DropOldest,
			[]string{"<nil>", "<nil>", "<nil>", "<nil>", "<nil>"}, "<nil>", []string{"3", "4", "5", "x"},
		},
		{
			"oldest by all", Limits{Messages: 3}, DropOldest, []string{"<nil>", "<nil>", "<nil>", "<nil>", "<nil>"},
			"<nil>", []string{"4", "5", "x"},
		},
		{
			"oldest by device bytes", Limits{DeviceBytes: 300}, DropOldest,
			[]string{"<nil>", "<nil>", "<nil>", "<nil>", "<nil>"}, "<nil>", []string{"4", "5", "x"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDisk(t)
			b := newBox(
				t,
				Options{Storage: d, Connector: newCloud(false), Limits: tc.limits, Routes: []Route{{Name: "r", Overflow: tc.overflow}}},
			)
			for i, want := range tc.want {
				if got := code(offer(t, b, msg("d1", fmt.Sprint(i+1)))); got != want {
					t.Errorf("message %d: %s, want %s", i+1, got, want)
				}
			}
			if got := code(offer(t, b, msg("d2", "x"))); got != tc.other {
				t.Errorf("another device: %s, want %s", got, tc.other)
			}
			d.flush()
			left := d.payloads()
			if diff := cmp.Diff(tc.left, left); diff != "" {
				t.Error(diff)
			}
			s := b.Stats()
			if s.Messages != len(tc.left) {
				t.Errorf("%d accounted, %d stored", s.Messages, len(tc.left))
			}
			lost := s.Dropped[ReasonOldest] + s.Dropped[ReasonNewest] + s.Refused[ReasonFull]
			if int(lost) != 6-len(tc.left) {
				t.Errorf("%d counted as lost: %+v", lost, s)
			}
		})
	}
}

func TestPromisedMessagesAreNeverDroppedForOthers(t *testing.T) {
	d := newDisk(t)
	b := newBox(t, Options{Storage: d, Connector: newCloud(false), Limits: Limits{Messages: 2},
		Routes: []Route{{Name: "safe", Filter: "t/safe"}, {Name: "loose", Overflow: DropOldest}}})
	for _, device := range []string{"safe", "safe"} {
		if err := offer(t, b, msg(device, "kept")); err != nil {
			t.Fatal(err)
		}
	}
	if got := code(offer(t, b, msg("d", "x"))); got != "97 outbox-full" {
		t.Errorf("a drop-oldest route took capacity from another: %s", got)
	}
}

func TestNoRouteNoLoop(t *testing.T) {
	b := newBox(
		t,
		Options{
			Storage:   newDisk(t),
			Connector: newCloud(false),
			Routes:    []Route{{Name: "r", Filter: "a/#", Topics: []mapping.Rule{{Filter: "#", Topic: "up/{device}/{topic}", QoS: 1}}}},
		},
	)
	called := func(error) { t.Error("done was called") }
	m := msg("d", "x")
	if b.Offer(m, nil, called) {
		t.Error("a topic without a route was taken")
	}
	m.Topic = "a/b"
	m.Publisher = &principal.Principal{Kind: principal.Upstream}
	if b.Offer(m, nil, called) {
		t.Error("what came from upstream goes back")
	}
	m.Publisher = &principal.Principal{Kind: principal.Device}
	m.Via.Handling = message.TwinReported
	if b.Offer(m, nil, called) {
		t.Error("a handling that the route does not take")
	}
	m.Via.Handling = message.Telemetry
	m.Via.Device = "a+b"
	if got := code(offer(t, b, m)); !strings.HasPrefix(got, "90 ") {
		t.Errorf("a wildcard in the upstream topic: %s", got)
	}
	m.Via.Device = strings.Repeat("d", MaxTopic)
	if got := code(offer(t, b, m)); !strings.HasPrefix(got, "90 ") {
		t.Errorf("a topic of more than 65535 bytes: %s", got)
	}
}

func TestRouteMistakesAreNamed(t *testing.T) {
	_, bad := New(Options{Routes: []Route{
		{Name: "a"}, {Name: "a"}, {Name: "b", Filter: "x/#/y"},
		{Name: "c", Topics: []mapping.Rule{{Filter: "#", Topic: "{nobody}"}}},
		{Name: "d", Topics: []mapping.Rule{{Filter: "#", To: "a/#"}}},
	}})
	if len(bad) != 4 {
		t.Errorf("%v", bad)
	}
}

func TestStorageFailureIsARefusal(t *testing.T) {
	d := newDisk(t)
	b := newBox(t, Options{Storage: d, Connector: newCloud(false), Routes: []Route{{Name: "r"}}})
	d.fail = errors.New("broken")
	if got := code(offer(t, b, msg("d", "x"))); got != "83 store-failed" {
		t.Error(got)
	}
	d.fail = coded("disk-full")
	if got := code(offer(t, b, msg("d", "x"))); got != "97 disk-full" {
		t.Error(got)
	}
	if s := b.Stats(); s.Messages != 0 || s.Bytes != 0 || s.Devices != 0 {
		t.Errorf("refused messages are accounted: %+v", s)
	}
	d.fail = nil
	if err := offer(t, b, msg("d", "x")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

type coded string

func (c coded) Error() string  { return string(c) }
func (c coded) Reason() string { return string(c) }

func TestAnswersComeInOrder(t *testing.T) {
	d := newDisk(t)
	b := newBox(t, Options{Storage: d, Connector: newCloud(false), Limits: Limits{DeviceMessages: 50}, Routes: []Route{{Name: "r"}}})
	var mu sync.Mutex
	var got []int
	var group sync.WaitGroup
	for i := range 200 {
		group.Add(1)
		m := msg(fmt.Sprint("d", i%3), "x")
		m.QoS = byte(i % 2)
		b.Offer(m, nil, func(error) { mu.Lock(); got = append(got, i); mu.Unlock(); group.Done() })
	}
	group.Wait()
	for i, v := range got {
		if i != v {
			t.Fatalf("answer %d came at place %d", v, i)
		}
	}
}

func TestWhatExpiresIsNotSent(t *testing.T) {
	d := newDisk(t)
	now := time.Unix(1000, 0)
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	c := newCloud(false)
	b := newBox(t, Options{Storage: d, Connector: c, Now: clock, Routes: []Route{{Name: "r", TTL: time.Minute}}})
	own := msg("d", "own expiry")
	own.Expires = time.Unix(1010, 0)
	for _, m := range []*message.Message{msg("d", "old"), own} {
		if err := offer(t, b, m); err != nil {
			t.Fatal(err)
		}
	}
	set := func(to int64) {
		mu.Lock()
		defer mu.Unlock()
		now = time.Unix(to, 0)
	}
	set(1050)
	fresh := msg("d", "fresh")
	fresh.Accepted = time.Unix(1050, 0)
	_ = offer(t, b, fresh)
	set(1061)
	pumping(t, b)
	c.set(true)
	eventually(t, "the outbox is empty", func() bool { return b.Stats().Messages == 0 })
	if diff := cmp.Diff([]string{"d fresh"}, c.seen()); diff != "" {
		t.Error(diff)
	}
	if n := b.Stats().Dropped[ReasonExpired]; n != 2 {
		t.Errorf("%d expired", n)
	}
}

func TestOpenCountsAndSendsWhatWasStored(t *testing.T) {
	d := newDisk(t)
	c := newCloud(false)
	routes := []Route{{Name: "r", Topics: []mapping.Rule{{Filter: "#", To: "up/", QoS: 1}}}}
	b := newBox(t, Options{Storage: d, Connector: c, Routes: routes})
	for i := range 20 {
		if err := offer(t, b, msg(fmt.Sprint("d", i%2), fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	d.flush()
	// The next process has another configuration: what was promised keeps its topic.
	b = newBox(t, Options{Storage: d, Connector: c, Routes: []Route{{Name: "other"}}, Memory: 1})
	if s := b.Stats(); s.Messages != 20 || s.Devices != 2 || s.Bytes == 0 {
		t.Errorf("after a restart: %+v", s)
	}
	if err := offer(t, b, msg("d0", "new")); err != nil {
		t.Fatal(err)
	}
	pumping(t, b)
	c.set(true)
	eventually(t, "everything is sent and removed", func() bool { return b.Stats().Messages == 0 && d.count() == 0 })
	if c.topics[0] != "up/t/d0" && c.topics[0] != "up/t/d1" {
		t.Errorf("first topic %q", c.topics[0])
	}
	if s := b.Stats(); s.Bytes != 0 || s.Devices != 0 || s.Inflight != 0 || s.Acked != 21 {
		t.Errorf("afterwards: %+v", s)
	}
}

func TestAStuckMessageKeepsNothingElseInMemory(t *testing.T) {
	d, c := newDisk(t), newCloud(true)
	c.lanes = func(device string) string { return device }
	c.deliver = func(k *cloudConn, _ *message.Message) (bool, bool) { return k.lane != "stuck", false }
	b := newBox(t, Options{Storage: d, Connector: c, Routes: []Route{{Name: "r"}}})
	pumping(t, b)
	_ = offer(t, b, msg("stuck", "x"))
	for i := range 2000 {
		_ = offer(t, b, msg("fine", fmt.Sprint(i)))
	}
	eventually(t, "the others are through", func() bool { return b.Stats().Messages == 1 })
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, byPriority := range b.flows {
		for _, f := range byPriority {
			n += len(f.items)
		}
	}
	if n > 100 {
		t.Errorf("%d items remembered for one message", n)
	}
}

// A quota counts what a client hides in properties, too.
func TestPropertiesCountAgainstTheQuota(t *testing.T) {
	b := newBox(
		t,
		Options{Storage: newDisk(t), Connector: newCloud(false), Limits: Limits{DeviceBytes: 64 << 10}, Routes: []Route{{Name: "r"}}},
	)
	var got []string
	for range 5 {
		m := msg("d", "x")
		m.Props.User = []message.UserProperty{{Key: "k", Value: strings.Repeat("v", 20<<10)}}
		got = append(got, code(offer(t, b, m)))
	}
	if diff := cmp.Diff([]string{"<nil>", "<nil>", "<nil>", "97 outbox-full", "97 outbox-full"}, got); diff != "" {
		t.Error(diff)
	}
}

// The last waiting message of a device makes way for its next one: that one
// must still find its way, whatever of the device was forgotten meanwhile.
func TestAMessageThatReplacedTheLastOneIsSent(t *testing.T) {
	for name, o := range map[string]Options{
		"expired":     {Routes: []Route{{Name: "r", TTL: time.Minute}}},
		"drop-oldest": {Routes: []Route{{Name: "r", Overflow: DropOldest}}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(false)
			o.Storage, o.Connector, o.Limits = newDisk(t), c, Limits{DeviceMessages: 1}
			now := time.Unix(1000, 0)
			o.Now = func() time.Time { return now }
			if err := offer(t, newBox(t, o), msg("d", "old")); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Hour)
			b := newBox(t, o) // after a restart, still offline
			next := msg("d", "next")
			next.Accepted = now
			if err := offer(t, b, next); err != nil {
				t.Fatal(err)
			}
			pumping(t, b)
			c.set(true)
			eventually(t, "the outbox is empty", func() bool { return b.Stats().Messages == 0 })
			if diff := cmp.Diff([]string{"d next"}, c.seen()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A wall clock that is set (a machine without one comes up in 1970 and is told
// the time later) expires nothing that was just acknowledged; what waits ages by the time
// that passes, and over a restart by the clock.
func TestASetClockExpiresNothing(t *testing.T) {
	c, d := newCloud(false), newDisk(t)
	now, elapsed := time.Unix(1000, 0), time.Duration(0)
	o := Options{Storage: d, Connector: c, Routes: []Route{{Name: "r", TTL: time.Hour}},
		Now: func() time.Time { return now }, Elapsed: func() time.Duration { return elapsed }}
	b := newBox(t, o)
	own := msg("d", "own expiry")
	own.Expires = own.Accepted.Add(time.Minute)
	for _, m := range []*message.Message{own, msg("d", "ttl")} {
		if err := offer(t, b, m); err != nil {
			t.Fatal(err)
		}
	}
	waits := func(b *Outbox) int {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.swept = time.Time{}
		b.sweep()
		return b.total.messages
	}
	now, elapsed = time.Unix(1_800_000_000, 0), time.Second
	if n := waits(b); n != 2 {
		t.Errorf("%d of 2 wait after the clock was set", n)
	}
	if elapsed = 2 * time.Minute; waits(b) != 1 {
		t.Error("its own expiry does not count by the time that passed")
	}
	if elapsed = 2 * time.Hour; waits(b) != 0 {
		t.Error("the TTL does not count by the time that passed")
	}
	d.flush()
	now = time.Unix(1000, 0)
	_ = offer(t, b, msg("d", "kept"))
	now, elapsed = now.Add(2*time.Hour), 0
	if n := waits(newBox(t, o)); n != 0 {
		t.Errorf("%d wait, two hours old after a restart", n)
	}
}
