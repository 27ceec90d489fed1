package main

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// changes is a change set of 50 removals and 50 new assignments.
func (w *world) changes(from model.Version) model.ChangeSet {
	c := model.ChangeSet{From: from, To: model.Version{Epoch: from.Epoch, Number: from.Number + 1}}
	roles := model.SystemRoles()
	removed := map[space.ID]bool{}
	for len(c.RemoveAssigns) < 50 {
		if id := w.assignments[w.rand.IntN(len(w.assignments))].ID; !removed[id] {
			removed[id] = true
			c.RemoveAssigns = append(c.RemoveAssigns, id)
		}
	}
	for range 50 {
		c.PutAssignments = append(
			c.PutAssignments,
			model.Assignment{ID: w.id(), Role: roles[w.rand.IntN(9)].ID, Who: w.holder(), Path: w.path()},
		)
	}
	return c
}

// delta times single change sets of 100, each on its own.
func delta(w *world, ix *authz.Index, pairs int) result {
	var all, control []float64
	once := func() float64 {
		c := w.changes(ix.Version())
		return 1000 * onThread(func() {
			if _, _, err := ix.Apply(c); err != nil {
				panic(err)
			}
		}).Seconds()
	}
	batch := func() float64 {
		var v []float64
		for range 40 {
			v = append(v, once())
		}
		return median(v)
	}
	batch()
	for range pairs {
		x, y := batch(), batch()
		all, control = append(all, x, y), append(control, y/x)
	}
	return result{name: "delta of 100 changes", got: median(all), bar: 1, unit: "ms", noise: spread(control)}
}

// churn derives an index 100 times a second until stop is closed, and swaps
// it in if swap is set; else it only burns what deriving costs.
func churn(current *atomic.Pointer[authz.Index], sets []model.ChangeSet, base *authz.Index, swap bool, stop <-chan struct{}) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-tick.C:
			next, _, err := base.Apply(sets[n%len(sets)])
			if err != nil {
				panic(err)
			}
			if swap {
				current.Store(next)
			}
		}
	}
}

// under runs f with the churn going on.
func under(w *world, ix *authz.Index, sets []model.ChangeSet, swap bool, f func(*atomic.Pointer[authz.Index])) {
	current := new(atomic.Pointer[authz.Index])
	current.Store(ix)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() { churn(current, sets, ix, swap, stop) })
	f(current)
	close(stop)
	writer.Wait()
}

func (w *world) sets(ix *authz.Index) []model.ChangeSet {
	sets := make([]model.ChangeSet, 64)
	for i := range sets {
		sets[i] = w.changes(ix.Version())
	}
	return sets
}

// readers compares decisions per second while deltas swap the snapshot with
// those while the writer works as much and swaps nothing.
func readers(w *world, ix *authz.Index, quick bool) result {
	period, pairs := 400*time.Millisecond, 9
	if quick {
		period, pairs = 50*time.Millisecond, 3
	}
	sets := w.sets(ix)
	random := make([]question, 1<<14)
	for i := range random {
		random[i] = w.random()
	}
	rate := func(swap bool) float64 {
		var done atomic.Int64
		under(w, ix, sets, swap, func(current *atomic.Pointer[authz.Index]) {
			var wg sync.WaitGroup
			until := time.Now().Add(period)
			for reader := range runtime.GOMAXPROCS(0) {
				wg.Go(func() {
					n := 0
					for ; n&1023 != 0 || time.Now().Before(until); n++ {
						q := &random[(n+reader*999)&(len(random)-1)]
						current.Load().Decide(w.subjects[q.who], q.op, q.at)
					}
					done.Add(int64(n))
				})
			}
			wg.Wait()
		})
		return float64(done.Load()) / period.Seconds()
	}
	rate(true)
	var ratios, control []float64
	for range pairs {
		x, y, z := rate(false), rate(true), rate(false)
		ratios, control = append(ratios, 2*y/(x+z)), append(control, z/x)
	}
	return result{
		name:    "decisions/s under 100 swaps/s, of control",
		got:     median(ratios),
		bar:     0.75,
		atLeast: true,
		unit:    "x",
		noise:   spread(control),
	}
}

// latency is the 99.9th percentile of single decisions of one reader while
// deltas swap the snapshot 100 times a second. Its control is the same while
// the writer works and swaps nothing: what the machine takes away by itself.
func latency(w *world, ix *authz.Index, quick bool) result {
	samples, rounds := 200_000, 7
	if quick {
		samples, rounds = 20_000, 3
	}
	sets := w.sets(ix)
	p999 := func(swap bool) float64 {
		took := make([]float64, 0, samples)
		under(w, ix, sets, swap, func(current *atomic.Pointer[authz.Index]) {
			for range samples {
				q := w.random()
				start := time.Now()
				current.Load().Decide(w.subjects[q.who], q.op, q.at)
				took = append(took, float64(time.Since(start)))
			}
		})
		return quantile(took, 0.999) / 1000
	}
	var with, without []float64
	for range rounds {
		with, without = append(with, p999(true)), append(without, p999(false))
	}
	const bar = 20
	noise := (quantile(without, 0.75) - quantile(without, 0.25)) / bar
	if median(without) > bar { // the machine misses the bar by itself
		noise = median(without) / bar
	}
	return result{
		name:  "p99.9 of a decision under 100 swaps/s",
		got:   median(with),
		bar:   bar,
		unit:  "µs",
		noise: noise,
		note:  fmt.Sprintf("%.1f µs without swaps", median(without)),
	}
}
