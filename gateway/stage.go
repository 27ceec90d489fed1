package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/config"
)

// staging turns the age of the cache into the offline stage (semantics.md 4).
// Reading it is one atomic load; Run moves it on.
type staging struct {
	clock   *clock
	limits  config.Offline
	changed func(from, to access.Stage, age time.Duration)

	stage atomic.Uint32
	step  sync.Mutex // one change after the other, with its report; before mu
	mu    sync.Mutex
	taken time.Time // when the cloud last spoke; guarded by mu
	dirty bool      // the store lacks losses of rights: counts as expired; guarded by mu
}

func newStaging(c *clock, limits config.Offline, changed func(from, to access.Stage, age time.Duration)) *staging {
	s := &staging{clock: c, limits: limits, changed: changed}
	s.stage.Store(uint32(access.Expired)) // nothing is known yet
	return s
}

// Stage is the stage in force.
func (s *staging) Stage() access.Stage { return access.Stage(s.stage.Load()) }

// Age is how long ago the cloud last spoke; negative when it never did.
func (s *staging) Age() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken.IsZero() {
		return -1
	}
	return max(0, s.clock.Steady().Sub(s.taken))
}

// Heard notes that the cloud confirmed what is cached, at taken by our mark.
func (s *staging) Heard(taken time.Time, dirty bool) {
	s.mu.Lock()
	s.taken, s.dirty = taken, dirty
	s.mu.Unlock()
	s.update()
}

// NotAfter corrects when the cloud last spoke, after the mark was moved back.
func (s *staging) NotAfter(t time.Time) {
	s.mu.Lock()
	if s.taken.After(t) {
		s.taken = t
	}
	s.mu.Unlock()
	s.update()
}

func (s *staging) update() {
	s.step.Lock()
	defer s.step.Unlock()
	age := s.Age() // no older than the step: what was heard since counts
	s.mu.Lock()
	to := s.at(age)
	s.mu.Unlock()
	if from := access.Stage(s.stage.Swap(uint32(to))); from != to {
		s.changed(from, to, age)
	}
}

func (s *staging) at(age time.Duration) access.Stage {
	switch {
	case age < 0 || s.dirty || age >= s.limits.Expired:
		return access.Expired
	case age >= s.limits.Restricted:
		return access.Restricted
	case age >= s.limits.Stale:
		return access.Stale
	}
	return access.Fresh
}

// Run moves the stage on as the cache ages, and keeps the high-water mark on disk, few times an hour.
func (s *staging) Run(ctx context.Context, keepMark func(time.Time)) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	kept := s.clock.Steady()
	for {
		select {
		case <-ctx.Done():
			keepMark(s.clock.Steady())
			return nil
		case <-tick.C:
			s.update()
			s.clock.Now()                                                       // lets the alarm ring even when nothing asks for the time
			if now := s.clock.Steady(); now.Sub(kept).Abs() >= 15*time.Minute { // back only when an operator reset it
				keepMark(now)
				kept = now
			}
		}
	}
}
