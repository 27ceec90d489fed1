package gateway

import (
	"context"
	"time"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/health/warnings"
	"github.com/gatehouse/gatehouse/gateway/offline"
)

// buildClock makes the clock, which begins with the latest time that the store knows, and
// the stages that are derived from it.
func (d *daemon) buildClock() {
	d.keeper = &offline.Keeper{Store: d.store.Cache(), Bucket: d.store.Bucket("clock"), Log: d.log}
	last, ages := d.keeper.Last(), d.cfg.Offline
	d.clock = offline.NewClock(offline.ClockOptions{
		System:       d.opts.Now,
		Elapsed:      d.opts.Elapsed,
		Mark:         last.Time,
		Resets:       last.Resets,
		Built:        d.opts.Built,
		SystemAhead:  func(raised bool, ahead time.Duration) { warnings.ClockJump(d.health, raised, ahead) },
		SystemBehind: func(system, mark time.Time) { warnings.SystemClock(d.health, system, mark) },
		CloudInDoubt: d.cloudClockDoubt,
	})
	d.staging = offline.NewStages(d.clock, offline.Limits{Stale: ages.Stale, Restricted: ages.Restricted, Expired: ages.Expired},
		d.stageChanged)
	d.keeper.Clock, d.keeper.Stages = d.clock, d.staging
	d.clock.Now() // health names a wrong system clock from the start
}

// now is the trusted time; before the clock is built, the system's.
func (d *daemon) now() time.Time {
	if d.clock == nil {
		return d.opts.Now()
	}
	return d.clock.Now()
}

// cloudClockDoubt is told whether the cloud's time is far from the high-water mark.
func (d *daemon) cloudClockDoubt(raised bool, ahead time.Duration) {
	warnings.CloudClock(d.health, raised, ahead)
	d.ledger.ClockInDoubt(d.clock.Now(), raised, ahead)
}

// resetClock is called when an operator says that the high-water mark of time is wrong.
func (d *daemon) resetClock(context.Context) (admin.ClockResult, error) {
	was, now, err := d.keeper.Reset()
	d.ledger.ClockReset(now, was)
	if d.replica != nil {
		d.replica.Wake() // so that the cloud is asked at once whether the cache is current
	}
	return admin.ClockResult{Was: was.UTC(), Now: now.UTC()}, err
}
