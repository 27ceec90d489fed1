package main

import (
	"os"
	"testing"
	"time"
)

func TestVerdicts(t *testing.T) {
	for name, c := range map[string]struct {
		r    result
		want string
	}{
		"held":                  {result{got: 0.2, bar: 0.25, noise: 0.05}, pass},
		"missed":                {result{got: 0.4, bar: 0.25, noise: 0.05}, fail},
		"held within noise":     {result{got: 0.24, bar: 0.25, noise: 0.05}, inconclusive},
		"missed within noise":   {result{got: 0.26, bar: 0.25, noise: 0.05}, inconclusive},
		"minimum held":          {result{got: 6, bar: 5, atLeast: true, noise: 0.01}, pass},
		"minimum missed":        {result{got: 3, bar: 5, atLeast: true, noise: 0.01}, fail},
		"nothing lost":          {result{exact: true}, pass},
		"one lost":              {result{exact: true, got: 1}, fail},
		"half the margin":       {result{got: 0.125, bar: 0.25, noise: 0.25}, pass},
		"above half the margin": {result{got: 0.125, bar: 0.25, noise: 0.26}, inconclusive},
	} {
		if got := c.r.verdict(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestExitCodes: a miss outweighs noise, and both are silent without CHECK.
func TestExitCodes(t *testing.T) {
	held, missed, noisy := result{got: 1, bar: 2}, result{got: 3, bar: 2}, result{got: 1, bar: 2, noise: 1}
	for _, c := range []struct {
		check   string
		results []result
		want    int
	}{
		{"1", []result{held}, 0},
		{"1", []result{held, noisy}, 75},
		{"1", []result{missed, noisy, held}, 1},
		{"1", []result{noisy, missed}, 1},
		{"", []result{missed}, 0},
	} {
		t.Setenv("CHECK", c.check)
		if got := report(c.results); got != c.want {
			t.Errorf("CHECK=%q %+v: %d, want %d", c.check, c.results, got, c.want)
		}
	}
}

func TestMedianAndSpread(t *testing.T) {
	if v := []float64{5, 1, 3, 2, 4}; median(v) != 3 || spread(v) != 2.0/3 {
		t.Errorf("median %v, spread %v", median(v), spread(v))
	}
}

// TestCPU reads this process's own time, which a busy loop makes longer.
func TestCPU(t *testing.T) {
	before, err := cpuOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for range 1_000_000_000 {
		if now, err := cpuOf(os.Getpid()); err != nil || now >= before+20*time.Millisecond {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Error("the processor time does not grow")
}
