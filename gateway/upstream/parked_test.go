package upstream

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// rack is a Shelf over a disk.
type rack struct {
	*disk
	parked map[uint64]message.StoredParked // guarded by disk.mu
	order  []uint64
}

func newRack(t testing.TB) *rack {
	return &rack{disk: newDisk(t), parked: map[uint64]message.StoredParked{}}
}

func (r *rack) do(f func() error, done func(error)) {
	r.tasks <- func() {
		r.mu.Lock()
		err := f()
		r.mu.Unlock()
		if done != nil {
			done(err)
		}
	}
}

func (r *rack) Park(p message.StoredParked, done func(error)) {
	r.do(func() error {
		if _, ok := r.kept[p.Seq]; !ok {
			return fmt.Errorf("%d is parked and was not stored", p.Seq)
		}
		delete(r.kept, p.Seq)
		r.parked[p.Seq] = p
		r.order = append(r.order, p.Seq)
		return nil
	}, done)
}

func (r *rack) Unpark(seq uint64, q message.StoredOutgoing, done func(error)) {
	r.do(func() error {
		if r.fail != nil {
			return r.fail
		}
		delete(r.parked, seq)
		r.kept[q.Seq] = q
		return nil
	}, done)
}

func (r *rack) Purge(seqs []uint64, done func(error)) {
	r.do(func() error {
		for _, seq := range seqs {
			delete(r.parked, seq)
		}
		return nil
	}, done)
}

func (r *rack) Parked(yield func(message.StoredParked) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, seq := range r.order {
		if p, ok := r.parked[seq]; ok {
			if err := yield(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// poisonous hangs up on every message that begins with "poison".
func poisonous(_ *cloudConn, m *message.Message) (ack, hangup bool) {
	bad := strings.HasPrefix(string(m.Payload), "poison")
	return !bad, bad
}

// shelved is an outbox over a rack.
func shelved(t *testing.T, r *rack, c *cloud, o Options) *Outbox {
	t.Helper()
	o.Storage, o.Shelf, o.Connector, o.Routes = r, r, c, []Route{{Name: "r"}}
	return newBox(t, o)
}

// What upstream hangs up on is parked, and the later messages of its device go
// on: beside others that talk, and alone on its link. Retried once upstream has mended, it arrives.
func TestPoisonIsParked(t *testing.T) {
	for _, others := range []int{0, 40} {
		t.Run(fmt.Sprint(others, " others"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, c := newRack(t), newCloud(true)
				c.deliver = poisonous
				b := shelved(t, r, c, Options{})
				_ = offer(t, b, msg("bad", "poison"))
				_ = offer(t, b, msg("bad", "later"))
				stop := pumping(t, b)
				for i := range 20 * others {
					_ = offer(t, b, msg(fmt.Sprint("good", i%max(others, 1)), fmt.Sprint(i)))
					time.Sleep(100 * time.Millisecond)
				}
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				s := b.Stats()
				if s.Messages != 0 || s.Parked != 1 || s.Aside != 1 || unbalanced(s) != "" {
					t.Errorf("%+v %s", s, unbalanced(s))
				}
				list := b.ListParked(Selector{Device: "bad"})
				if len(list) != 1 || list[0].Route != "r" || list[0].Topic != "t/bad" || !strings.Contains(list[0].Reason, "3 times") {
					t.Fatalf("listed: %+v", list)
				}
				c.mu.Lock()
				c.deliver = func(*cloudConn, *message.Message) (bool, bool) { return true, false }
				c.mu.Unlock()
				if n := b.Retry(Selector{Device: "other"}) + b.Retry(Selector{}); n != 0 {
					t.Errorf("%d retried that were not selected", n)
				}
				if n := b.Retry(Selector{All: true}); n != 1 {
					t.Errorf("%d retried", n)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if s := b.Stats(); s.Messages != 0 || s.Parked != 0 || len(r.parked)+r.count() != 0 || unbalanced(s) != "" {
					t.Errorf("after the retry: %+v", s)
				}
				got := c.seen()
				if got[len(got)-1] != "bad poison" {
					t.Errorf("the last one upstream was %q", got[len(got)-1])
				}
				stop()
			})
		})
	}
}

// A broker that hangs up on everybody, or that acknowledges nothing before it restarts, parks nothing.
func TestABrokenUpstreamParksNothing(t *testing.T) {
	for name, deliver := range map[string]func(*cloudConn, *message.Message) (bool, bool){
		"hangs up on each message": func(*cloudConn, *message.Message) (bool, bool) { return false, true },
		"never acknowledges":       func(*cloudConn, *message.Message) (bool, bool) { return false, false },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, c := newRack(t), newCloud(true)
				c.deliver = deliver
				b := shelved(t, r, c, Options{})
				for i := range 60 {
					_ = offer(t, b, msg(fmt.Sprint("d", i%3), fmt.Sprint(i)))
				}
				stop := pumping(t, b)
				time.Sleep(3 * time.Hour)
				synctest.Wait()
				if s := b.Stats(); s.Parked > 1 { // one at most, until something is acknowledged
					t.Errorf("%d parked", s.Parked)
				}
				c.mu.Lock()
				c.deliver = func(*cloudConn, *message.Message) (bool, bool) { return true, false }
				c.mu.Unlock()
				time.Sleep(time.Hour)
				synctest.Wait()
				if s := b.Stats(); s.Messages != 0 {
					t.Errorf("%+v", s)
				}
				stop()
			})
		})
	}
}

// A message that was refused once or twice, for a reason that has passed, is delivered.
func TestATransientRefusalParksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c := newRack(t), newCloud(true)
		times := 0
		c.deliver = func(_ *cloudConn, m *message.Message) (bool, bool) {
			if string(m.Payload) == "unlucky" && times < suspect+hangups-1 {
				times++
				return false, true
			}
			return true, false
		}
		b := shelved(t, r, c, Options{})
		_ = offer(t, b, msg("d", "unlucky"))
		stop := pumping(t, b)
		for i := range 600 {
			_ = offer(t, b, msg(fmt.Sprint("good", i%5), fmt.Sprint(i)))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if s := b.Stats(); s.Parked != 0 || s.Messages != 0 {
			t.Errorf("%+v", s)
		}
		stop()
	})
}

// What is not acknowledged in time is sent again over a new connection, and is
// not held against it the first time; one that never is, is parked, though others are acknowledged meanwhile.
func TestAMessageThatIsNeverAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c := newRack(t), newCloud(true)
		c.deliver = func(_ *cloudConn, m *message.Message) (bool, bool) { return string(m.Payload) != "silent", false }
		b := shelved(t, r, c, Options{AckWait: 30 * time.Second})
		_ = offer(t, b, msg("bad", "silent"))
		_ = offer(t, b, msg("bad", "later"))
		stop := pumping(t, b)
		conns := func() int { c.mu.Lock(); defer c.mu.Unlock(); return c.conns }
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range 3000 {
				_ = offer(t, b, msg("good", fmt.Sprint(i)))
				time.Sleep(time.Second)
			}
		}()
		time.Sleep(29 * time.Second)
		if n := conns(); n != 1 {
			t.Errorf("%d connections before the time", n)
		}
		time.Sleep(6 * time.Second)
		if n := conns(); n != 2 {
			t.Errorf("%d connections after it", n)
		}
		if n := b.strikes("bad"); n != 0 {
			t.Errorf("the first time counts as a hang-up: %d", n)
		}
		time.Sleep(35 * time.Second)
		if n := b.strikes("bad"); n != 1 {
			t.Errorf("the second time: %d strikes", n)
		}
		<-done
		synctest.Wait()
		if s := b.Stats(); s.Parked != 1 || s.Messages > 1 {
			t.Errorf("%+v", s)
		}
		stop()
	})
}

func (b *Outbox) strikes(device string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.flows[device][0].strikes
}

// What is parked has limits of its own, and outlives a restart; purged, it is gone.
func TestTheShelfIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c := newRack(t), newCloud(true)
		c.deliver = poisonous
		o := Options{Parked: ParkedLimits{Messages: 3, DeviceMessages: 2}}
		b := shelved(t, r, c, o)
		stop := pumping(t, b)
		talk := make(chan struct{})
		go func() {
			for i := 0; ; i++ {
				select {
				case <-talk:
					return
				default:
				}
				_ = offer(t, b, msg("good", fmt.Sprint(i)))
				time.Sleep(50 * time.Millisecond)
			}
		}()
		for _, text := range []string{"a1", "a2", "a3", "b1", "c1"} {
			_ = offer(t, b, msg(text[:1], "poison "+text))
			for before := b.Stats().Aside; b.Stats().Aside == before; {
				time.Sleep(time.Second)
			}
		}
		close(talk)
		time.Sleep(time.Minute)
		stop()
		r.flush()
		if s := b.Stats(); s.Parked != 3 || s.ParkedDropped != 2 || s.Aside != 5 {
			t.Errorf("%+v", s)
		}
		b = shelved(t, r, newCloud(false), o)
		var got []string
		for _, p := range b.ListParked(Selector{All: true}) {
			got = append(got, string(p.storedMessage.Payload))
		}
		if diff := cmp.Diff([]string{"poison a3", "poison b1", "poison c1"}, got); diff != "" {
			t.Error(diff)
		}
		if n := b.PurgeParked(Selector{}) + b.PurgeParked(Selector{Device: "nobody"}); n != 0 {
			t.Errorf("%d purged that were not selected", n)
		}
		if n := b.PurgeParked(Selector{Device: "b"}); n != 1 {
			t.Errorf("%d purged", n)
		}
		r.flush()
		if len(r.parked) != 2 || b.Stats().Parked != 2 {
			t.Errorf("%d on disk, %+v", len(r.parked), b.Stats())
		}
	})
}
