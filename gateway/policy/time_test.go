package policy_test

import (
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/gateway/offline"
)

// What is stored says how old it is by the clock by which it ages. Stamped by
// a wall clock that ran ahead, it would stay fresh for as long after a restart.
func TestPolicyStoredUnderAClockThatRunsAheadStillAges(t *testing.T) {
	h := newFixture(t)
	start := h.mark
	wall := start.Add(365 * 24 * time.Hour)
	clock := offline.NewClock(offline.ClockOptions{System: func() time.Time { return wall }, Mark: start, Built: start})
	h.mark = clock.Mark()
	if err := h.Replace(t.Context(), answer(2, model.Snapshot{}, building("d1"))); err != nil {
		t.Fatal(err)
	}
	now := start
	later := offline.NewClock(offline.ClockOptions{System: func() time.Time { return now }, Mark: start, Built: start})
	limits := offline.Limits{Stale: time.Hour, Restricted: 72 * time.Hour, Expired: 30 * 24 * time.Hour}
	s := offline.NewStages(later, limits, func(offline.Stage, offline.Stage, time.Duration) {})
	s.Confirm(h.store.held.Taken, false)
	now = start.Add(31 * 24 * time.Hour)
	if s.Update(); s.Stage() != offline.Expired {
		t.Errorf("%v after 31 days: %v", s.Age(), s.Stage())
	}
}
