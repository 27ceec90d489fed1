package tlsfile

import "time"

// Validity is the span of time for which a certificate was issued.
type Validity struct{ NotBefore, NotAfter time.Time }

// Phase is how near a certificate is to its expiry, in rising order of urgency.
type Phase uint8

// The phases. A certificate that is valid for 90 days or more enters its last month when 30 days
// are left, its last week with 7, and its last day with 1. For one that is valid for a shorter
// time these are fractions of its validity: a third, 7/90 and 1/90. Otherwise a certificate that
// is renewed every day would always be in its last month.
const (
	Good Phase = iota
	LastMonth
	LastWeek
	LastDay
	Expired
	NotYetValid
)

const day = 24 * time.Hour

// Left is the time until the certificate expires; it is negative afterwards.
func (v Validity) Left(now time.Time) time.Duration { return v.NotAfter.Sub(now) }

// At is the phase at the time now.
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
