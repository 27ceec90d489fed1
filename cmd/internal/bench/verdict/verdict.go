// Package verdict holds measured figures against their bars. A figure that was
// measured comes with the noise of its control, the same thing measured against
// itself: where that is larger than half of the margin nobody can tell, and the
// verdict is INCONCLUSIVE.
package verdict

import (
	"fmt"
	"os"
	"slices"
)

// Result is one measured bar.
type Result struct {
	Name     string
	Got, Bar float64
	AtLeast  bool    // the bar is a minimum
	Exact    bool    // counted, not measured: there is no noise
	Noise    float64 // relative spread of the control
	Note     string
}

// The verdicts, from best to worst for the exit code.
const (
	Pass         = "PASS"
	Inconclusive = "INCONCLUSIVE"
	Fail         = "FAIL"
)

// Verdict is Pass, Fail or Inconclusive.
func (r Result) Verdict() string {
	missed := r.Got > r.Bar
	if r.AtLeast {
		missed = r.Got < r.Bar
	}
	margin := 0.0
	if !r.Exact {
		margin = max(r.Bar-r.Got, r.Got-r.Bar) / r.Bar
	}
	switch {
	case !r.Exact && r.Noise > margin/2:
		return Inconclusive
	case missed:
		return Fail
	}
	return Pass
}

// Report prints the table and returns the exit code: with CHECK set, 1 for a miss
// and 75 when the machine was too noisy to tell.
func Report(results []Result) int {
	fmt.Println("\n| bar | measured | required | noise | verdict | |\n|---|---|---|---|---|---|")
	worst := Pass
	for _, r := range results {
		relation := "<="
		if r.AtLeast {
			relation = ">="
		}
		v := r.Verdict()
		fmt.Printf("| %s | %.2f | %s %.2f | %.1f %% | %s | %s |\n", r.Name, r.Got, relation, r.Bar, 100*r.Noise, v, r.Note)
		if v == Fail || v == Inconclusive && worst == Pass {
			worst = v
		}
	}
	if os.Getenv("CHECK") == "" {
		return 0
	}
	return map[string]int{Pass: 0, Fail: 1, Inconclusive: 75}[worst]
}

// Unsound is 1 if something that is counted is not as it must be; a run too short to measure shows that much.
func Unsound(results []Result) int {
	code := 0
	for _, r := range results {
		if r.Exact && r.Verdict() == Fail {
			fmt.Printf("FAIL %s: %.0f\n", r.Name, r.Got)
			code = 1
		}
	}
	return code
}

// Median of at least one value.
func Median(v []float64) float64 { return Quantile(v, 0.5) }

// Quantile is the value below which the part q of v lies.
func Quantile(v []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

// Spread is the relative width of the middle half.
func Spread(v []float64) float64 { return (Quantile(v, 0.75) - Quantile(v, 0.25)) / Median(v) }
