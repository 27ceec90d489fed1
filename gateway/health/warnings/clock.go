package warnings

import (
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/offline"
)

// SystemClock says that the system clock was never set, for as long as that is so.
func SystemClock(t *health.Tracker, now time.Time) {
	t.Set(offline.NeverSet(now), "system-clock", health.Degraded,
		fmt.Sprintf("the system clock was never set: it says %s", now.Format(time.DateOnly)), offline.SetTheClock)
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
