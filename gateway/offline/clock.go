package offline

import (
	"sync"
	"time"
)

const (
	// maxJump is how far the system clock may run ahead of the mark before an
	// alarm is raised, and how far the cloud may move the mark by its word
	// alone, all its words since the last agreement added up.
	maxJump = 24 * time.Hour
	// agreeSystem is how far apart the cloud's time and the system clock may
	// be for the system clock to count as a second witness for the cloud's.
	agreeSystem = time.Hour
	// agreeCloud is how far apart two statements of the cloud may be, less the
	// time that passed between them, for the second to confirm the first.
	agreeCloud = time.Minute
	// confirmAfter is how long after a statement of the cloud another one may
	// confirm it: answers that come together share one cause, and one error.
	confirmAfter = 30 * time.Second
)

// ClockOptions of NewClock.
type ClockOptions struct {
	// System reads the wall clock. The readings must carry Go's monotonic
	// reading, as those of time.Now do, or else the mark follows every change
	// of the system clock.
	System func() time.Time
	// Mark is the high-water mark as it was stored last; zero: none was.
	Mark time.Time
	// Built is when this program was built. No time before it is believed.
	Built time.Time

	// SystemAhead is called when the system clock begins to run more than 24 h
	// ahead of the mark (raised), and when it no longer does. Nil: nobody is told.
	SystemAhead func(raised bool, ahead time.Duration)
	// CloudInDoubt is called when the cloud's time and the mark begin to be so
	// far apart that one of them must be wrong, and when that is resolved.
	// ahead is the cloud's time less the mark: positive when the cloud names a
	// later time, which is not believed yet; negative when the mark itself may
	// have been moved too far. Nil: nobody is told.
	CloudInDoubt func(raised bool, ahead time.Duration)
}

// Clock is the time that the gateway believes (docs/spec/semantics.md 4.5).
//
// It keeps a high-water mark, which advances by the monotonic time that passes
// and by the time that the cloud states over an authenticated connection; the
// system clock moves it only at the start. A system clock that is wrong can
// therefore neither make an expired token valid again nor age the cache.
//
// Because the mark never goes back by itself, one wrong clock in the cloud must
// not be able to move it far. The cloud alone moves it by at most 24 h in all.
// A time that leads further needs a second witness: the system clock within an
// hour of it, or the cloud again, over another connection and at least 30 s
// later. Until then CloudInDoubt is raised. Reset is the operator's way back.
type Clock struct {
	system       func() time.Time
	built        time.Time
	systemAhead  func(raised bool, ahead time.Duration)
	cloudInDoubt func(raised bool, ahead time.Duration)

	mu sync.Mutex
	// base is the mark at the system reading anchor; the mark now is base plus
	// the monotonic time since anchor. Both guarded by mu.
	base, anchor time.Time
	alarmed      bool          // SystemAhead is raised; guarded by mu
	doubted      bool          // CloudInDoubt is raised; guarded by mu
	alone        time.Duration // how far the cloud moved the mark without a second witness; guarded by mu
	unconfirmed  *statement    // the cloud's last statement, if it waits for a second witness; guarded by mu
}

// statement is a time that the cloud stated and that nobody has confirmed.
type statement struct {
	time       time.Time // what the cloud stated
	received   time.Time // the system reading then
	connection any       // over which it came
}

// repeatedBy tells whether the cloud states the same again at the system
// reading now, when so much later must be named by as much.
func (a *statement) repeatedBy(cloud, now time.Time) bool {
	expected := a.time.Add(now.Sub(a.received))
	return cloud.Sub(expected).Abs() <= agreeCloud
}

// NewClock starts at the latest of the stored mark, the build time and, if it
// is plausible, the system clock. The system clock is plausible when no mark
// was stored yet, or when it is at most 24 h after the mark; a gateway that was
// off for longer waits for the cloud's time.
func NewClock(o ClockOptions) *Clock {
	now := o.System()
	c := &Clock{
		system:       o.System,
		built:        o.Built,
		systemAhead:  o.SystemAhead,
		cloudInDoubt: o.CloudInDoubt,
		base:         o.Mark,
		anchor:       now,
	}
	if c.base.Before(o.Built) {
		c.base = o.Built
	}
	wall := now.Round(0) // without the monotonic reading
	if wall.After(c.base) && (o.Mark.IsZero() || wall.Sub(c.base) <= maxJump) {
		c.base = wall
	}
	return c
}

// read returns the mark and the system clock of one moment.
func (c *Clock) read() (mark, wall time.Time) {
	reading := c.system()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.markAt(reading), reading.Round(0)
}

// markAt is the mark at a system reading. c.mu is held.
func (c *Clock) markAt(reading time.Time) time.Time {
	return c.base.Add(reading.Sub(c.anchor))
}

// Now is the time by which tokens and certificates are judged: the later of
// the mark and the system clock, never before the build time. It raises and
// clears SystemAhead.
func (c *Clock) Now() time.Time {
	mark, wall := c.read()
	ahead := wall.Sub(mark)
	c.reportSystem(ahead > maxJump, ahead)
	if wall.After(mark) {
		return wall
	}
	return mark
}

// Mark is the high-water mark: the time by which the cache ages and is stamped.
// A system clock that jumps ahead does not move it, and so changes no stage.
func (c *Clock) Mark() time.Time {
	mark, _ := c.read()
	return mark
}

func (c *Clock) reportSystem(raised bool, ahead time.Duration) {
	c.mu.Lock()
	changed := c.alarmed != raised
	c.alarmed = raised
	c.mu.Unlock()
	if changed && c.systemAhead != nil {
		c.systemAhead(raised, ahead)
	}
}

// ReportCloudTime takes a time that the cloud stated over an authenticated
// connection. The mark moves forward to it, or stays; it never moves back.
// connection is compared by == with that of the statement before.
// It returns true when the statement cannot be confirmed over this
// connection: the caller should open another one for its next request.
func (c *Clock) ReportCloudTime(cloud time.Time, connection any) (reconnect bool) {
	reading := c.system()
	c.mu.Lock()
	ahead := cloud.Sub(c.markAt(reading))
	believed, reconnect := c.weigh(cloud, ahead, reading, connection)
	if believed && ahead > 0 {
		c.base, c.anchor = cloud.Round(0), reading
	}
	doubt := !believed || ahead < -maxJump
	changed := doubt != c.doubted
	c.doubted = doubt
	c.mu.Unlock()
	if changed && c.cloudInDoubt != nil {
		c.cloudInDoubt(doubt, ahead)
	}
	return reconnect
}

// weigh decides whether the cloud's time, ahead of the mark by so much, is
// believed at the system reading, and notes what the next statement is weighed
// by. c.mu is held.
func (c *Clock) weigh(cloud time.Time, ahead time.Duration, reading time.Time, connection any) (believed, reconnect bool) {
	last := c.unconfirmed
	switch {
	case reading.Round(0).Sub(cloud).Abs() <= agreeSystem:
		c.alone = 0
	case ahead <= 0:
		// Not later than the mark: nothing to believe, and an earlier
		// statement that waited for confirmation is withdrawn.
	case c.alone+ahead <= maxJump:
		c.alone += ahead
	case last == nil || !last.repeatedBy(cloud, reading):
		c.unconfirmed = &statement{time: cloud, received: reading, connection: connection}
		return false, false
	case reading.Sub(last.received) < confirmAfter:
		return false, false
	case last.connection == connection:
		return false, true
	default:
		c.alone = 0
	}
	c.unconfirmed = nil
	return true, false
}

// Reset sets the mark, back or forward, to the system clock, but not before
// the build time: an operator vouches for the system clock. It returns the mark
// before and after.
func (c *Clock) Reset() (was, now time.Time) {
	reading := c.system()
	c.mu.Lock()
	was = c.markAt(reading)
	now = reading.Round(0)
	if now.Before(c.built) {
		now = c.built
	}
	doubted := c.doubted
	c.base, c.anchor = now, reading
	c.alone, c.unconfirmed, c.doubted = 0, nil, false
	c.mu.Unlock()
	if doubted && c.cloudInDoubt != nil {
		c.cloudInDoubt(false, 0)
	}
	return was, now
}

// firstSensibleYear: a system clock that shows an earlier one was never set.
const firstSensibleYear = 2020

// SetTheClock is what an operator does about a clock that was NeverSet.
const SetTheClock = "set the clock (timedatectl set-time, or an NTP server): " +
	"until then tokens and certificates are judged by the last time that is known"

// NeverSet tells that a reading of the system clock comes from a clock that was never set.
func NeverSet(now time.Time) bool { return now.Year() < firstSensibleYear }
