package gateway

import (
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/sync/wire"
)

func TestStagesFollowTheAgeOfTheCache(t *testing.T) {
	start := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	f := &fakeTime{start}
	clk := newClock(f.now, start, start, nil)
	var seen []access.Stage
	s := newStaging(clk, config.Default().Offline, func(_, to access.Stage, _ time.Duration) { seen = append(seen, to) })
	if s.Stage() != access.Expired || s.Age() >= 0 {
		t.Fatalf("before the cloud spoke: stage %v, age %v", s.Stage(), s.Age())
	}
	s.Heard(start, false)
	for _, c := range []struct {
		age  time.Duration
		want access.Stage
	}{
		{0, access.Fresh}, {time.Hour - time.Second, access.Fresh}, {time.Hour, access.Stale},
		{72 * time.Hour, access.Restricted}, {30*24*time.Hour - time.Second, access.Restricted}, {30 * 24 * time.Hour, access.Expired},
	} {
		f.t = start.Add(c.age)
		s.update()
		if s.Stage() != c.want {
			t.Errorf("age %v: stage %v, want %v", c.age, s.Stage(), c.want)
		}
	}
	s.Heard(f.t, false)
	if s.Stage() != access.Fresh {
		t.Errorf("after the cloud spoke: %v", s.Stage())
	}
	s.Heard(f.t, true)
	if s.Stage() != access.Expired {
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
	var s *staging
	told := make(chan access.Stage, 10)
	heard := make(chan struct{})
	s = newStaging(newClock(f.now, start, start, nil), config.Default().Offline, func(_, to access.Stage, _ time.Duration) {
		if to == access.Stale {
			go func() {
				defer close(heard)
				s.Heard(start.Add(time.Hour), false)
			}()
			select {
			case <-heard:
			case <-time.After(50 * time.Millisecond): // it waits for us
			}
		}
		told <- to
	})
	s.Heard(start, false)
	f.t = start.Add(time.Hour)
	s.update()
	<-heard
	for _, want := range []access.Stage{access.Fresh, access.Stale, access.Fresh} {
		if got := <-told; got != want {
			t.Fatalf("told %v, want %v", got, want)
		}
	}
	if s.Stage() != access.Fresh {
		t.Errorf("in force: %v", s.Stage())
	}
}

// A cloud where something changes elsewhere all the time confirms what is held
// here as much as one where nothing does.
func TestChangesElsewhereConfirmTheCache(t *testing.T) {
	put := wire.Delta{From: version(1), To: version(2)}
	put.Policy.PutAssignments = []model.Assignment{one}
	for _, c := range []struct {
		delta wire.Delta
		want  bool
	}{
		{wire.Delta{From: version(1), To: version(1)}, true},
		{wire.Delta{From: version(1), To: version(9)}, true},
		{wire.Delta{From: version(2), To: version(9)}, false},
		{wire.Delta{From: version(1), To: version(0)}, false},
		{wire.Delta{From: version(1), To: model.Version{Epoch: 8, Number: 9}}, false},
		{put, false},
	} {
		if got := confirms(&c.delta, version(1)); got != c.want {
			t.Errorf("%+v: %v", c.delta, got)
		}
	}
}
