package main

import (
	"fmt"
	"os"
	"slices"
)

// verdict of a bar.
type verdict int

const (
	pass verdict = iota
	fail
	inconclusive
)

func (v verdict) String() string { return [...]string{"PASS", "FAIL", "INCONCLUSIVE"}[v] }

// result is one measured bar.
type result struct {
	name     string
	got, bar float64
	atLeast  bool // the bar is a minimum
	unit     string
	noise    float64 // relative spread of the control; 0 when the figure is exact
	note     string
}

func (r result) verdict() verdict {
	margin := (r.bar - r.got) / r.bar
	if r.atLeast {
		margin = -margin
	}
	if size := max(margin, -margin); r.noise > size/2 {
		return inconclusive
	}
	if margin < 0 {
		return fail
	}
	return pass
}

func (r result) row() string {
	relation := "<="
	if r.atLeast {
		relation = ">="
	}
	return fmt.Sprintf(
		"| %s | %s | %s %s | %.1f %% | %s | %s |",
		r.name, figure(r.got, r.unit), relation, figure(r.bar, r.unit), 100*r.noise, r.verdict(), r.note,
	)
}

func figure(v float64, unit string) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f %s", v, unit)
	case v >= 10:
		return fmt.Sprintf("%.1f %s", v, unit)
	}
	return fmt.Sprintf("%.2f %s", v, unit)
}

func median(v []float64) float64 { return quantile(v, 0.5) }

func quantile(v []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

// spread is the relative width of the middle half of the control.
func spread(v []float64) float64 { return (quantile(v, 0.75) - quantile(v, 0.25)) / median(v) }

// perOp times n calls of f and returns nanoseconds for each.
func perOp(n int, f func(n int)) float64 {
	return float64(onThread(func() { f(n) })) / float64(n)
}

// paired runs a and b in turn, pair after pair, with a second run of a as the
// control of noise, and returns the medians of a and b, the median of b/a and
// the spread of a/a.
func paired(pairs, n int, a, b func(n int)) (aNs, bNs, ratio, noise float64) {
	a(n)
	b(n)
	var as, bs, ratios, control []float64
	for range pairs {
		x, y, z := perOp(n, a), perOp(n, b), perOp(n, a)
		as, bs = append(as, x), append(bs, y)
		ratios, control = append(ratios, 2*y/(x+z)), append(control, z/x)
	}
	// The control's spread narrows with the number of pairs as the median of the ratios does.
	return median(as), median(bs), median(ratios), spread(control)
}

// absolute is paired for a bar in absolute terms: the control is f against itself.
func absolute(pairs, n int, f func(n int)) (ns, noise float64) {
	f(n)
	var all, control []float64
	for range pairs {
		x, y := perOp(n, f), perOp(n, f)
		all, control = append(all, x, y), append(control, y/x)
	}
	return median(all), spread(control)
}

// report prints the table and returns the exit code.
func report(results []result) int {
	fmt.Println("\n| bar | measured | required | noise | verdict | |\n|---|---|---|---|---|---|")
	worst := pass
	for _, r := range results {
		fmt.Println(r.row())
		if v := r.verdict(); v == fail || v == inconclusive && worst == pass {
			worst = v
		}
	}
	if os.Getenv("CHECK") == "" {
		return 0
	}
	return map[verdict]int{pass: 0, fail: 1, inconclusive: 75}[worst]
}
