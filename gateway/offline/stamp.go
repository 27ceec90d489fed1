package offline

import "time"

// Stamp is a reading of the mark that says what it may be compared with. An operator's
// reset moves the mark back, so that of two readings the later time is not always the
// later reading: it is the one after more resets.
type Stamp struct {
	Resets uint64    `json:"resets,omitempty"` // how often the mark had been reset by then
	Time   time.Time `json:"time"`
}

// After tells whether s was read after o.
func (s Stamp) After(o Stamp) bool {
	if s.Resets != o.Resets {
		return s.Resets > o.Resets
	}
	return s.Time.After(o.Time)
}

// Latest is what the gateway knew last of the time: the latest of the stamps that it
// finds stored when it starts. What was stamped before the last reset counts for nothing.
func Latest(stamps ...Stamp) (last Stamp) {
	for _, s := range stamps {
		if s.After(last) {
			last = s
		}
	}
	return last
}
