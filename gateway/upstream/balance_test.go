package upstream

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

func unbalanced(s Stats) string {
	sum := s.Acked + uint64(s.Waiting) + s.Aside
	for _, n := range s.Dropped {
		sum += n
	}
	if s.Waiting < 0 || s.Restored+s.Accepted != sum {
		return fmt.Sprintf(
			"%d restored + %d accepted, but %d acknowledged + %d waiting + %v dropped",
			s.Restored,
			s.Accepted,
			s.Acked,
			s.Waiting,
			s.Dropped,
		)
	}
	return ""
}

// TestWhatIsAcceptedIsAccountedFor holds the sum that people read, at every
// moment of a run in which the link is lost, devices are deleted, limits are
// met, messages expire, cannot be sent, cannot be stored, and the gateway starts again.
func TestWhatIsAcceptedIsAccountedFor(t *testing.T) { synctest.Test(t, accountedFor) }

func accountedFor(t *testing.T) {
	d, c := newDisk(t), newCloud(true)
	var mu sync.Mutex
	deleted := map[string]bool{}
	c.lanes = func(device string) string {
		mu.Lock()
		defer mu.Unlock()
		if deleted[device] {
			return "" // it has no connection of its own any more
		}
		return device
	}
	rng := rand.New(rand.NewPCG(1, 2))
	c.deliver = func(*cloudConn, *message.Message) (bool, bool) { // some are lost with their connection
		if !c.open {
			return false, true
		}
		switch rng.IntN(20) {
		case 0:
			return false, true
		case 1:
			return true, true // its acknowledgement comes, and the connection ends all the same
		}
		return true, false
	}
	now := time.Unix(1000, 0)
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	o := Options{
		Storage:   d,
		Connector: &picky{c},
		Window:    4,
		Now:       clock,
		Limits:    Limits{DeviceMessages: 5},
		Log:       slog.New(slog.DiscardHandler),
		Routes: []Route{
			{
				Name:     "old",
				Filter:   "t/a",
				Overflow: DropOldest,
				TTL:      time.Minute,
			},
			{Name: "new", Filter: "t/b", Overflow: DropNewest},
			{Name: "rest"},
		},
	}
	var offered uint64
	var first, last Stats
	var durable uint64 // of those that wait at the end: the others are QoS 0, for a lane that has not begun yet
	for round := range 2 {
		b := newBox(t, o)
		if round == 0 {
			first = b.Stats()
		} else if s := b.Stats(); s.Restored != durable || s.Restored == 0 {
			t.Errorf("%d restored, %d of %d that had waited were to last", s.Restored, durable, last.Waiting)
		}
		c.set(true)
		stop := pumping(t, b)
		end := make(chan struct{})
		var watcher sync.WaitGroup
		watcher.Go(func() {
			for {
				if bad := unbalanced(b.Stats()); bad != "" {
					t.Errorf("in between: %s", bad)
					return
				}
				select {
				case <-end:
					return
				case <-time.After(time.Millisecond):
				}
			}
		})
		lose := func() {
			eventually(t, "the link is up", func() bool {
				if s := b.Stats(); s.Up > 0 || s.Messages > 0 {
					return s.Up > 0
				}
				_ = offer(t, b, msg("a", "fine")) // who has nothing to send does not connect
				offered++
				return false
			})
			c.set(false)
			for _, device := range []string{"a", "b", "c"} { // who has nothing to send does not notice
				_ = offer(t, b, msg(device, "fine"))
				offered++
			}
			eventually(t, "the link is lost", func() bool { return b.Stats().Up == 0 })
		}
		for i := range 600 {
			m := msg([]string{"a", "b", "c"}[i%3], []string{"fine", "fine", "fine", "too big"}[i%4])
			m.QoS, m.Accepted = byte(i/3%2), clock()
			switch i % 100 {
			case 20:
				lose()
				mu.Lock()
				now, deleted["c"] = now.Add(40*time.Second), i > 300
				mu.Unlock()
			case 60:
				c.set(true)
			case 70, 75:
				d.mu.Lock()
				d.fail = map[bool]error{true: fmt.Errorf("full")}[i%100 == 70]
				d.mu.Unlock()
			}
			_ = offer(t, b, m)
			offered++
			if bad := unbalanced(b.Stats()); bad != "" && !t.Failed() {
				t.Errorf("round %d, message %d: %s", round, i, bad)
			}
		}
		if round == 0 {
			lose()
			for range 3 {
				_ = offer(t, b, msg("late", "fine"))
			}
			offered += 3
			stop()
			d.flush()
		} else {
			c.set(true)
			eventually(t, "the outbox is empty", func() bool { return b.Stats().Messages == 0 })
			stop()
		}
		close(end)
		watcher.Wait()
		last, durable = b.Stats(), 0
		for _, byPriority := range b.flows {
			for _, f := range byPriority {
				durable += uint64(f.cold)
				for _, it := range f.items[f.head:] {
					if it.state != gone && !it.volatile {
						durable++
					}
				}
			}
		}
		if bad := unbalanced(last); bad != "" {
			t.Errorf("at the end: %s", bad)
		}
		refused := uint64(0)
		for _, n := range last.Refused {
			refused += n
		}
		if last.Accepted+refused != offered {
			t.Errorf("%d offered, %d accepted and %d refused", offered, last.Accepted, refused)
		}
		offered = 0
		for _, reason := range []string{ReasonOldest, ReasonNewest, ReasonOffline, ReasonUnsendable} {
			if round == 0 && last.Dropped[reason] == 0 {
				t.Errorf("none was dropped as %s: the run did not test it: %+v", reason, last)
			}
		}
		c.mu.Lock()
		c.received = slices.Clip(c.received[:0])
		c.mu.Unlock()
	}
	if first.Restored != 0 || last.Waiting != 0 {
		t.Errorf("restored at first %d, waiting at last %d", first.Restored, last.Waiting)
	}
}
