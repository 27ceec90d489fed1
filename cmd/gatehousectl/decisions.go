package main

import (
	"strings"

	"github.com/gatehouse/gatehouse/gateway/admin"
)

type explainCmd struct {
	Principal string `arg:"" help:"A device id, a key as \"sessions\" prints it, or {type}:{id}."`
	What      string `arg:"" help:"connect, publish, subscribe, will or receive; or an operation (\"Read Device\") or an Azure data action."`
	Where     string `arg:"" optional:"" help:"The topic or filter; or a space path, device id or ARM scope."`
	Tree      bool   `help:"As a tree."`
}

func question(principal, what, where string) admin.Question {
	if admin.IsVerb(what) {
		return admin.Question{Principal: principal, Verb: what, Topic: where}
	}
	return admin.Question{Principal: principal, Operation: what, At: where}
}

func (c explainCmd) Run(e *env) error {
	x, err := e.client.Explain(e.ctx, question(c.Principal, c.What, c.Where))
	if err != nil {
		return err
	}
	err = e.print(x, func(p *printer) {
		if c.Tree {
			explanationTree(p, &c, &x)
			return
		}
		printExplanation(p, &c, &x)
	})
	if err == nil && !x.Allowed {
		return answered{}
	}
	return err
}

func printExplanation(p *printer, c *explainCmd, x *admin.Explanation) {
	p.line(verdict(c, x)...)
	if x.Detail != "" {
		p.field("detail", text("%s", x.Detail))
	}
	if x.Needs != "" && len(x.Steps) == 0 {
		p.field("needs", text("%s", x.Needs))
	}
	for _, s := range x.Steps {
		printStep(p, &s)
	}
	if x.Grant != nil {
		p.field("granted by", text("%s to %s at %s", x.Grant.Role, x.Grant.Identity, x.Grant.Scope), in(dim, "%s", x.Grant.Assignment))
	}
	for _, m := range x.Nearest {
		p.field("not by", text("%s to %s at %s:", m.Role, m.Identity, m.Scope), text("%s", m.Why), in(dim, "%s", m.Assignment))
	}
	if len(x.WouldNeed) > 0 {
		p.field("would need", text("one of: %s", strings.Join(x.WouldNeed, ", ")))
	}
	p.field("decided on", decidedOn(x)...)
}

func verdict(c *explainCmd, x *admin.Explanation) []cell {
	word, col := "denied", red
	if x.Allowed {
		word, col = "allowed", green
	}
	return []cell{in(col, "%s", word), in(bold, "%s", x.Reason), text("%s: %s %s", c.Principal, c.What, c.Where)}
}

func decidedOn(x *admin.Explanation) []cell {
	return []cell{text("version %s, %s old", x.Version, seconds(x.AgeSeconds)), in(stateColour(x.Stage), "%s", x.Stage)}
}

// printStep is one thing that was asked: "Read Device at …: yes, by …".
func printStep(p *printer, s *admin.Step) {
	if s.Row != "" {
		p.field("row", in(dim, "%s", s.Row))
		return
	}
	answer := in(red, "no ")
	if s.OK {
		answer = in(green, "yes")
	}
	what := text("%s at %s", s.Needs, s.At)
	if s.Check != "" {
		what = text("%s %s", s.Check, s.At)
	}
	cells := []cell{answer, what}
	switch {
	case s.Grant != nil:
		cells = append(cells, in(dim, "by %s at %s %s", s.Grant.Role, s.Grant.Scope, s.Grant.Assignment))
	case s.Reason != "":
		cells = append(cells, in(dim, "%s", s.Reason))
	}
	p.field("asked", cells...)
}

type whoCanCmd struct {
	What  string `arg:"" help:"An operation such as \"Read Device\", or an Azure data action."`
	Where string `arg:"" help:"A space path, device id or ARM scope."`
	Tree  bool   `help:"As a tree, by who holds it."`
}

func (c whoCanCmd) Run(e *env) error {
	gs, err := e.client.WhoCan(e.ctx, question("", c.What, c.Where))
	if err != nil {
		return err
	}
	return e.print(gs, func(p *printer) {
		if c.Tree {
			grantTree(p, c.What+" at "+c.Where, gs, "nobody", func(g *admin.Grant) (string, string) { return g.Identity, g.Role + " at " + g.Scope })
			return
		}
		printGrants(p, gs, "nobody")
	})
}

type whatCanCmd struct {
	Principal string `arg:"" help:"A device id, a key as \"sessions\" prints it, or {type}:{id}."`
	Tree      bool   `help:"As a tree, by place."`
}

func (c whatCanCmd) Run(e *env) error {
	gs, err := e.client.WhatCan(e.ctx, c.Principal)
	if err != nil {
		return err
	}
	return e.print(gs, func(p *printer) {
		if c.Tree {
			grantTree(p, c.Principal, gs, "nothing", func(g *admin.Grant) (string, string) { return g.Scope, g.Role + " as " + g.Identity })
			return
		}
		printGrants(p, gs, "nothing")
		said := map[string]bool{}
		for _, g := range gs {
			if g.Operations != "" && !said[g.Role] {
				said[g.Role] = true
				p.line(in(bold, "%s", g.Role), in(dim, "grants"), text("%s", g.Operations))
			}
		}
	})
}

func printGrants(p *printer, gs []admin.Grant, none string) {
	rows := make([][]cell, len(gs))
	for i, g := range gs {
		rows[i] = []cell{text("%s", g.Identity), in(bold, "%s", g.Role), text("%s", g.Scope), in(dim, "%s", g.Assignment)}
	}
	p.table([]string{"IDENTITY", "ROLE", "SCOPE", "ASSIGNMENT"}, rows, none)
}

type assignmentsCmd struct {
	Path      string `help:"Only those assigned at this space path, or at the place of this device." placeholder:"PATH"`
	Below     bool   `help:"And below it."`
	Principal string `help:"Only those of this identity." placeholder:"ID"`
}

func (c assignmentsCmd) Run(e *env) error {
	as, err := e.client.Assignments(e.ctx, admin.AssignmentQuery{Path: c.Path, Down: c.Below, Principal: c.Principal})
	if err != nil {
		return err
	}
	return e.print(as, func(p *printer) {
		rows := make([][]cell, len(as))
		for i, a := range as {
			rows[i] = []cell{text("%s", a.Identity), in(bold, "%s", a.Role), text("%s", a.Scope), in(dim, "%s", a.ID), in(yellow, "%s", a.Problem)}
		}
		p.table([]string{"IDENTITY", "ROLE", "SCOPE", "ID", ""}, rows, "no assignments")
	})
}
