// Command bench measures the authorization engine: absolute bars, and the same
// decisions made by casbin, cedar-go and OPA. It is a module of its own, so
// that the product does not depend on its peers.
//
// With CHECK=1 it exits with 1 when a bar is missed and with 75 when the
// machine was too noisy to tell: when the spread of the control (the same code
// measured against itself) is larger than half of the margin.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
)

func main() {
	quick := flag.Bool("quick", false, "one small world and few rounds: shows that everything runs, proves nothing")
	peers := flag.Bool("peers", true, "compare with casbin, cedar-go and OPA")
	flag.Parse()
	if *quick && os.Getenv("CHECK") != "" {
		fmt.Fprintln(
			os.Stderr,
			"bench: CHECK holds figures against their bars, and -quick measures none that could be: leave one of them out",
		)
		os.Exit(2)
	}
	code, err := run(*quick, *peers)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	os.Exit(code)
}

func run(quick, withPeers bool) (int, error) {
	sizes, pairs, peerSize := []int{1_000, 100_000, 1_000_000}, 31, 100_000
	if quick {
		sizes, pairs, peerSize = []int{1_000, 10_000}, 3, 10_000
	}
	fmt.Printf("%s %s/%s, %d CPUs\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	var results []result
	for _, size := range sizes {
		fmt.Printf("world of %d assignments\n", size)
		w := newWorld(size)
		largest := size == sizes[len(sizes)-1]
		ix, built := build(w, largest)
		results = append(results, built...)
		results = append(results, decide(w, ix, pairs, size, largest)...)
		if largest {
			results = append(results, delta(w, ix, pairs), readers(w, ix, quick))
			results = append(results, latency(w, ix, quick))
		}
		if withPeers && size == peerSize {
			asked, rounds := 4_000, 3
			list, err := compare(w, ix, asked, rounds)
			if err != nil {
				return 0, err
			}
			fmt.Println(
				"\n| engine | one decision | ours, same questions | factor | answers that differ | time to load |\n" +
					"|---|---|---|---|---|---|",
			)
			for _, c := range list {
				fmt.Printf(
					"| %s | %v | %.0f ns | %.0f | %d | %v |\n",
					c.peer, c.perOp, c.ours, float64(c.perOp)/c.ours, c.differed, c.load.Round(time.Millisecond),
				)
				results = append(
					results,
					result{name: "answers of " + c.peer + " that differ", got: float64(c.differed), bar: 1e-9, unit: ""},
				)
			}
			best := list[0]
			results = append(results, result{
				name:    "faster than the best peer (" + best.peer + ")",
				got:     float64(best.perOp) / best.ours,
				bar:     100,
				atLeast: true,
				unit:    "x",
			})
		}
	}
	if quick {
		fmt.Printf("\n%d figures; too small and too short a run to be held against their bars\n", len(results))
		return 0, nil
	}
	return report(results), nil
}

// build compiles the world on one core and weighs the index.
func build(w *world, bars bool) (*authz.Index, []result) {
	before := heap()
	var ix *authz.Index
	procs := runtime.GOMAXPROCS(1)
	var took []float64
	for range 5 {
		ix = nil
		runtime.GC()
		took = append(took, inProcess(func() {
			ix, _ = authz.Compile(model.Snapshot{Version: model.Version{Epoch: 1, Number: 1}, Assignments: w.assignments})
		}).Seconds())
		if !bars {
			break
		}
	}
	runtime.GOMAXPROCS(procs)
	n := float64(len(w.assignments))
	bytes := float64(heap()-before) / n
	holders := map[model.Identity]struct{}{}
	for i := range w.assignments {
		holders[w.assignments[i].Who] = struct{}{}
	}
	ids := 16 + 16*float64(len(holders))/n
	fmt.Printf("  compiled in %.0f ms; %.1f bytes an assignment, %.1f of them its id and its holder's\n", 1000*median(took), bytes, ids)
	if !bars {
		return ix, nil
	}
	return ix, []result{
		{name: "compile, one core", got: median(took), bar: 2, unit: "s", noise: spread(took)},
		{name: "memory an assignment beyond ids", got: bytes - ids, bar: 64, unit: "B", note: fmt.Sprintf("%.1f B with ids", bytes)},
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
