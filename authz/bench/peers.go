package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// peer is another engine doing the same decisions.
type peer interface {
	name() string
	prepare(q question) any // the question in the peer's own terms; not timed
	decide(x any) (bool, error)
}

// roleRow is what a role allows among the operations that are asked about.
type roleRow struct {
	name   string
	allows []model.Operation
}

// roleTable states the nine roles for the peers: it is read off our own
// index, which the published matrix tests.
func roleTable() []roleRow {
	var out []roleRow
	for _, r := range model.SystemRoles() {
		who := model.Identity{Kind: model.DeviceID, Object: r.ID}
		ix, _ := authz.Compile(model.Snapshot{Assignments: []model.Assignment{{ID: r.ID, Role: r.ID, Who: who, Path: space.Root}}})
		row := roleRow{name: r.Name}
		for _, op := range operations {
			if ix.Decide(&model.Subject{Identities: []model.Identity{who}}, op, space.Root).Allowed {
				row.allows = append(row.allows, op)
			}
		}
		out = append(out, row)
	}
	return out
}

func roleName(id space.ID) string {
	for _, r := range model.SystemRoles() {
		if r.ID == id {
			return r.Name
		}
	}
	return ""
}

func action(op model.Operation) string { return op.Access.String() + op.Type.String() }

// ancestors are the place and all above it, as text.
func ancestors(p space.Path) []string {
	out := []string{p.String()}
	for up, ok := p.Parent(); ok; up, ok = up.Parent() {
		out = append(out, up.String())
	}
	return out
}

// comparison is one peer's result.
type comparison struct {
	peer     string
	perOp    time.Duration
	load     time.Duration
	ours     float64 // ns, over the same questions
	differed int
}

// compare asks all engines the same questions, checks that they give the same
// answers, and times them in interleaved rounds.
func compare(w *world, ix *authz.Index, asked int, rounds int) ([]comparison, error) {
	questions := w.questions(asked)
	want := make([]bool, len(questions))
	allowed := 0
	for i, q := range questions {
		want[i] = ix.Decide(w.subjects[q.who], q.op, q.at).Allowed
		if want[i] {
			allowed++
		}
	}
	fmt.Printf("  %d questions, %d allowed\n", len(questions), allowed)
	var out []comparison
	for _, build := range []func(*world) (peer, error){newCasbin, newCedar, newOPA} {
		start := time.Now()
		p, err := build(w)
		if err != nil {
			return nil, err
		}
		c := comparison{peer: p.name(), load: time.Since(start)}
		prepared := make([]any, len(questions))
		for i, q := range questions {
			prepared[i] = p.prepare(q)
		}
		for i := range prepared {
			got, err := p.decide(prepared[i])
			if err != nil {
				return nil, err
			}
			if got != want[i] {
				c.differed++
			}
		}
		var theirs, ours []float64
		const timed, repeat = 512, 100 // questions in turn; ours is too quick to be asked once
		for range rounds {
			theirs = append(theirs, perOp(timed, func(n int) {
				for i := range n {
					if got, _ := p.decide(prepared[i]); got != want[i] {
						c.differed++
					}
				}
			}))
			ours = append(ours, perOp(timed*repeat, func(n int) {
				for i := range n {
					q := &questions[i%timed]
					if ix.Decide(w.subjects[q.who], q.op, q.at).Allowed != want[i%timed] {
						c.differed++
					}
				}
			}))
		}
		c.perOp, c.ours = time.Duration(median(theirs)), median(ours)
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b comparison) int { return int(a.perOp - b.perOp) })
	return out, nil
}
