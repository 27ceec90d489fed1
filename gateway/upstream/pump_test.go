package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// TestOrderAndNoLossOverLostConnections compares with the naive oracle: each
// device's list, in order, repetitions of what was not acknowledged allowed.
func TestOrderAndNoLossOverLostConnections(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			pick, r := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2)) // r: under the cloud's lock
			d, c := newDisk(t), newCloud(true)
			if seed%2 == 1 {
				c.lanes = func(device string) string { return device[:2] }
			}
			c.deliver = func(k *cloudConn, _ *message.Message) (ack, hangup bool) {
				return r.IntN(3) > 0, r.IntN(60) == 0 || len(k.held) > 6
			}
			b := newBox(
				t,
				Options{Storage: d, Connector: c, Routes: []Route{{Name: "r"}}, Window: 8, Memory: 2000, AckWait: 200 * time.Millisecond},
			)
			pumping(t, b)
			want := map[string][]string{}
			for i := range 400 {
				device := fmt.Sprintf("d%d", pick.IntN(5))
				want[device] = append(want[device], fmt.Sprint(i))
				b.Offer(msg(device, fmt.Sprint(i)), nil, func(err error) {
					if err != nil {
						t.Error(err)
					}
				})
			}
			d.flush()
			c.mu.Lock() // from now on upstream acknowledges, and what it held back must come again
			c.deliver = func(*cloudConn, *message.Message) (bool, bool) { return true, r.IntN(100) == 0 }
			c.mu.Unlock()
			eventually(t, "everything is sent", func() bool { return b.Stats().Messages == 0 && d.count() == 0 })
			got := map[string][]string{}
			for _, s := range c.seen() {
				device, payload, _ := strings.Cut(s, " ")
				if !slices.Contains(got[device], payload) {
					got[device] = append(got[device], payload)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLiveTrafficDoesNotStarveBehindABacklog(t *testing.T) {
	d, c := newDisk(t), newCloud(false)
	release := make(chan struct{})
	c.deliver = func(k *cloudConn, _ *message.Message) (bool, bool) {
		if k.n == 3 {
			<-release
		}
		return true, false
	}
	b := newBox(t, Options{Storage: d, Connector: c, Routes: []Route{{Name: "r"}}, Window: 1})
	for i := range 500 {
		if err := offer(t, b, msg(fmt.Sprint("old", i%7), fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	pumping(t, b)
	c.set(true)
	eventually(t, "connected", func() bool { return b.Stats().Up == 1 })
	if err := offer(t, b, msg("live", "now")); err != nil {
		t.Fatal(err)
	}
	close(release)
	eventually(t, "the outbox is empty", func() bool { return b.Stats().Messages == 0 })
	if at := slices.Index(c.seen(), "live now"); at < 0 || at > 10 {
		t.Errorf("the live message came at place %d of 501", at)
	}
}

func TestPriorityOvertakes(t *testing.T) {
	d, c := newDisk(t), newCloud(false)
	b := newBox(
		t,
		Options{Storage: d, Connector: c, Window: 1, Routes: []Route{{Name: "alarm", Filter: "alarm/#", Priority: 5}, {Name: "r"}}},
	)
	for i := range 5 {
		_ = offer(t, b, msg("d", fmt.Sprint(i)))
	}
	m := msg("d", "fire")
	m.Topic = "alarm/fire"
	_ = offer(t, b, m)
	pumping(t, b)
	c.set(true)
	eventually(t, "the outbox is empty", func() bool { return b.Stats().Messages == 0 })
	if diff := cmp.Diff([]string{"d fire", "d 0", "d 1", "d 2", "d 3", "d 4"}, c.seen()); diff != "" {
		t.Error(diff)
	}
}

func TestAMessageThatUpstreamHangsUpOnHoldsOnlyItsDevice(t *testing.T) {
	d, c := newDisk(t), newCloud(true)
	c.deliver = func(_ *cloudConn, m *message.Message) (bool, bool) {
		poison := string(m.Payload) == "poison"
		return !poison, poison
	}
	b := newBox(t, Options{Storage: d, Connector: c, Window: 1, Routes: []Route{{Name: "r"}}})
	_ = offer(t, b, msg("bad", "poison"))
	for i := range 30 {
		_ = offer(t, b, msg(fmt.Sprint("good", i%3), fmt.Sprint(i)))
	}
	pumping(t, b)
	eventually(t, "the others got through", func() bool { return b.Stats().Messages == 1 })
	if d.flush(); d.count() != 1 {
		t.Errorf("%d stored: the message must wait, not vanish", d.count())
	}
}

func TestUnsendableAndUnreadableAreDroppedAndCounted(t *testing.T) {
	d, c := newDisk(t), newCloud(false)
	b := newBox(t, Options{Storage: d, Connector: picky{c}, Memory: 1, Routes: []Route{{Name: "r"}}})
	for _, p := range []string{"too big", "fine"} {
		_ = offer(t, b, msg("d", p))
	}
	d.flush()
	pumping(t, b)
	c.set(true)
	eventually(t, "the outbox is empty", func() bool { return b.Stats().Messages == 0 && d.count() == 0 })
	if s := b.Stats(); s.Dropped[ReasonUnsendable] != 1 || s.Acked != 1 {
		t.Errorf("%+v", s)
	}
	d.mu.Lock()
	d.blind = errors.New("damaged")
	d.mu.Unlock()
	_ = offer(t, b, msg("d", "x"))
	eventually(t, "the unreadable one is given up", func() bool { return b.Stats().Dropped[ReasonUnreadable] == 1 })
}

// picky is a cloud that cannot take some messages.
type picky struct{ *cloud }

func (p picky) Connect(ctx context.Context, lane string) (Conn, error) {
	k, err := p.cloud.Connect(ctx, lane)
	return pickyConn{k}, err
}

type pickyConn struct{ Conn }

func (k pickyConn) Send(topic string, m *message.Message, acked func(error)) error {
	if string(m.Payload) == "too big" {
		return fmt.Errorf("%w: too big", ErrUnsendable)
	}
	return k.Conn.Send(topic, m, acked)
}

func TestQoS0IsSentWhileConnectedAndForgottenElse(t *testing.T) {
	d, c := newDisk(t), newCloud(true)
	b := newBox(t, Options{Storage: d, Connector: c, Routes: []Route{{Name: "r"}}})
	pumping(t, b)
	_ = offer(t, b, msg("d", "durable"))
	m := msg("d", "fast")
	m.QoS = 0
	eventually(t, "connected", func() bool { return b.Stats().Up == 1 })
	_ = offer(t, b, m)
	eventually(t, "both sent", func() bool { return len(c.seen()) == 2 })
	c.mu.Lock()
	c.open = false
	c.deliver = func(*cloudConn, *message.Message) (bool, bool) { return false, true }
	c.mu.Unlock()
	_ = offer(t, b, msg("d", "after"))
	eventually(t, "disconnected", func() bool { return b.Stats().Up == 0 })
	if err := offer(t, b, m); err != nil {
		t.Error(err)
	}
	if s := b.Stats(); s.Dropped[ReasonOffline] != 1 || s.Messages != 1 {
		t.Errorf("%+v", s)
	}
}

func TestReplayIsLimitedLiveIsNot(t *testing.T) {
	d, c := newDisk(t), newCloud(false)
	b := newBox(t, Options{Storage: d, Connector: c, Replay: 2, Routes: []Route{{Name: "r"}}})
	for i := range 50 {
		_ = offer(t, b, msg(fmt.Sprint("old", i), fmt.Sprint(i)))
	}
	pumping(t, b)
	began := time.Now()
	c.set(true)
	eventually(t, "connected", func() bool { return b.Stats().Up == 1 })
	for i := range 50 {
		_ = offer(t, b, msg(fmt.Sprint("live", i), "x"))
	}
	live := func() (n int) {
		for _, s := range c.seen() {
			if strings.HasPrefix(s, "live") {
				n++
			}
		}
		return n
	}
	eventually(t, "all live messages", func() bool { return live() == 50 })
	old := len(c.seen()) - 50
	if took := time.Since(began); float64(old) > 2+2*took.Seconds() {
		t.Errorf("%d of the backlog sent in %v, at 2 a second", old, took)
	}
}

func TestLaneFollowsItsDevice(t *testing.T) {
	d, c := newDisk(t), newCloud(false)
	var mu sync.Mutex
	name := "gateway"
	c.lanes = func(string) string { mu.Lock(); defer mu.Unlock(); return name }
	used := map[string]bool{}
	c.deliver = func(k *cloudConn, _ *message.Message) (bool, bool) { used[k.lane] = true; return true, false }
	b := newBox(t, Options{Storage: d, Connector: c, Routes: []Route{{Name: "r"}}})
	for i := range 5 {
		_ = offer(t, b, msg("d", fmt.Sprint(i)))
	}
	mu.Lock()
	name = "own"
	mu.Unlock()
	pumping(t, b)
	c.set(true)
	eventually(t, "the outbox is empty", func() bool { return b.Stats().Messages == 0 })
	if !used["own"] || used["gateway"] {
		t.Errorf("lanes used: %v", used)
	}
	if diff := cmp.Diff([]string{"d 0", "d 1", "d 2", "d 3", "d 4"}, c.seen()); diff != "" {
		t.Error(diff)
	}
}
