package store

import (
	"fmt"
	"slices"
)

// ledger is what the store has acknowledged. The number of a record only rises.
type ledger struct {
	least    map[string]uint64 // by the record: the last number acknowledged
	dropping map[string]bool   // a removal has begun: either state is right
	dropped  map[string]bool   // a removal was acknowledged
	found    map[string]uint64 // by the start that is under way
}

func newLedger() ledger {
	return ledger{
		least:    map[string]uint64{},
		dropping: map[string]bool{},
		dropped:  map[string]bool{},
		found:    map[string]uint64{},
	}
}

func (l *ledger) acked(name string, n uint64) {
	delete(l.dropping, name)
	delete(l.dropped, name)
	l.least[name] = max(l.least[name], n)
}

// compare ends a start: it says what is missing or has come back. What was found
// stays found, so that the next start has to find it too.
func (l *ledger) compare() (wrong []string) {
	for name, n := range l.least {
		if got, ok := l.found[name]; !l.dropping[name] && (!ok || got < n) {
			wrong = append(wrong, fmt.Sprintf("%s is at %d, %d was acknowledged", name, got, n))
		}
	}
	for name := range l.dropped {
		if n, ok := l.found[name]; ok && n <= l.least[name] {
			wrong = append(wrong, fmt.Sprintf("%s is back at %d, its removal was acknowledged", name, n))
		}
	}
	slices.Sort(wrong)
	next := newLedger()
	for name, n := range l.found {
		next.least[name] = n
	}
	for name := range l.dropped {
		next.dropping[name], next.dropped[name] = true, true
	}
	*l = next
	return wrong
}
