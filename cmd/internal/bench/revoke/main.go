// Command revoke holds how fast a right ends against its bars: the time from the
// management API's 204 on the DELETE of a role assignment until gatehoused has
// ended the live session of the device that held it, with 1,000 sessions, and
// with 10,000 while 5,000 other assignments are changed in one minute beside it,
// and with 500 while a caller without any right floods the management API, which
// then answers as many requests of one principal as it does by default.
//
// Both times are taken in this process: that of the 204 once the answer has been
// read, that of the end when the client's connection reads it. An end that
// comes before the answer counts as 0.
//
// What is judged is the 99th percentile of all revocations of a case. They are
// measured in five groups, which differ by noise only: they are the control.
//
// With CHECK=1 it exits with 1 when a bar is missed and with 75 when the groups
// differ by more than half of the margin.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/bench/verdict"
)

const groups = 5

// workload is one case.
type workload struct {
	name     string
	sessions int           // live at the end: as many more connect as are revoked
	revoked  int           // sessions that lose their right, one after the other
	changes  int           // of other assignments, beside it
	flood    int           // requests a second of a caller without any right, beside it
	over     time.Duration // how long the revocations and the changes take together
	bar      float64       // milliseconds
}

func main() {
	bin := flag.String("bin", "bin", "the directory of gatehoused and managementd")
	only := flag.String("only", "", "only the cases whose name matches this expression")
	quick := flag.Bool("quick", false, "few sessions and changes: shows that everything runs, measures nothing")
	flag.Parse()
	cases := []workload{
		{name: "1,000 sessions", sessions: 1_000, revoked: 500, over: 30 * time.Second, bar: 5},
		{name: "10,000 sessions, 5,000 changes a minute", sessions: 9_500, revoked: 500, changes: 5_000, over: time.Minute, bar: 20},
		{name: "a flood of 4,800 requests a second", sessions: 500, revoked: 300, flood: 4_800, over: 20 * time.Second, bar: 50},
	}
	if *quick {
		cases = []workload{
			{name: "some sessions", sessions: 20, revoked: 10, over: time.Second, bar: 5},
			{name: "some sessions and changes", sessions: 20, revoked: 10, changes: 50, over: time.Second, bar: 20},
			{name: "some sessions and a flood", sessions: 20, revoked: 10, flood: 500, over: time.Second, bar: 50},
		}
	}
	if *quick && os.Getenv("CHECK") != "" {
		fmt.Fprintln(os.Stderr,
			"bench-revoke: CHECK holds figures against their bars, and -quick measures none that could be: leave one of them out")
		os.Exit(2)
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-revoke:", err)
		os.Exit(2)
	}
	cases = slices.DeleteFunc(cases, func(c workload) bool { return !match.MatchString(c.name) })
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, *bin, cases, *quick)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-revoke:", err)
		code = 2
	}
	os.Exit(code)
}

func run(ctx context.Context, bin string, cases []workload, quick bool) (int, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return 0, err
	}
	fmt.Printf("%s %s/%s, %d CPUs\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	var results []verdict.Result
	for _, c := range cases {
		fmt.Printf("\n%s\n", c.name)
		t, err := measure(ctx, bin, c)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", c.name, err)
		}
		p99 := make([]float64, groups)
		for i := range p99 {
			p99[i] = verdict.Quantile(t.took[i*len(t.took)/groups:(i+1)*len(t.took)/groups], 0.99)
		}
		fmt.Printf("  %d revoked: p50 %.2f ms, p90 %.2f ms, p99 %.2f ms, at most %.2f ms; %d ended before the answer came\n",
			len(t.took), verdict.Median(t.took), verdict.Quantile(t.took, 0.9), verdict.Quantile(t.took, 0.99), verdict.Quantile(t.took, 1), t.early)
		fmt.Printf("  p99 of the groups %.2f ms; %d changes beside it, in %.1f s\n", p99, t.changed, t.elapsed.Seconds())
		if c.flood > 0 {
			fmt.Printf("  the flood: %.0f requests a second, %.1f %% of them refused\n",
				float64(t.flooded)/t.elapsed.Seconds(), 100*float64(t.refused)/float64(max(1, t.flooded)))
		}
		held := verdict.Result{Name: c.name + ": p99, ms", Got: verdict.Quantile(t.took, 0.99), Bar: c.bar, Noise: verdict.Spread(p99)}
		if t.elapsed > c.over*11/10 { // it was another load than the bar is for
			held.Noise, held.Note = math.Inf(1), fmt.Sprintf("the changes took %v", t.elapsed.Round(time.Second))
		}
		results = append(results, held,
			verdict.Result{Name: c.name + ": sessions that outlived their right by 10 s", Got: float64(t.survived), Exact: true},
			verdict.Result{Name: c.name + ": sessions that ended and held their right", Got: float64(t.wrong), Exact: true})
	}
	if quick {
		fmt.Printf("\n%d figures; too few to be held against their bars\n", len(results))
		return verdict.Unsound(results), nil
	}
	return verdict.Report(results), nil
}
