package upstream

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// A message that upstream hangs up on is found out also where others are
// acknowledged over the same connections, and costs few of them.
func TestAMessageThatUpstreamHangsUpOnCostsFewConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDisk(t), newCloud(false)
		c.deliver = func(_ *cloudConn, m *message.Message) (bool, bool) {
			poison := string(m.Payload) == "poison"
			return !poison, poison
		}
		b := newBox(t, Options{Storage: d, Connector: c, Routes: []Route{{Name: "r"}}})
		_ = offer(t, b, msg("bad", "poison"))
		const devices = 100
		for i := range 40 * devices {
			_ = offer(t, b, msg(fmt.Sprint("good", i%devices), fmt.Sprint(i)))
		}
		stop := pumping(t, b)
		c.set(true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s := b.Stats(); s.Messages != 1 {
			t.Errorf("%d wait", s.Messages)
		}
		c.mu.Lock()
		lost := 0 // before the others were through
		for i, s := range c.received {
			if s == "bad poison" && i < 40*devices {
				lost++
			}
		}
		c.mu.Unlock()
		if lost > suspect+7 { // then after 64, 128, … of 4000
			t.Errorf("the others lost %d connections", lost)
		}
		stop()
	})
}

// A device that was silent while connections ended is not kept waiting for as long as others have something to say.
func TestASuspectIsHeardWhileOthersTalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDisk(t), newCloud(true)
		c.deliver = func(k *cloudConn, _ *message.Message) (bool, bool) {
			return k.cloud.conns > suspect, k.cloud.conns <= suspect
		}
		b := newBox(t, Options{Storage: d, Connector: c, Routes: []Route{{Name: "r"}}})
		_ = offer(t, b, msg("shy", "first"))
		_ = offer(t, b, msg("shy", "second"))
		stop := pumping(t, b)
		for len(c.seen()) < suspect { // each connection ends with it
			time.Sleep(time.Millisecond)
		}
		c.set(false)
		synctest.Wait()
		for i := range 4000 {
			_ = offer(t, b, msg(fmt.Sprint("busy", i%7), fmt.Sprint(i)))
		}
		c.set(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		got := c.seen()[suspect:]
		if first, second := slices.Index(got, "shy first"), slices.Index(got, "shy second"); first < 0 || second < first || second > 500 {
			t.Errorf("heard at %d and %d of %d", first, second, len(got))
		}
		stop()
	})
}

// A device of which nothing is left to send keeps no connection open.
func TestWhatWasForgottenWhileOfflineKeepsNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(false)
		b := newBox(t, Options{Storage: newDisk(t), Connector: c, Routes: []Route{{Name: "r", TTL: time.Minute}}, Now: time.Now})
		m := msg("d", "late")
		m.Accepted = time.Now()
		_ = offer(t, b, m)
		stop := pumping(t, b)
		time.Sleep(3 * time.Minute) // it expires in its turn
		if s := b.Stats(); s.Dropped[ReasonExpired] != 1 {
			t.Fatalf("%+v", s)
		}
		c.set(true)
		time.Sleep(2 * laneIdle)
		synctest.Wait()
		if s := b.Stats(); s.Lanes != 0 || s.Up != 0 {
			t.Errorf("%d lanes, %d up, for nothing", s.Lanes, s.Up)
		}
		stop()
	})
}

// Finding the oldest message does not pass all that are gone.
func TestTheOldestIsFirst(t *testing.T) {
	f := &flow{}
	for range 1000 {
		f.items = append(f.items, &item{state: queued})
	}
	for range 400 {
		f.items[f.head].state = gone
		f.compact()
	}
	if len(f.items)-f.head != 600 || f.items[f.head].state != queued {
		t.Errorf("%d items, %d of them gone, before the oldest", len(f.items), f.head)
	}
}
