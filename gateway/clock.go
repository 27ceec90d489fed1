package gateway

import (
	"sync"
	"time"
)

// maxJump is how far the system clock may run ahead of monotonic time before
// it is not believed without the cloud's word (semantics.md 4, "Time"), and how
// far one word of the cloud may move the mark without a second witness.
const maxJump = 24 * time.Hour

const (
	together = time.Hour        // apart, the system clock and the cloud still say the same
	settle   = 30 * time.Second // between the cloud's word and its confirmation
	agreed   = time.Minute      // apart, two words of the cloud still say the same
)

// clock is the time by which validity is checked: never earlier than the high-water
// mark, nor than the time at which this program was built. The mark
// advances by monotonic time and by authenticated cloud time only, so a wrong
// or manipulated system clock can neither revive an expired token nor age the cache.
//
// The mark never goes back by itself, so that one wrong clock at the cloud must not move it
// for good. By up to maxJump in all it is believed at once; what leads further needs
// a second witness: the system clock, or the cloud's own word
// again, over another connection and later. Until then an alarm is raised.
// Reset is the operator's way back.
type clock struct {
	system func() time.Time // wall clock with a monotonic reading
	alarm  func(raised bool, ahead time.Duration)
	// doubt is told when the cloud's word and the mark are far apart, and nothing
	// decides between them: ahead is the cloud's, negative when the mark is what may be wrong. Nil: nobody.
	doubt func(raised bool, ahead time.Duration)

	mu      sync.Mutex
	base    time.Time // the mark, at the moment of anchor
	anchor  time.Time // a system reading; the time since it is monotonic
	alarmed bool
	lead    time.Duration // how far the cloud moved the mark since a second witness agreed
	claim   *claim        // what the cloud said and nobody confirmed yet
	doubted bool
}

// claim is a word of the cloud that waits for a second one.
type claim struct {
	cloud, seen time.Time // what it said, and the system reading then
	connection  any
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

// Believe weighs a time that the cloud said over an authenticated connection,
// and moves the mark to it or leaves it where it is; it never moves it back.
// elsewhere: the next word should come over another connection.
func (c *clock) Believe(cloud time.Time, connection any) (elsewhere bool) {
	reading := c.system()
	c.mu.Lock()
	mark := c.base.Add(reading.Sub(c.anchor))
	ahead := cloud.Sub(mark)
	apart := reading.Round(0).Sub(cloud)
	switch old := c.claim; {
	case apart.Abs() <= together:
		c.lead, c.claim = 0, nil
	case ahead <= 0:
		c.claim = nil // it takes back what it said
	case c.lead+ahead <= maxJump:
		c.lead, c.claim = c.lead+ahead, nil
	case old == nil || cloud.Sub(old.cloud.Add(reading.Sub(old.seen))).Abs() > agreed:
		c.claim = &claim{cloud, reading, connection}
	case reading.Sub(old.seen) < settle:
	case old.connection == connection:
		elsewhere = true
	default:
		c.lead, c.claim = 0, nil
	}
	if c.claim == nil && ahead > 0 {
		c.base, c.anchor = cloud.Round(0), reading
	}
	doubts := c.claim != nil || ahead < -maxJump
	changed := doubts != c.doubted
	c.doubted = doubts
	c.mu.Unlock()
	if changed && c.doubt != nil {
		c.doubt(doubts, ahead)
	}
	return elsewhere
}

// Reset moves the mark, back or forth, to what the system clock says, but never
// before the time at which this program was built: an operator knows better.
func (c *clock) Reset(built time.Time) (was, now time.Time) {
	reading := c.system()
	c.mu.Lock()
	was = c.base.Add(reading.Sub(c.anchor))
	now = reading.Round(0)
	if now.Before(built) {
		now = built
	}
	doubted := c.doubted
	c.base, c.anchor, c.lead, c.claim, c.doubted = now, reading, 0, nil, false
	c.mu.Unlock()
	if doubted && c.doubt != nil {
		c.doubt(false, 0)
	}
	return was, now
}
