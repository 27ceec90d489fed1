package load

import "slices"

// span is the numbers from lo up to, and not including, hi.
type span struct{ lo, hi uint32 }

// track follows the numbers of one publisher at one receiver.
type track struct {
	first, next uint32 // next is one above the highest number that came
	begun       bool
	missing     []span // below next, ascending
	unique      int64  // different numbers that came
}

// arrival is what a number means at the moment when it comes.
type arrival uint8

const (
	inOrder arrival = iota
	reordered
	duplicated
)

// begin makes the track expect number 0 first, and not whichever comes first.
func (t *track) begin() { t.begun = true }

// see notes one number.
func (t *track) see(seq uint32) arrival {
	if !t.begun {
		t.begun, t.first, t.next = true, seq, seq
	}
	if seq >= t.next {
		if seq > t.next {
			t.missing = append(t.missing, span{t.next, seq})
		}
		t.next = seq + 1
		t.unique++
		return inOrder
	}
	i, found := slices.BinarySearchFunc(t.missing, seq, func(s span, n uint32) int {
		switch {
		case s.hi <= n:
			return -1
		case s.lo > n:
			return 1
		}
		return 0
	})
	if !found {
		if seq < t.first { // from before the first one that this receiver saw
			return reordered
		}
		return duplicated
	}
	t.unique++
	s := t.missing[i]
	rest := make([]span, 0, 2)
	if s.lo < seq {
		rest = append(rest, span{s.lo, seq})
	}
	if seq+1 < s.hi {
		rest = append(rest, span{seq + 1, s.hi})
	}
	t.missing = slices.Replace(t.missing, i, i+1, rest...)
	return reordered
}

// lost is what did not come of the numbers below sent.
func (t *track) lost(sent uint32) []span {
	if t.next < sent {
		return append(slices.Clone(t.missing), span{t.next, sent})
	}
	return t.missing
}

// gaps is how many numbers are missing below the highest that came.
func (t *track) gaps() (n int64) { return size(t.missing) }

func size(spans []span) (n int64) {
	for _, s := range spans {
		n += int64(s.hi - s.lo)
	}
	return n
}
