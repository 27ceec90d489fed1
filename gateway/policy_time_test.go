package gateway

import (
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// What is stored says how old it is by the clock by which it ages. Stamped by
// a wall clock that ran ahead, it would stay fresh for as long after a restart.
func TestPolicyStoredUnderAClockThatRunsAheadStillAges(t *testing.T) {
	h := newPolicyHouse(t)
	start := h.clock.Steady()
	wall := &fakeTime{start.Add(365 * 24 * time.Hour)}
	h.clock = newClock(wall.now, start, start, nil)
	if err := h.Replace(t.Context(), replica.Full{Version: version(2), Policy: model.Snapshot{Version: version(2)}, Data: building("d1")}); err != nil {
		t.Fatal(err)
	}
	later := &fakeTime{start}
	s := newStaging(newClock(later.now, start, start, nil), config.Default().Offline, func(access.Stage, access.Stage, time.Duration) {})
	s.Heard(h.cache.held.Taken, false)
	later.t = start.Add(31 * 24 * time.Hour)
	if s.update(); s.Stage() != access.Expired {
		t.Errorf("%v after 31 days: %v", s.Age(), s.Stage())
	}
}
