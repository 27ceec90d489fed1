package offline

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// markEvery is how far the mark moves before it is stored again: at most so much is lost
// by a power cut, and one sector that is rewritten once a minute wears no flash memory out.
const markEvery = time.Minute

// Limits are the ages at which the stages begin, in rising order.
type Limits struct {
	Stale, Restricted, Expired time.Duration
}

// Stages derives the stage in force from the age of the cached policy: the
// clock's mark less the time at which the cloud last confirmed the policy.
// Reading the stage is one atomic load, because every decision asks for it.
type Stages struct {
	clock   *Clock
	limits  Limits
	changed func(from, to Stage, age time.Duration)

	stage atomic.Uint32 // written by Update only

	// updating is held while the stage is derived and reported, so that the
	// last report names the stage in force. It is taken before mu.
	updating sync.Mutex

	mu        sync.Mutex
	confirmed time.Time // when the cloud last confirmed the policy; zero: never; guarded by mu
	dirty     bool      // the store lacks losses of rights that are in force; guarded by mu
	kept      time.Time // the mark when it was stored last; guarded by mu
}

// NewStages begins with Expired: nothing is known of any policy yet. changed is
// called after each change of stage, one call at a time and in order; it must not
// call Confirm, NotAfter or Update. age is negative if the cloud never confirmed a policy.
func NewStages(c *Clock, limits Limits, changed func(from, to Stage, age time.Duration)) *Stages {
	s := &Stages{clock: c, limits: limits, changed: changed, kept: c.Mark()}
	s.stage.Store(uint32(Expired))
	return s
}

// Stage is the stage in force.
func (s *Stages) Stage() Stage { return Stage(s.stage.Load()) }

// Age is how long ago the cloud last confirmed the policy; negative when it never did.
func (s *Stages) Age() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.confirmed.IsZero() {
		return -1
	}
	mark := s.clock.Mark()
	if s.confirmed.After(mark) {
		// Read before the mark was reset, and noted after it. As it stands it would
		// keep the cache young until the mark has come there again.
		s.confirmed = mark
	}
	return mark.Sub(s.confirmed)
}

// Confirmed is when the cloud last confirmed the policy, by the clock's mark; zero when it
// never did.
func (s *Stages) Confirmed() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.confirmed
}

// Confirm notes that the cloud confirmed the cached policy at a time, which is
// a reading of the clock's mark. dirty says that the store lacks losses of
// rights that are in force; the cache then counts as expired at any age,
// because after a restart it would grant what was lost.
func (s *Stages) Confirm(at time.Time, dirty bool) {
	s.mu.Lock()
	s.confirmed, s.dirty = at, dirty
	s.mu.Unlock()
	s.Update()
}

// NotAfter is for after the clock's mark was moved back to t: a confirmation
// that is dated later counts as of t, or the cache would stay young for as long
// as the mark was wrong.
func (s *Stages) NotAfter(t time.Time) {
	s.mu.Lock()
	if s.confirmed.After(t) {
		s.confirmed = t
	}
	s.mu.Unlock()
	s.Update()
}

// Update brings the stage in force up to the age of the cache. Run calls it.
func (s *Stages) Update() {
	s.updating.Lock()
	defer s.updating.Unlock()
	age := s.Age() // read under updating: a confirmation that came meanwhile counts
	s.mu.Lock()
	to := s.stageAt(age)
	s.mu.Unlock()
	if from := Stage(s.stage.Swap(uint32(to))); from != to {
		s.changed(from, to, age)
	}
}

// stageAt is the stage at an age. s.mu is held.
func (s *Stages) stageAt(age time.Duration) Stage {
	switch {
	case age < 0 || s.dirty || age >= s.limits.Expired:
		return Expired
	case age >= s.limits.Restricted:
		return Restricted
	case age >= s.limits.Stale:
		return Stale
	}
	return Fresh
}

// Run calls Tick every second until ctx ends, and keep at the end.
func (s *Stages) Run(ctx context.Context, keep func()) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			keep()
			return nil
		case <-tick.C:
			s.Tick(keep)
		}
	}
}

// Tick updates the stage, lets the clock look at the system clock, and calls keep, which
// stores the mark, when the mark has moved by a minute since it was called last.
func (s *Stages) Tick(keep func()) {
	s.Update()
	s.clock.Now() // says what is wrong with the system clock even when nothing asks for the time
	mark := s.clock.Mark()
	s.mu.Lock()
	due := mark.Sub(s.kept).Abs() >= markEvery // it is behind only after an operator's reset
	if due {
		s.kept = mark
	}
	s.mu.Unlock()
	if due {
		keep()
	}
}
