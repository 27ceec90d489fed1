package broker

import (
	"math"
	"testing"
	"time"
)

// A steady rate is every average's value in the end, each by its own time, and it halves when the rate does.
func TestLoadAverages(t *testing.T) {
	t.Parallel()
	now := time.Unix(1, 0)
	a := averages{asOf: now}
	var totals [len(loadNames)]uint64
	for range 15 { // minutes, of two samples each
		for range 2 {
			now = now.Add(30 * time.Second)
			totals[0] += 60
			a.sample(now, totals)
		}
	}
	for j, over := range []float64{1, 5, 15} {
		if want := 120 * (1 - math.Exp(-15/over)); math.Abs(a.value(0, j)-want) > 1e-6 {
			t.Errorf("over %v minutes: %v, want %v", over, a.value(0, j), want)
		}
	}
	a.sample(now, totals) // no time has passed
	if v := a.value(0, 0); math.IsNaN(v) || v < 119 {
		t.Errorf("after no time: %v", v)
	}
	if v := a.value(1, 0); v != 0 {
		t.Errorf("of another total: %v", v)
	}
}
