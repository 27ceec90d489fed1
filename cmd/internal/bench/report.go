package main

import (
	"fmt"
	"os"
	"slices"
)

// result is one measured bar.
type result struct {
	name     string
	got, bar float64
	atLeast  bool    // the bar is a minimum
	exact    bool    // counted, not measured: there is no noise
	noise    float64 // relative spread of the control
	note     string
}

// The verdicts, from best to worst for the exit code.
const (
	pass         = "PASS"
	inconclusive = "INCONCLUSIVE"
	fail         = "FAIL"
)

func (r result) verdict() string {
	missed := r.got > r.bar
	if r.atLeast {
		missed = r.got < r.bar
	}
	margin := 0.0
	if !r.exact {
		margin = max(r.bar-r.got, r.got-r.bar) / r.bar
	}
	switch {
	case !r.exact && r.noise > margin/2:
		return inconclusive
	case missed:
		return fail
	}
	return pass
}

// report prints the table and returns the exit code.
func report(results []result) int {
	fmt.Println("\n| bar | measured | required | noise | verdict | |\n|---|---|---|---|---|---|")
	worst := pass
	for _, r := range results {
		relation := "<="
		if r.atLeast {
			relation = ">="
		}
		v := r.verdict()
		fmt.Printf("| %s | %.2f | %s %.2f | %.1f %% | %s | %s |\n", r.name, r.got, relation, r.bar, 100*r.noise, v, r.note)
		if v == fail || v == inconclusive && worst == pass {
			worst = v
		}
	}
	if os.Getenv("CHECK") == "" {
		return 0
	}
	return map[string]int{pass: 0, fail: 1, inconclusive: 75}[worst]
}

// unsound is 1 if something that is counted is not as it must be; a run too short to measure shows that much.
func unsound(results []result) int {
	code := 0
	for _, r := range results {
		if r.exact && r.verdict() == fail {
			fmt.Printf("FAIL %s: %.0f\n", r.name, r.got)
			code = 1
		}
	}
	return code
}

func median(v []float64) float64 { return quantile(v, 0.5) }

func quantile(v []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

// spread is the relative width of the middle half.
func spread(v []float64) float64 { return (quantile(v, 0.75) - quantile(v, 0.25)) / median(v) }
