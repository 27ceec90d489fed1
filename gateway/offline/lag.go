package offline

import "time"

// Lag is how far the system clock is behind the mark, as far as it matters.
type Lag uint8

// The lags, in order. Every one but InStep means that the mark decides in the system clock's place.
const (
	InStep    Lag = iota // by 5 minutes at most, which a time server corrects by itself
	Behind               // by more than that
	FarBehind            // by more than an hour, or the clock was never set
)

// LagOf is the Lag of a system clock that says system when the mark is mark.
func LagOf(system, mark time.Time) Lag {
	behind := mark.Sub(system)
	switch {
	case behind > time.Hour || NeverSet(system):
		return FarBehind
	case behind > 5*time.Minute:
		return Behind
	}
	return InStep
}

// firstSensibleYear: a system clock that shows an earlier one was never set, and no
// earlier time is believed.
const firstSensibleYear = 2020

// SetTheClock is what an operator does about a clock that lags.
const SetTheClock = "set the clock (timedatectl set-time, or an NTP server): " +
	"until then the latest time that is known decides; if the clock is right and that time is wrong: gatehousectl reset-clock"

// NeverSet tells that a reading of the system clock comes from a clock that was never set.
func NeverSet(now time.Time) bool { return now.Year() < firstSensibleYear }
