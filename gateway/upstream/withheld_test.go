package upstream

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// publisher offers messages that may wait, and knows what became of them.
type publisher struct {
	mu    sync.Mutex
	begun int
	code  byte // of Still
	ended []string
}

func (p *publisher) offer(b *Outbox, m *message.Message) {
	wait := &message.Wait{
		Begun: func() { p.mu.Lock(); p.begun++; p.mu.Unlock() },
		Still: func() byte { p.mu.Lock(); defer p.mu.Unlock(); return p.code },
	}
	b.Offer(m, wait, func(err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ended = append(p.ended, strings.TrimSuffix(string(m.Payload)+" "+code(err), " <nil>"))
	})
}

func (p *publisher) set(code byte) { p.mu.Lock(); p.code = code; p.mu.Unlock() }

func (p *publisher) seen() (begun int, ended []string) {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begun, slices.Clone(p.ended)
}

func numbered(from, to int) (list []string) {
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

// What finds the outbox full waits, and goes upstream in the order in which it was offered, behind
// nothing of its publisher that came later, whichever limit it was.
func TestWithheldInOrder(t *testing.T) {
	for name, limits := range map[string]Limits{
		"device": {DeviceMessages: 3, Messages: 1000},
		"all":    {Messages: 3},
		"bytes":  {Bytes: 3 * 140},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCloud(false)
				b := newBox(t, Options{Storage: newDisk(t), Connector: c, Limits: limits, Routes: []Route{{Name: "r"}}})
				p := &publisher{}
				for _, n := range numbered(1, 20) {
					p.offer(b, msg("d", n))
				}
				if begun, ended := p.seen(); begun != 17 || !slices.Equal(ended, numbered(1, 3)) {
					t.Fatalf("%d wait, answered %v", begun, ended)
				}
				if st := b.Stats(); st.Withheld != 17 || st.Messages != 3 || st.Refused[ReasonFull] != 0 {
					t.Errorf("%+v", st)
				}
				if got := code(offer(t, b, msg("d", "overtakes"))); got != "97 outbox-full" {
					t.Errorf("who cannot wait: %q", got)
				}
				stop := pumping(t, b)
				defer stop()
				c.set(true)
				if _, ended := p.seen(); !slices.Equal(ended, numbered(1, 20)) {
					t.Errorf("answered %v", ended)
				}
				var want []string
				for _, n := range numbered(1, 20) {
					want = append(want, "d "+n)
				}
				if !slices.Equal(c.received, want) {
					t.Errorf("upstream has %v", c.received)
				}
				if st := b.Stats(); st.Withheld != 0 || st.WithheldBytes != 0 || st.Accepted != 20 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// While one waits, a later one of the same publisher that would fit does not overtake it.
func TestWithheldIsNotOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(false)
		b := newBox(t, Options{Storage: newDisk(t), Connector: c, Limits: Limits{Bytes: 1000}, Routes: []Route{{Name: "r"}}})
		p, small := &publisher{}, msg("d", "small")
		p.offer(b, msg("d", strings.Repeat("a", 500)))
		p.offer(b, msg("d", strings.Repeat("b", 500)))
		p.offer(b, small)
		if got := code(offer(t, b, msg("d", "small"))); got != "97 outbox-full" {
			t.Errorf("a small one that cannot wait: %q", got)
		}
		if err := offer(t, b, msg("other", "small")); err != nil {
			t.Errorf("another publisher: %v", err)
		}
		stop := pumping(t, b)
		defer stop()
		c.set(true)
		if _, ended := p.seen(); len(ended) != 3 || ended[2] != "small" {
			t.Errorf("%d answered, at the end %q", len(ended), ended[len(ended)-1])
		}
	})
}

// A message that is larger than the limits waits for nothing.
func TestLargerThanTheLimit(t *testing.T) {
	for _, limits := range []Limits{{Bytes: 300}, {DeviceBytes: 300}} {
		synctest.Test(t, func(t *testing.T) {
			b := newBox(t, Options{Storage: newDisk(t), Connector: newCloud(false), Limits: limits, Routes: []Route{{Name: "r"}}})
			p := &publisher{}
			p.offer(b, msg("d", strings.Repeat("x", 300)))
			if begun, ended := p.seen(); begun != 0 || len(ended) != 1 || !strings.HasSuffix(ended[0], "95 "+ReasonUnsendable) {
				t.Errorf("%d wait; %v", begun, ended)
			}
		})
	}
}

// What nobody waits for any more is given up, with the code of Still, and what a right was lost
// for is not taken.
func TestWithheldIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(false)
		b := newBox(t, Options{Storage: newDisk(t), Connector: c, Limits: Limits{Messages: 1}, Routes: []Route{{Name: "r"}}})
		_ = offer(t, b, msg("first", "0"))
		gone, there := &publisher{}, &publisher{}
		gone.offer(b, msg("gone", "1"))
		there.offer(b, msg("there", "2"))
		gone.set(message.NotAuthorized)
		stop := pumping(t, b)
		defer stop()
		c.set(true)
		if _, ended := gone.seen(); !slices.Equal(ended, []string{"1 87 outbox-full"}) {
			t.Errorf("given up: %v", ended)
		}
		if _, ended := there.seen(); !slices.Equal(ended, []string{"2"}) {
			t.Errorf("the other: %v", ended)
		}
		if slices.Contains(c.received, "gone 1") {
			t.Error("it was sent")
		}
	})
}

// What comes from a connection that has ended is not taken: those before it were given up, and
// would come after it when the client sends them again.
func TestWhoHasGoneOffersNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Options{Storage: newDisk(t), Connector: newCloud(false), Routes: []Route{{Name: "r"}}})
		p := &publisher{code: message.UnspecifiedError}
		p.offer(b, msg("d", "1"))
		if _, ended := p.seen(); !slices.Equal(ended, []string{"1 80 outbox-full"}) || b.Stats().Messages != 0 {
			t.Errorf("answered %v", ended)
		}
	})
}

// Publishers take turns, and one whose own limit is full holds up nobody.
func TestWithheldTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(false)
		c.lanes = func(device string) string { return device }
		c.deliver = func(k *cloudConn, _ *message.Message) (bool, bool) { return k.lane != "stuck", false }
		limits := Limits{Messages: 2, DeviceMessages: 1}
		b := newBox(t, Options{Storage: newDisk(t), Connector: c, Limits: limits, Routes: []Route{{Name: "r"}}})
		_ = offer(t, b, msg("stuck", "0"))
		_ = offer(t, b, msg("a", "0"))
		stuck, p := &publisher{}, &publisher{}
		stuck.offer(b, msg("stuck", "1"))
		for _, n := range numbered(1, 3) {
			p.offer(b, msg("a", "a"+n))
			p.offer(b, msg("b", "b"+n))
		}
		stop := pumping(t, b)
		defer stop()
		c.set(true)
		first, second := []string{"a1", "b1", "a2", "b2", "a3", "b3"}, []string{"b1", "a1", "b2", "a2", "b3", "a3"}
		if _, ended := p.seen(); !slices.Equal(ended, first) && !slices.Equal(ended, second) { // either may be the first
			t.Errorf("answered %v", ended)
		}
		if _, ended := stuck.seen(); len(ended) > 0 {
			t.Errorf("stuck has %v", ended)
		}
	})
}

// What waits has a bound. Above it a message is refused, and so is all that its publisher offers
// behind it, until the one who was refused has gone: his repetition must not come late.
func TestWithheldHaveABound(t *testing.T) {
	for name, memory := range map[string]int64{"of a publisher": 0, "of all": 4 * (itemBytes + 200)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCloud(false)
				b := newBox(t, Options{
					Storage:   newDisk(t),
					Connector: c,
					Limits:    Limits{Messages: 1},
					Memory:    memory,
					Routes:    []Route{{Name: "r"}},
				})
				_ = offer(t, b, msg("d", "0"))
				p := &publisher{}
				size := 40
				if memory == 0 {
					size = 64 << 10
				}
				n := 0
				for begun := -1; n < 1000; n++ {
					p.offer(b, msg("d", strings.Repeat("x", size)))
					now, _ := p.seen()
					if now == begun {
						break
					}
					begun = now
				}
				if n < 4 || n > 9 {
					t.Fatalf("%d wait", n)
				}
				stop := pumping(t, b)
				defer stop()
				c.set(true)
				time.Sleep(time.Minute)
				if begun, ended := p.seen(); begun != n || len(ended) != n+1 {
					t.Errorf("%d of %d waited, %d answered", begun, n, len(ended))
				}
				next := &publisher{}
				next.offer(b, msg("d", "behind"))
				time.Sleep(time.Minute)
				if _, ended := next.seen(); len(ended) > 0 {
					t.Errorf("taken before the repetition of the refused one: %v", ended)
				}
				p.set(message.UnspecifiedError)
				time.Sleep(2 * storeRetry)
				if _, ended := next.seen(); !slices.Equal(ended, []string{"behind"}) {
					t.Errorf("after its end: %v", ended)
				}
				if st := b.Stats(); st.Withheld != 0 || st.WithheldBytes != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// Those of connections that have ended do not count against the bound.
func TestWithheldOfTheGoneMakeWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Options{Storage: newDisk(t), Connector: newCloud(false), Limits: Limits{Messages: 1}, Routes: []Route{{Name: "r"}}})
		_ = offer(t, b, msg("d", "0"))
		for range 100 {
			p := &publisher{}
			p.offer(b, msg("d", strings.Repeat("x", 64<<10)))
			p.offer(b, msg("d", "y"))
			if begun, _ := p.seen(); begun != 2 {
				t.Fatalf("%d of 2 wait", begun)
			}
			p.set(message.UnspecifiedError)
		}
		if st := b.Stats(); st.WithheldBytes > maxWithheld+128<<10 {
			t.Errorf("%d bytes", st.WithheldBytes)
		}
	})
}

// A disk without space is tried again, in order, also when one message finds space that an earlier
// one had not found.
func TestWithheldForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDisk(t), newCloud(true)
		b := newBox(t, Options{Storage: d, Connector: c, Routes: []Route{{Name: "r"}}})
		stop := pumping(t, b)
		defer stop()
		held := make(chan struct{})
		d.tasks <- func() { <-held; d.mu.Lock(); d.fail = coded("disk-full"); d.mu.Unlock() }
		p := &publisher{}
		p.offer(b, msg("d", "1"))
		p.offer(b, msg("d", "2"))
		d.tasks <- func() { d.mu.Lock(); d.fail = nil; d.mu.Unlock() }
		p.offer(b, msg("d", "3"))
		close(held)
		if begun, ended := p.seen(); begun != 3 || len(ended) > 0 {
			t.Errorf("%d wait; answered %v", begun, ended)
		}
		p.offer(b, msg("d", "4"))
		time.Sleep(storeRetry)
		if _, ended := p.seen(); !slices.Equal(ended, numbered(1, 4)) {
			t.Errorf("answered %v", ended)
		}
		if !slices.Equal(c.received, []string{"d 1", "d 2", "d 3", "d 4"}) {
			t.Errorf("upstream has %v", c.received)
		}
		if len(d.kept) > 0 {
			t.Errorf("left on disk: %v", d.kept)
		}
	})
}

// A route that makes room for itself is not held up by a message that waits on a route that refuses.
func TestARouteThatDropsDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		b := newBox(t, Options{
			Storage:   d,
			Connector: newCloud(false),
			Limits:    Limits{DeviceMessages: 3},
			Routes:    []Route{{Name: "safe", Filter: "t/d"}, {Name: "loose", Overflow: DropOldest}},
		})
		p := &publisher{}
		loose := func(s string) *message.Message {
			m := msg("d", s)
			m.Topic = "t/loose"
			return m
		}
		for _, m := range []*message.Message{loose("A"), msg("d", "B"), msg("d", "C"), msg("d", "waits"), loose("E"), loose("F")} {
			p.offer(b, m)
			p.seen()
		}
		if begun, ended := p.seen(); begun != 1 || !slices.Equal(ended, []string{"A", "B", "C", "E", "F"}) {
			t.Errorf("%d wait; answered %v", begun, ended)
		}
		if got := d.payloads(); !slices.Equal(got, []string{"B", "C", "F"}) {
			t.Errorf("stored: %v", got)
		}
	})
}
