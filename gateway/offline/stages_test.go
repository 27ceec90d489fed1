package offline_test

import (
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/offline"
)

// limits are the defaults of the configuration's offline section.
var limits = offline.Limits{Stale: time.Hour, Restricted: 72 * time.Hour, Expired: 30 * 24 * time.Hour}

func TestStagesFollowTheAgeOfTheCache(t *testing.T) {
	start := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	f := &fakeTime{start}
	clk := offline.NewClock(offline.ClockOptions{System: f.now, Mark: start, Built: start})
	var seen []offline.Stage
	s := offline.NewStages(clk, limits, func(_, to offline.Stage, _ time.Duration) { seen = append(seen, to) })
	if s.Stage() != offline.Expired || s.Age() >= 0 {
		t.Fatalf("before the cloud spoke: stage %v, age %v", s.Stage(), s.Age())
	}
	s.Confirm(start, false)
	for _, c := range []struct {
		age  time.Duration
		want offline.Stage
	}{
		{0, offline.Fresh}, {time.Hour - time.Second, offline.Fresh}, {time.Hour, offline.Stale},
		{72 * time.Hour, offline.Restricted}, {30*24*time.Hour - time.Second, offline.Restricted}, {30 * 24 * time.Hour, offline.Expired},
	} {
		f.t = start.Add(c.age)
		s.Update()
		if s.Stage() != c.want {
			t.Errorf("age %v: stage %v, want %v", c.age, s.Stage(), c.want)
		}
	}
	s.Confirm(f.t, false)
	if s.Stage() != offline.Fresh {
		t.Errorf("after the cloud spoke: %v", s.Stage())
	}
	s.Confirm(f.t, true)
	if s.Stage() != offline.Expired {
		t.Errorf("a dirty store: %v, want expired", s.Stage())
	}
	if len(seen) != 6 {
		t.Errorf("%d changes reported (%v), want 6: each once", len(seen), seen)
	}
}

// The last that is told of the stage is the one in force, also when the cloud
// speaks just while the cache is found to be stale.
func TestStageIsToldInOrder(t *testing.T) {
	start := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	f := &fakeTime{start}
	clk := offline.NewClock(offline.ClockOptions{System: f.now, Mark: start, Built: start})
	var s *offline.Stages
	told := make(chan offline.Stage, 10)
	heard := make(chan struct{})
	s = offline.NewStages(clk, limits, func(_, to offline.Stage, _ time.Duration) {
		if to == offline.Stale {
			go func() {
				defer close(heard)
				s.Confirm(start.Add(time.Hour), false)
			}()
			select {
			case <-heard:
			case <-time.After(50 * time.Millisecond): // it waits for us
			}
		}
		told <- to
	})
	s.Confirm(start, false)
	f.t = start.Add(time.Hour)
	s.Update()
	<-heard
	for _, want := range []offline.Stage{offline.Fresh, offline.Stale, offline.Fresh} {
		if got := <-told; got != want {
			t.Fatalf("told %v, want %v", got, want)
		}
	}
	if s.Stage() != offline.Fresh {
		t.Errorf("in force: %v", s.Stage())
	}
}

// A confirmation that was read before an operator set the mark back, and is noted after it,
// does not keep the cache young until the mark has come there again.
func TestConfirmationFromTheFutureAges(t *testing.T) {
	start := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	f := &fakeTime{start}
	clk := offline.NewClock(offline.ClockOptions{System: f.now, Mark: start, Built: start})
	s := offline.NewStages(clk, limits, func(offline.Stage, offline.Stage, time.Duration) {})
	s.Confirm(start.AddDate(64, 0, 0), false)
	f.t = start.Add(2 * time.Hour)
	if s.Update(); s.Stage() != offline.Stale || s.Age() != 2*time.Hour {
		t.Errorf("two hours later it is %v, %v old", s.Stage(), s.Age())
	}
}

// The mark is stored again each time that it has moved by a minute, and when it was reset.
func TestMarkIsKeptEveryMinute(t *testing.T) {
	start := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	f := &fakeTime{start}
	clk := offline.NewClock(offline.ClockOptions{System: f.now, Mark: start, Built: start.AddDate(-1, 0, 0)})
	s := offline.NewStages(clk, limits, func(offline.Stage, offline.Stage, time.Duration) {})
	kept := 0
	for range 600 {
		f.t = f.t.Add(time.Second)
		s.Tick(func() { kept++ })
	}
	if kept != 10 {
		t.Errorf("kept %d times in ten minutes", kept)
	}
	f.t = start.Add(-time.Hour)
	clk.Reset()
	if s.Tick(func() { kept++ }); kept != 11 {
		t.Error("not kept after a reset")
	}
}
