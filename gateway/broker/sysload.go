package broker

import (
	"math"
	"sync"
	"time"
)

// loadNames are the totals whose load is published below $SYS/broker/load/, in the order of loadTotals.
var loadNames = [...]string{"messages/received", "messages/sent", "bytes/received", "bytes/sent", "connections"}

// loadOver are the times over which the load is averaged.
var loadOver = [...]struct {
	name string
	over time.Duration
}{{"1min", time.Minute}, {"5min", 5 * time.Minute}, {"15min", 15 * time.Minute}}

func (b *Broker) loadTotals() [len(loadNames)]uint64 {
	n := &b.count
	return [...]uint64{n.received.Load(), n.delivered.Load(), n.bytesIn.Load(), n.bytesOut.Load(), n.connects.Load()}
}

// averages say how fast totals grow, by the minute: exponentially weighted averages.
type averages struct {
	mu   sync.Mutex // guards the fields below
	asOf time.Time
	last [len(loadNames)]uint64
	avg  [len(loadNames)][len(loadOver)]float64
}

// sample brings the averages up to date with the totals at the time now.
func (a *averages) sample(now time.Time, totals [len(loadNames)]uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	passed := now.Sub(a.asOf)
	if passed <= 0 {
		return
	}
	for i, total := range totals {
		perMinute := float64(total-a.last[i]) / passed.Minutes()
		for j, l := range loadOver {
			old := math.Exp(-float64(passed) / float64(l.over))
			a.avg[i][j] = old*a.avg[i][j] + (1-old)*perMinute
		}
	}
	a.asOf, a.last = now, totals
}

// value is the load of loadNames[i] over loadOver[j].
func (a *averages) value(i, j int) float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.avg[i][j]
}
