package main

import (
	"strings"

	"github.com/gatehouse/gatehouse/gateway/admin"
)

// branch is one branch of a tree of two levels.
type branch struct {
	label  string
	leaves [][]cell
}

// tree prints branches below a line that was printed already.
func (p *printer) tree(branches []branch) {
	for i, b := range branches {
		fork, rail := "├─", "│ "
		if i == len(branches)-1 {
			fork, rail = "└─", "  "
		}
		p.line(in(dim, "%s", fork), text("%s", b.label))
		for j, leaf := range b.leaves {
			twig := "├─"
			if j == len(b.leaves)-1 {
				twig = "└─"
			}
			p.line(append([]cell{in(dim, "%s %s", rail, twig)}, leaf...)...)
		}
	}
}

// explanationTree is a decision as a tree: what is needed, what grants it or
// came closest, what would, and on which data it was decided.
func explanationTree(p *printer, c *explainCmd, x *admin.Explanation) {
	p.line(verdict(c, x)...)
	var branches []branch
	add := func(label string, leaves ...[]cell) {
		if len(leaves) > 0 {
			branches = append(branches, branch{label, leaves})
		}
	}
	if x.Needs != "" {
		var needs [][]cell
		for n := range strings.SplitSeq(x.Needs, "; ") {
			needs = append(needs, []cell{text("%s", n)})
		}
		add("needs", needs...)
	}
	if g := x.Grant; g != nil {
		add("granted by", []cell{text("%s to %s at %s", g.Role, g.Identity, g.Scope), in(dim, "%s", g.Assignment)})
	}
	var misses, roles [][]cell
	for _, m := range x.Nearest {
		misses = append(misses, []cell{text("%s to %s at %s:", m.Role, m.Identity, m.Scope), text("%s", m.Why), in(dim, "%s", m.Assignment)})
	}
	add("near misses", misses...)
	for _, r := range x.WouldNeed {
		roles = append(roles, []cell{text("%s", r)})
	}
	add("would need one of", roles...)
	if x.Needs == "" && x.Grant == nil && len(misses) == 0 && x.Detail != "" {
		add("because", []cell{text("%s", x.Detail)})
	}
	add("decided on", decidedOn(x))
	p.tree(branches)
}

// grantTree is a list of assignments as a tree; by says under what each one
// stands, and how.
func grantTree(p *printer, head string, gs []admin.Grant, none string, by func(*admin.Grant) (label, leaf string)) {
	p.line(in(bold, "%s", head))
	if len(gs) == 0 {
		p.tree([]branch{{label: none}})
		return
	}
	var branches []branch
	at := map[string]int{}
	for i := range gs {
		label, leaf := by(&gs[i])
		n, ok := at[label]
		if !ok {
			n = len(branches)
			at[label] = n
			branches = append(branches, branch{label: label})
		}
		if gs[i].Operations != "" {
			leaf += ": " + gs[i].Operations
		}
		branches[n].leaves = append(branches[n].leaves, []cell{text("%s", leaf), in(dim, "%s", gs[i].Assignment)})
	}
	p.tree(branches)
}
