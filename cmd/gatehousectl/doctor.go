package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/printable"
)

type doctorCmd struct {
	Check bool          `help:"One line and an exit code for Nagios and its kin: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."`
	Local bool          `help:"Look at this machine only: do not look up, dial or send anything."`
	Wait  time.Duration `help:"How long each look at the network may take, 100ms to 30s." default:"4s"`
}

// Validate is called by the parser.
func (c doctorCmd) Validate() error {
	if c.Wait < 100*time.Millisecond || c.Wait > 30*time.Second {
		return fmt.Errorf("--wait %s is not between 100ms and 30s", c.Wait)
	}
	return nil
}

// The states of a finding, the worst last.
var states = []string{"ok", "notice", "warn", "fail"}

// worst is the state of the worst finding.
func worst(list []admin.Finding) string {
	at := 0
	for _, f := range list {
		at = max(at, slices.Index(states, f.State))
	}
	return states[at]
}

// Run prints what the daemon found out about itself, and then what this command sees of the network, line
// by line: a look takes seconds where something is wrong.
func (c doctorCmd) Run(e *env) error {
	if c.Check && e.json {
		const both = "--check and --json exclude each other: one is a line for Nagios, the other a list of findings"
		e.out.write("GATEHOUSE UNKNOWN - command line: " + both)
		return exit(nagiosUnknown)
	}
	list, err := e.client.Doctor(e.ctx)
	if err != nil {
		return c.unknown(e, err)
	}
	quiet := c.Check || e.json
	show := func(f admin.Finding) {
		if !quiet {
			printFinding(e.out, &f)
		}
	}
	for _, f := range list {
		show(f)
	}
	if !c.Local {
		list = append(list, c.network(e, quiet, show)...)
	}
	state := worst(list)
	switch {
	case c.Check:
		e.out.write(nagiosLine(list))
		return exit(nagiosCodes[state])
	case e.json:
		if err := e.print(list, nil); err != nil {
			return err
		}
	}
	switch {
	case e.out.err != nil:
		return e.out.err
	case state == "fail":
		return answered{}
	case state == "warn":
		return exit(exitWarned)
	}
	return nil
}

func (c doctorCmd) unknown(e *env, err error) error {
	if !c.Check {
		return err
	}
	e.out.write("GATEHOUSE UNKNOWN - " + printable.Text(err.Error()))
	return exit(nagiosUnknown)
}

func printFinding(p *printer, f *admin.Finding) {
	p.line(in(stateColour(f.State), "%-6s", f.State), in(bold, "%s", f.Name), text("%s", f.Text))
	if f.Next != "" {
		p.line(text("      "), in(dim, "next:"), text("%s", f.Next))
	}
}

// network looks at every server of the daemon's configuration, and at the link upstream as a whole. While
// a look lasts, a terminal says which.
func (c doctorCmd) network(e *env, quiet bool, show func(admin.Finding)) []admin.Finding {
	remotes, err := e.client.Remotes(e.ctx)
	if err != nil {
		f := admin.Finding{
			Name:  "network",
			State: "warn",
			Text:  "was not looked at: " + err.Error(),
			Next:  "use a gatehousectl of the daemon's release",
		}
		show(f)
		return []admin.Finding{f}
	}
	progress := func(string) {}
	if !quiet && isTerminal(e.errors) {
		progress = func(what string) {
			if what != "" {
				what = "looking at " + clean(what) + " …"
			}
			_, _ = io.WriteString(e.errors, "\r\x1b[K"+what)
		}
	}
	var all []admin.Finding
	note := func(list ...admin.Finding) {
		progress("")
		for _, f := range list {
			show(f)
		}
		all = append(all, list...)
	}
	for _, r := range remotes.Remotes {
		progress(r.URL)
		look := look{wait: c.Wait, now: time.Now}
		note(look.at(e.ctx, &r)...)
		if r.Upstream {
			progress("an echo through " + r.URL)
			note(c.echo(e))
		}
	}
	return all
}

// echo has the daemon send a probe by the connection that it has.
func (c doctorCmd) echo(e *env) admin.Finding {
	ctx, cancel := context.WithTimeout(e.ctx, c.Wait)
	defer cancel()
	r, err := e.client.Echo(ctx)
	f := admin.Finding{Name: "upstream-echo", State: "ok"}
	var refused *admin.Error
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusForbidden:
		f.State, f.Text, f.Next = "notice", "was not tried: "+refused.What, refused.Next
	case ctx.Err() != nil:
		f.State, f.Text, f.Next = "fail", fmt.Sprintf("did not come back within %s", c.Wait), "look at the upstream's own log"
	case err != nil:
		f.State, f.Text, f.Next = "fail", err.Error(), "gatehousectl status"
	case r.Error != "":
		f.State, f.Text, f.Next = "fail", "did not come back: "+r.Error, "the findings about name, port and certificate of the upstream say more"
	default:
		f.Text = fmt.Sprintf("a probe through the gateway's own connection to %s came back after %.0f ms", r.Target, r.Seconds*1000)
	}
	return f
}

// nagiosCodes are the exit codes of Nagios plugins by state; a notice is no reason to call anybody.
var nagiosCodes = map[string]int{"ok": 0, "notice": 0, "warn": 1, "fail": 2}

const nagiosUnknown = 3

// nagiosLine sums findings up in one line with the performance data of Nagios plugins behind the bar.
func nagiosLine(list []admin.Finding) string {
	n := map[string]int{}
	for _, f := range list {
		n[f.State]++
	}
	state := worst(list)
	line := "GATEHOUSE " + map[string]string{"ok": "OK", "notice": "OK", "warn": "WARNING", "fail": "CRITICAL"}[state]
	switch {
	case n["fail"]+n["warn"] == 0:
		line += fmt.Sprintf(" - %d looks, nothing wrong", len(list))
	default:
		line += fmt.Sprintf(" - %d failed, %d warnings", n["fail"], n["warn"])
	}
	var named []string
	for _, s := range []string{"fail", "warn"} {
		for _, f := range list {
			if f.State == s {
				named = append(named, f.Name)
			}
		}
	}
	if len(named) > 0 {
		i := slices.IndexFunc(list, func(f admin.Finding) bool { return f.State == state })
		line += ": " + list[i].Name + " (" + shortened(list[i].Text, 200) + ")"
		if named = slices.DeleteFunc(named, func(s string) bool { return s == list[i].Name }); len(named) > 0 {
			line += ", " + strings.Join(slices.Compact(named), ", ")
		}
	}
	// A bar ends the text, and what is behind it is read as numbers.
	line = strings.ReplaceAll(printable.Text(line), "|", "/")
	return line + fmt.Sprintf(" | failed=%d warnings=%d notices=%d", n["fail"], n["warn"], n["notice"])
}

func shortened(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
