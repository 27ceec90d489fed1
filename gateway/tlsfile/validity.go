package tlsfile

import "time"

// Validity is the span of time for which a certificate was issued.
type Validity struct{ NotBefore, NotAfter time.Time }

// Phase is how near a certificate is to its end, in rising order of urgency.
type Phase uint8

// The phases. A certificate that is valid for 90 days or more is in its last month with 30 days
// left, in its last week with 7, and in its last day with 1. The thresholds of a shorter
// certificate are the same fractions of its validity, because one that is renewed every day is
// always in its last month.
const (
	Good Phase = iota
	LastMonth
	LastWeek
	LastDay
	Expired
	NotYetValid
)

const day = 24 * time.Hour

// Left is the time until the end; it is negative after it.
func (v Validity) Left(now time.Time) time.Duration { return v.NotAfter.Sub(now) }

// At is the phase at a time.
func (v Validity) At(now time.Time) Phase {
	life := v.NotAfter.Sub(v.NotBefore)
	within := func(days time.Duration) bool { return v.Left(now) <= min(days*day, life/90*days) }
	switch {
	case now.Before(v.NotBefore):
		return NotYetValid
	case now.After(v.NotAfter):
		return Expired
	case within(1):
		return LastDay
	case within(7):
		return LastWeek
	case within(30):
		return LastMonth
	}
	return Good
}
