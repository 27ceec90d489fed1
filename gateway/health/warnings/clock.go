package warnings

import (
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/offline"
)

// SystemClock says that the system clock is behind the mark of time, so that the mark
// decides (offline.ClockOptions.SystemBehind).
func SystemClock(t *health.Tracker, system, mark time.Time) {
	lag, severity := offline.LagOf(system, mark), health.Degraded
	if lag == offline.FarBehind {
		severity = health.Failing
	}
	t.Set(lag != offline.InStep, "system-clock", severity,
		fmt.Sprintf("the system clock says %s, which is over: tokens and certificates are judged by the latest time that is known, %s",
			system.UTC().Format(time.RFC3339), mark.UTC().Format(time.RFC3339)),
		offline.SetTheClock)
}

// ClockJump says that the system clock is ahead of the cloud's (offline.ClockOptions.SystemAhead).
func ClockJump(t *health.Tracker, raised bool, ahead time.Duration) {
	t.Set(raised, "clock-jump", health.Degraded,
		fmt.Sprintf("the system clock is %s ahead of what the cloud last confirmed", ahead.Round(time.Minute)),
		"check the clock (timedatectl); the offline stage does not follow it until the cloud confirms the time")
}

// CloudClock says that the cloud's time is far from the stored high-water mark (offline.ClockOptions.CloudInDoubt).
func CloudClock(t *health.Tracker, raised bool, ahead time.Duration) {
	text := fmt.Sprintf("the cloud says that it is %s later than this gateway knows; "+
		"that is not believed until another connection confirms it", ahead.Round(time.Minute))
	if ahead < 0 {
		text = fmt.Sprintf("this gateway reckons %s ahead of the cloud: "+
			"a wrong time was believed once, and credentials end too early", (-ahead).Round(time.Minute))
	}
	t.Set(raised, "cloud-clock", health.Degraded, text,
		"check this machine's clock (timedatectl) and the cloud's; once this machine's is right: gatehousectl reset-clock")
}
