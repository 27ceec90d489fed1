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
	// maxService is how long after the build a system clock is believed of which nobody
	// else is a witness. No installation is that old, and a clock beyond it is wrong.
	maxService = 20 * 365 * 24 * time.Hour
)

// ClockOptions of NewClock.
type ClockOptions struct {
	// System reads the wall clock. The readings must carry Go's monotonic
	// reading, as those of time.Now do, or else the mark follows every change
	// of the system clock, unless Elapsed is set.
	System func() time.Time
	// Elapsed is the monotonic time since some moment before NewClock; nil: by the
	// monotonic readings of System.
	Elapsed func() time.Duration
	// Mark is the latest time of which anything stored is a witness (Latest), and Resets
	// how often it had been reset by then; zero: nothing is stored.
	Mark   time.Time
	Resets uint64
	// Built is when this program was built. No time before it is believed.
	Built time.Time

	// SystemAhead is called when the system clock begins to run more than 24 h
	// ahead of the mark (raised), and when it no longer does. Nil: nobody is told.
	SystemAhead func(raised bool, ahead time.Duration)
	// SystemBehind is called with the system clock and the mark of one moment when
	// their Lag changes. Nil: nobody is told.
	SystemBehind func(system, mark time.Time)
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
	elapsed      func() time.Duration
	built        time.Time
	systemAhead  func(raised bool, ahead time.Duration)
	systemBehind func(system, mark time.Time)
	cloudInDoubt func(raised bool, ahead time.Duration)

	mu sync.Mutex
	// base is the mark when elapsed was anchor; the mark now is base plus
	// the monotonic time since anchor. Both guarded by mu.
	base        time.Time
	anchor      time.Duration
	resets      uint64        // how often an operator has reset the mark; guarded by mu
	alarmed     bool          // SystemAhead is raised; guarded by mu
	lag         Lag           // what SystemBehind was told last; guarded by mu
	doubted     bool          // CloudInDoubt is raised; guarded by mu
	alone       time.Duration // how far the cloud moved the mark without a second witness; guarded by mu
	unconfirmed *statement    // the cloud's last statement, if it waits for a second witness; guarded by mu
}

// moment is a reading of both clocks of the machine.
type moment struct {
	wall    time.Time // without a monotonic reading
	elapsed time.Duration
}

func (c *Clock) moment() moment { return moment{c.system().Round(0), c.elapsed()} }

// statement is a time that the cloud stated and that nobody has confirmed.
type statement struct {
	time       time.Time     // what the cloud stated
	received   time.Duration // Clock.elapsed then
	connection any           // over which it came
}

// repeatedBy tells whether the cloud states the same again after elapsed has become
// now, when a time that is later by as much must be named.
func (a *statement) repeatedBy(cloud time.Time, now time.Duration) bool {
	expected := a.time.Add(now - a.received)
	return cloud.Sub(expected).Abs() <= agreeCloud
}

// NewClock starts at the latest of the mark, the build time and, if it is plausible, the
// system clock. It is plausible when it is at most 24 h after the mark: a gateway that was
// off for longer waits for the cloud's time. Without a mark, which is the first start, it
// is plausible for 20 years after the build.
func NewClock(o ClockOptions) *Clock {
	c := &Clock{
		system:       o.System,
		elapsed:      o.Elapsed,
		built:        o.Built,
		systemAhead:  o.SystemAhead,
		systemBehind: o.SystemBehind,
		cloudInDoubt: o.CloudInDoubt,
		base:         o.Mark,
		resets:       o.Resets,
	}
	if c.elapsed == nil {
		began := o.System()
		c.elapsed = func() time.Duration { return o.System().Sub(began) }
	}
	if first := time.Date(firstSensibleYear, 1, 1, 0, 0, 0, 0, time.UTC); c.built.Before(first) {
		c.built = first
	}
	if c.base.Before(c.built) {
		c.base = c.built
	}
	now := c.moment()
	c.anchor = now.elapsed
	within := maxJump
	if o.Mark.IsZero() {
		within = maxService
	}
	if ahead := now.wall.Sub(c.base); ahead > 0 && ahead <= within {
		c.base = now.wall
	}
	return c
}

// read returns the mark and the system clock of one moment.
func (c *Clock) read() (mark, wall time.Time) {
	now := c.moment()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.markAt(now), now.wall
}

// markAt is the mark at a moment. c.mu is held.
func (c *Clock) markAt(at moment) time.Time { return c.base.Add(at.elapsed - c.anchor) }

// Now is the time by which tokens and certificates are judged: the later of
// the mark and the system clock, never before the build time. It raises and
// clears SystemAhead and SystemBehind.
func (c *Clock) Now() time.Time {
	mark, wall := c.read()
	c.reportSystem(wall, mark)
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

// Stamp is the mark as a value that can be stored, and compared with others.
func (c *Clock) Stamp() Stamp {
	now := c.moment()
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stamp{Resets: c.resets, Time: c.markAt(now).UTC()}
}

// reportSystem says what is wrong with the system clock, and what no longer is.
func (c *Clock) reportSystem(wall, mark time.Time) {
	ahead := wall.Sub(mark)
	raised, lag := ahead > maxJump, LagOf(wall, mark)
	c.mu.Lock()
	alarm, lags := c.alarmed != raised, c.lag != lag
	c.alarmed, c.lag = raised, lag
	c.mu.Unlock()
	if alarm && c.systemAhead != nil {
		c.systemAhead(raised, ahead)
	}
	if lags && c.systemBehind != nil {
		c.systemBehind(wall, mark)
	}
}

// ReportCloudTime takes a time that the cloud stated over an authenticated
// connection. The mark moves forward to it, or stays; it never moves back.
// connection is compared by == with that of the statement before.
// It returns true when the statement cannot be confirmed over this
// connection: the caller should open another one for its next request.
func (c *Clock) ReportCloudTime(cloud time.Time, connection any) (reconnect bool) {
	now := c.moment()
	c.mu.Lock()
	ahead := cloud.Sub(c.markAt(now))
	believed, reconnect := c.weigh(cloud, ahead, now, connection)
	if believed && ahead > 0 {
		c.base, c.anchor = cloud.Round(0), now.elapsed
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
// believed now, and notes what the next statement is weighed by. c.mu is held.
func (c *Clock) weigh(cloud time.Time, ahead time.Duration, now moment, connection any) (believed, reconnect bool) {
	last := c.unconfirmed
	switch {
	case now.wall.Sub(cloud).Abs() <= agreeSystem:
		c.alone = 0
	case ahead <= 0:
		// Not later than the mark: nothing to believe, and an earlier
		// statement that waited for confirmation is withdrawn.
	case c.alone+ahead <= maxJump:
		c.alone += ahead
	case last == nil || !last.repeatedBy(cloud, now.elapsed):
		c.unconfirmed = &statement{time: cloud, received: now.elapsed, connection: connection}
		return false, false
	case now.elapsed-last.received < confirmAfter:
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
// before and after. Every Stamp from now on outranks those before.
func (c *Clock) Reset() (was, now time.Time) {
	at := c.moment()
	c.mu.Lock()
	was = c.markAt(at)
	now = at.wall
	if now.Before(c.built) {
		now = c.built
	}
	doubted := c.doubted
	c.base, c.anchor, c.resets = now, at.elapsed, c.resets+1
	c.alone, c.unconfirmed, c.doubted = 0, nil, false
	c.mu.Unlock()
	if doubted && c.cloudInDoubt != nil {
		c.cloudInDoubt(false, 0)
	}
	return was, now
}
