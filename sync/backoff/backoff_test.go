package backoff

import (
	"context"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func nexts(b *Backoff, n int) (waits []time.Duration) {
	for range n {
		waits = append(waits, b.Next())
	}
	return waits
}

func TestWaitsDoubleUpToTheMaximum(t *testing.T) {
	const huge = math.MaxInt64
	for name, c := range map[string]struct {
		b    Backoff
		want []time.Duration
	}{
		"no jitter":           {Backoff{Min: 1, Max: 6}, []time.Duration{1, 2, 4, 6, 6, 6}},
		"first above maximum": {Backoff{Min: 9, Max: 6}, []time.Duration{6, 6}},
		"half, drawn low":     {Backoff{Min: 8, Max: 20, Spread: 0.5, Random: func() float64 { return 0 }}, []time.Duration{4, 8, 10, 10}},
		"half, drawn middle": {
			Backoff{Min: 8, Max: 20, Spread: 0.5, Random: func() float64 { return 0.5 }},
			[]time.Duration{6, 12, 15, 15},
		},
		"full, drawn low": {Backoff{Min: 8, Max: 20, Spread: 1, Random: func() float64 { return 0 }}, []time.Duration{1, 1, 1}},
		"no overflow":     {Backoff{Min: huge/2 + 1, Max: huge}, []time.Duration{huge/2 + 1, huge, huge}},
		"zero value":      {Backoff{}, []time.Duration{0, 0, 0}},
		"no maximum":      {Backoff{Min: 1}, []time.Duration{0, 0}},
	} {
		if got := nexts(&c.b, len(c.want)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestBackoffIsBoundedAndSpread(t *testing.T) {
	b := Backoff{Min: 10, Max: 100, Spread: 1}
	seen := map[int64]bool{}
	for range 50 {
		w := int64(b.Next())
		if w < 1 || w > 101 {
			t.Fatalf("%d", w)
		}
		seen[w] = true
	}
	if len(seen) < 10 {
		t.Errorf("%d different waits", len(seen))
	}
	b.Reset()
	if w := b.Next(); w > 11 {
		t.Errorf("after a success %d", w)
	}
}

// A caller that sets Failures goes on from there.
func TestFailuresAreTheState(t *testing.T) {
	b := Backoff{Min: 1, Max: 100}
	nexts(&b, 5)
	b.Failures = 1
	if got := nexts(&b, 2); !slices.Equal(got, []time.Duration{2, 4}) {
		t.Error(got)
	}
}

func TestWaitTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{Min: time.Second, Max: time.Minute}
		for _, want := range []time.Duration{1, 2, 4} {
			begin := time.Now()
			if !b.Wait(t.Context()) || time.Since(begin) != want*time.Second {
				t.Errorf("waited %s, want %ds", time.Since(begin), want)
			}
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b := Backoff{Min: time.Minute, Max: time.Minute}
		begin := time.Now()
		if b.Wait(ctx) || time.Since(begin) != time.Second {
			t.Errorf("returned after %s", time.Since(begin))
		}
	})
}

func TestTimerIsTheCallersOwn(t *testing.T) {
	var asked []time.Duration
	fired := make(chan time.Time, 1)
	b := Backoff{Min: 1, Max: 4, Timer: func(d time.Duration) <-chan time.Time {
		asked = append(asked, d)
		fired <- time.Time{}
		return fired
	}}
	for range 2 {
		if !b.Wait(t.Context()) {
			t.Error("the timer fired, and Wait says that the context ended")
		}
	}
	if !slices.Equal(asked, []time.Duration{1, 2}) {
		t.Error(asked)
	}
}
