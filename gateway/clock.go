package gateway

import (
	"sync"
	"time"
)

// maxJump is how far the system clock may run ahead of monotonic time before
// it is not believed without the cloud's word (semantics.md 4, "Time").
const maxJump = 24 * time.Hour

// clock is the time by which validity is checked: never earlier than the high-water
// mark, nor than the time at which this program was built. The mark
// advances by monotonic time and by authenticated cloud time only, so a wrong
// or manipulated system clock can neither revive an expired token nor age the cache.
type clock struct {
	system func() time.Time // wall clock with a monotonic reading
	alarm  func(raised bool, ahead time.Duration)

	mu      sync.Mutex
	base    time.Time // the mark, at the moment of anchor
	anchor  time.Time // a system reading; the time since it is monotonic
	alarmed bool
}

func newClock(system func() time.Time, mark, built time.Time, alarm func(raised bool, ahead time.Duration)) *clock {
	now := system()
	c := &clock{system: system, alarm: alarm, anchor: now, base: mark}
	if c.base.Before(built) {
		c.base = built
	}
	// The first start after a plausible pause takes the system's word; a
	// longer one waits for the cloud's.
	if wall := now.Round(0); wall.After(c.base) && (mark.IsZero() || wall.Sub(c.base) <= maxJump) {
		c.base = wall
	}
	return c
}

// mark is the high-water mark now, and what the system clock says against it.
func (c *clock) mark() (mark time.Time, wall time.Time) {
	reading := c.system()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.base.Add(reading.Sub(c.anchor)), reading.Round(0)
}

// Now is the time for validity checks: max(system clock, mark, build time).
func (c *clock) Now() time.Time {
	mark, wall := c.mark()
	ahead := wall.Sub(mark)
	c.raise(ahead > maxJump, ahead)
	if wall.After(mark) {
		return wall
	}
	return mark
}

// Steady is the time by which the cache ages: the mark alone. A system clock
// that jumps ahead raises an alarm and changes no stage.
func (c *clock) Steady() time.Time {
	mark, _ := c.mark()
	return mark
}

func (c *clock) raise(on bool, ahead time.Duration) {
	c.mu.Lock()
	changed := c.alarmed != on
	c.alarmed = on
	c.mu.Unlock()
	if changed && c.alarm != nil {
		c.alarm(on, ahead)
	}
}

// Believe moves the mark to a time that the cloud said over an authenticated
// connection. It never moves it back.
func (c *clock) Believe(cloud time.Time) {
	reading := c.system()
	c.mu.Lock()
	defer c.mu.Unlock()
	if cloud.After(c.base.Add(reading.Sub(c.anchor))) {
		c.base, c.anchor = cloud.Round(0), reading
	}
}
