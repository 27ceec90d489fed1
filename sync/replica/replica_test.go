package replica

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
)

func TestFullThenDeltas(t *testing.T) {
	in(t, func(g *rig) {
		g.expect("first", g.sink.seen(), "replace 1")
		g.commit(2)
		g.commit(3)
		g.expect("deltas", g.sink.seen(), "apply 2, apply 3")
		g.commit(10) // a change that is not at this site
		g.expect("not ours", g.sink.seen(), "")
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if s := g.r.Status(); s.Version.Number != 3 || s.Cursor.Number != 10 {
			t.Errorf("%+v", s)
		}
		g.commit(11) // the delta must still begin at 3, the last version that was applied
		g.expect("after not ours", g.sink.seen(), "apply 11")
		s := g.r.Status()
		if s.Version.Number != 11 || !s.LastSuccess.Equal(time.Now()) || s.Health.Code != InStep {
			t.Errorf("%+v", s)
		}
		g.expect("health", fmt.Sprint(g.health), "[in-step]")
	})
}

func TestGapsLeadToAFullRead(t *testing.T) {
	in(t, func(g *rig) {
		g.sink.seen()
		g.cloud.set(func() { g.cloud.version.Number, g.cloud.gap = 5, true })
		synctest.Wait()
		g.expect("the source's gap", g.sink.seen(), "replace 5")
		g.commit(6)
		g.expect("and on", g.sink.seen(), "apply 6")
		g.sink.fail = fmt.Errorf("not what I hold: %w", ErrGap)
		g.commit(7)
		g.expect("the sink's gap", g.sink.seen(), "apply failed, replace 7")
		g.commit(8)
		g.expect("and on", g.sink.seen(), "apply 8")
		for n := uint64(11); n < 15; n++ { // several deltas in a row that the sink cannot apply, because they are too large, say
			g.sink.fail = fmt.Errorf("not what I hold: %w", ErrGap)
			g.commit(n)
			g.expect("what everything had to be read for", g.sink.seen(), fmt.Sprintf("apply failed, replace %d", n))
		}
	})
}

// If the feed has a gap after every full read, reading everything does not help, so it is not
// repeated without a pause.
func TestAFeedThatNeverFollows(t *testing.T) {
	in(t, func(g *rig) {
		g.cloud.set(func() { g.cloud.torn = true })
		synctest.Wait()
		g.cloud.asked()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := strings.Count(g.cloud.asked(), "full"); n < 10 || n > 30 {
			t.Errorf("read everything %d times in ten minutes", n)
		}
		if s := g.r.Status(); s.Failures == 0 || s.LastError == "" {
			t.Errorf("nobody is told: %+v", s)
		}
		g.cloud.set(func() { g.cloud.torn = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		g.sink.seen()
		g.commit(2)
		g.expect("and on", g.sink.seen(), "apply 2")
		g.cloud.set(func() { g.cloud.version.Number, g.cloud.gap = 3, true })
		synctest.Wait()
		g.expect("a gap is mended at once again", g.sink.seen(), "replace 3")
	})
}

func TestTheCursorWaitsForTheSink(t *testing.T) {
	in(t, func(g *rig) {
		g.sink.seen()
		g.sink.fail = errors.New("disk full")
		g.commit(2)
		g.expect("failed", g.sink.seen(), "apply failed")
		if s := g.r.Status(); s.Version.Number != 1 || s.Cursor.Number != 1 || s.Health.Code != SinkFailed ||
			!strings.Contains(s.LastError, "disk full") {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		g.expect("again", g.sink.seen(), "apply 2")
		g.expect("health", fmt.Sprint(g.health), "[in-step sink-failed in-step]")
	})
}

type reasoned struct{ error }

func (reasoned) Reason() string { return "unauthorized" }

func TestBackOff(t *testing.T) {
	in(t, func(g *rig) {
		g.cloud.set(func() { g.cloud.down = reasoned{errors.New("401")} })
		synctest.Wait()
		g.cloud.asked()
		start := time.Now()
		var at []string
		for range 9 {
			before := g.r.Status().Failures
			for g.r.Status().Failures == before {
				time.Sleep(250 * time.Millisecond)
				synctest.Wait()
			}
			at = append(at, fmt.Sprint(time.Since(start)))
		}
		g.expect("attempts", strings.Join(at, " "), "750ms 2.25s 5.25s 11.25s 23.25s 47.25s 1m32.25s 2m17.25s 3m2.25s")
		g.expect("health", fmt.Sprint(g.health), "[in-step unauthorized]")
		g.cloud.set(func() { g.cloud.down = nil })
		g.r.Wake()
		synctest.Wait()
		if s := g.r.Status(); s.Health.Code != InStep || s.LastError != "" {
			t.Errorf("a wake-up cuts the back-off short: %+v", s)
		}
	})
}

func TestWakeCutsTheWait(t *testing.T) {
	in(t, func(g *rig) {
		g.cloud.asked()
		before := g.r.Status().Syncs
		g.r.Wake()
		g.r.Wake()
		synctest.Wait()
		if after := g.r.Status().Syncs; after == before {
			t.Error("no exchange")
		}
		if asked := g.cloud.asked(); !strings.HasPrefix(asked, "changes 7.1 0s, changes 7.1 30s") {
			t.Error(asked)
		}
		g.commit(2) // no pause follows the wake-up, so that the next revocation is not late
		g.expect("at once", g.sink.seen(), "replace 1, apply 2")
	})
}

func TestWakeFullReadsEverything(t *testing.T) {
	in(t, func(g *rig) {
		g.cloud.asked()
		before := g.r.Status()
		g.r.WakeFull()
		synctest.Wait()
		if asked := g.cloud.asked(); !strings.Contains(asked, "full") {
			t.Error(asked)
		}
		if after := g.r.Status(); after.Fulls != before.Fulls+1 {
			t.Errorf("%d full reads, then %d", before.Fulls, after.Fulls)
		}
	})
}

type unreadable struct{}

func (unreadable) Error() string  { return "larger than 67108864 bytes" }
func (unreadable) Reason() string { return "malformed" }

// If the answer of the feed cannot be read, everything is read instead.
func TestAnUnreadableDeltaLeadsToAFullRead(t *testing.T) {
	in(t, func(g *rig) {
		g.sink.seen()
		g.cloud.set(func() { g.cloud.odd, g.cloud.version.Number = true, 2 })
		time.Sleep(3 * time.Second)
		synctest.Wait()
		g.expect("taken", g.sink.seen(), "replace 2")
	})
}

func TestAServerThatDoesNotWait(t *testing.T) {
	in(t, func(g *rig) {
		g.cloud.set(func() { g.cloud.impolite = true })
		synctest.Wait()
		g.cloud.asked()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := strings.Count(g.cloud.asked(), "changes"); n < 9 || n > 11 {
			t.Errorf("%d questions in 10 s", n)
		}
	})
}

func TestNoFeed(t *testing.T) {
	in(t, func(g *rig) {
		g.expect("asked", g.cloud.asked(), "full, changes 7.1 30s, full")
		g.cloud.set(func() { g.cloud.version.Number = 5 })
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		g.expect("and every ten minutes", g.cloud.asked(), "full")
		g.expect("taken", g.sink.seen(), "replace 1, replace 1, replace 5")
	}, func(o *Options) { o.Source.(*cloud).noFeed = true; o.FullEvery = 10 * time.Minute })
}

func TestFullEvery(t *testing.T) {
	in(t, func(g *rig) {
		g.sink.seen()
		time.Sleep(10*time.Minute + 30*time.Second)
		synctest.Wait()
		g.expect("once", g.sink.seen(), "replace 1")
	}, func(o *Options) { o.FullEvery = 10 * time.Minute })
	in(t, func(g *rig) {
		time.Sleep(10*time.Minute + 30*time.Second)
		synctest.Wait()
		g.expect("also where nothing was read at the start", g.sink.seen(), "replace 1")
	}, func(o *Options) {
		o.FullEvery = 10 * time.Minute
		o.Held, o.Resume = Held{Version: model.Version{Epoch: 7, Number: 1}, Assignments: 20, Devices: 20}, true
	})
}

func TestResume(t *testing.T) {
	held := Held{Version: model.Version{Epoch: 7, Number: 1}, Assignments: 20, Devices: 20}
	in(t, func(g *rig) {
		g.expect("asked", g.cloud.asked(), "changes 7.1 0s, changes 7.1 30s")
		g.commit(2)
		g.expect("taken", g.sink.seen(), "apply 2")
	}, func(o *Options) { o.Held, o.Resume = held, true })
	in(t, func(g *rig) {
		time.Sleep(6 * time.Second)
		synctest.Wait()
		g.expect("a cursor of another epoch", g.sink.seen(), "replace 1")
	}, func(o *Options) {
		o.Held, o.Resume = Held{Version: model.Version{Epoch: 6, Number: 900}}, true
	})
}

// Without a feed the versions are times of the gateway's clock, which may be set back. The number must
// rise nevertheless.
func TestWithoutAFeedNumbersOnlyRise(t *testing.T) {
	in(t, func(g *rig) {
		g.sink.seen()
		g.cloud.set(func() { g.cloud.version.Number = 1 })
		time.Sleep(90 * time.Second)
		synctest.Wait()
		if got := g.sink.seen(); !strings.Contains(got, "replace 901") {
			t.Errorf("took %q", got)
		}
		if got := g.r.Status().Health.Code; got != InStep {
			t.Errorf("health %q", got)
		}
	}, func(o *Options) { c := o.Source.(*cloud); c.noFeed, c.version.Number = true, 900 })
}
