package verdict

import (
	"testing"
)

func TestVerdicts(t *testing.T) {
	for name, c := range map[string]struct {
		r    Result
		want string
	}{
		"held":                  {Result{Got: 0.2, Bar: 0.25, Noise: 0.05}, Pass},
		"missed":                {Result{Got: 0.4, Bar: 0.25, Noise: 0.05}, Fail},
		"held within noise":     {Result{Got: 0.24, Bar: 0.25, Noise: 0.05}, Inconclusive},
		"missed within noise":   {Result{Got: 0.26, Bar: 0.25, Noise: 0.05}, Inconclusive},
		"minimum held":          {Result{Got: 6, Bar: 5, AtLeast: true, Noise: 0.01}, Pass},
		"minimum missed":        {Result{Got: 3, Bar: 5, AtLeast: true, Noise: 0.01}, Fail},
		"nothing lost":          {Result{Exact: true}, Pass},
		"one lost":              {Result{Exact: true, Got: 1}, Fail},
		"half the margin":       {Result{Got: 0.125, Bar: 0.25, Noise: 0.25}, Pass},
		"above half the margin": {Result{Got: 0.125, Bar: 0.25, Noise: 0.26}, Inconclusive},
	} {
		if got := c.r.Verdict(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestExitCodes: a miss outweighs noise, and both are silent without CHECK.
func TestExitCodes(t *testing.T) {
	held, missed, noisy := Result{Got: 1, Bar: 2}, Result{Got: 3, Bar: 2}, Result{Got: 1, Bar: 2, Noise: 1}
	for _, c := range []struct {
		check   string
		results []Result
		want    int
	}{
		{"1", []Result{held}, 0},
		{"1", []Result{held, noisy}, 75},
		{"1", []Result{missed, noisy, held}, 1},
		{"1", []Result{noisy, missed}, 1},
		{"", []Result{missed}, 0},
	} {
		t.Setenv("CHECK", c.check)
		if got := Report(c.results); got != c.want {
			t.Errorf("CHECK=%q %+v: %d, want %d", c.check, c.results, got, c.want)
		}
	}
}

func TestMedianAndSpread(t *testing.T) {
	if v := []float64{5, 1, 3, 2, 4}; Median(v) != 3 || Spread(v) != 2.0/3 {
		t.Errorf("median %v, spread %v", Median(v), Spread(v))
	}
}
