package main

import (
	"fmt"
	"testing"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// sink keeps the compiler from removing what is measured.
var sink int

// decide measures single decisions: 64 principals in turn against a lookup in
// a map of as many assignments, and uniformly random ones.
func decide(w *world, ix *authz.Index, pairs, size int, largest bool) []result {
	table := make(map[[16]byte]int, len(w.assignments))
	for i := range w.assignments {
		table[w.assignments[i].ID] = i
	}
	var keys [64][16]byte
	for i := range keys {
		keys[i] = w.assignments[w.rand.IntN(len(w.assignments))].ID
	}
	lookup := func(n int) {
		for i := range n {
			sink += table[keys[i&63]]
		}
	}
	var hot [64]question
	var who [64]*model.Subject
	ask := func(n int) {
		for i := range n {
			if ix.Decide(who[i&63], hot[i&63].op, hot[i&63].at).Allowed {
				sink++
			}
		}
	}
	const n = 200_000
	var out []result
	for _, kind := range []string{"users", "devices"} { // the devices come last, so that hot holds them after the loop
		allowed, i := 0, 0
		for i < 64 {
			q := w.questions(2)[i&1]
			if isUser := q.who >= devices; isUser != (kind == "users") {
				continue
			}
			hot[i], who[i] = q, w.subjects[q.who]
			if ix.Decide(who[i], q.op, q.at).Allowed {
				allowed++
			}
			i++
		}
		mapNs, ourNs, ratio, noise := paired(pairs, n, lookup, ask)
		note := fmt.Sprintf("%.1f ns / %.1f ns; %d of 64 allowed", ourNs, mapNs, allowed)
		if kind == "users" {
			fmt.Printf("  64 users (two identities each) in turn: %.2f x a map lookup: %s\n", ratio, note)
			continue
		}
		out = append(out, result{
			name:  fmt.Sprintf("Decide hot / map lookup, %d", size),
			got:   ratio,
			bar:   2.5,
			unit:  "x",
			noise: noise,
			note:  note,
		})
	}
	allocations := testing.AllocsPerRun(1000, func() { ask(1) })
	out = append(out, result{name: fmt.Sprintf("allocations of a decision, %d", size), got: allocations, bar: 1e-9})
	if !largest {
		return out
	}
	random := make([]question, 1<<18)
	for i := range random {
		random[i] = w.random()
	}
	randomNs, noise := absolute(pairs, n, func(n int) {
		for range n {
			sink++
			q := &random[sink&(len(random)-1)]
			if ix.Decide(w.subjects[q.who], q.op, q.at).Allowed {
				sink++
			}
		}
	})
	out = append(out, result{name: "Decide, random principals", got: randomNs, bar: 2000, unit: "ns", noise: noise})
	// Containment of spaces/{path}/#: everything below the path is readable.
	containNs, noise := absolute(pairs, n, func(n int) {
		for i := range n {
			if ix.Decide(who[i&63], operations[2], below(hot[i&63].at)).Allowed {
				sink++
			}
		}
	})
	return append(out, result{name: "containment of a filter (one subtree)", got: containNs, bar: 1000, unit: "ns", noise: noise})
}

// below is the place that stands for a whole subtree: an assignment covers
// what is below its path, so that all of a subtree is granted, present and
// future, exactly when its top is.
func below(p space.Path) space.Path { return p }
