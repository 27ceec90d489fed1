package main

import (
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/printable"
)

type statusCmd struct{}

func (statusCmd) Run(e *env) error {
	s, err := e.client.Status(e.ctx)
	if err != nil {
		return err
	}
	return e.print(s, func(p *printer) { printStatus(p, &s) })
}

func printStatus(p *printer, s *admin.Status) {
	p.line(in(bold, "gatehoused %s", s.Build.Version), in(dim, "up %s, site %s", seconds(s.UptimeSeconds), s.Site))
	p.field("health", in(stateColour(s.Health.State), "%s", s.Health.State), text("%s", since(s.Health.Since)))
	for _, w := range s.Health.Warnings {
		p.field("", in(stateColour(w.Severity), "%s", w.Name), text("%s", w.Text))
	}
	version := s.Cache.Version
	if version == "" {
		version = "none yet"
	}
	p.field("cache", text("version %s, %s old,", version, seconds(s.Cache.AgeSeconds)), in(stateColour(s.Cache.Stage), "%s", s.Cache.Stage))
	p.field("", in(dim, "%d roles, %d assignments, %d devices, %d sensors, %d spaces", s.Cache.Roles, s.Cache.Assignments,
		s.Cache.Devices, s.Cache.Sensors, s.Cache.Spaces))
	p.field("sessions", text("%d connected, %d kept, %d subscriptions", s.Sessions.Connected, s.Sessions.Total, s.Sessions.Subscriptions))
	if n := &s.Sessions; n.TakeOvers > 0 {
		p.field("", in(dim, "%d take-overs, %d sessions contested, %d newcomers waiting", n.TakeOvers, n.Contested, n.Waiting))
	}
	p.field("messages", text("%d accepted, %d denied, %d dropped", s.Messages.Accepted, s.Messages.Denied, s.Messages.Dropped))
	for _, reason := range slices.Sorted(maps.Keys(s.Messages.DeniedByReason)) {
		p.field("", in(dim, "denied %s: %d", reason, s.Messages.DeniedByReason[reason]))
	}
	oldest := ""
	if s.Outbox.Messages > 0 {
		oldest = ", oldest " + seconds(s.Outbox.OldestSeconds)
	}
	p.field("for upstream", text("%d = %d forwarded + %d waiting + %d dropped", s.Messages.ForUpstream, s.Messages.Forwarded,
		s.Outbox.Messages, s.Messages.Lost()))
	for _, reason := range slices.Sorted(maps.Keys(s.Messages.NotForwarded)) {
		p.field("", in(dim, "dropped %s: %d", reason, s.Messages.NotForwarded[reason]))
	}
	aside := text("")
	if s.Outbox.Parked > 0 {
		aside = in(red, "%d parked", s.Outbox.Parked)
	} else if s.Outbox.Paused {
		aside = in(yellow, "paused")
	}
	p.field("outbox", text("%d messages, %s%s", s.Outbox.Messages, bytesText(s.Outbox.Bytes), oldest), aside)
	p.field("upstream", link(s.Upstream)...)
	p.field("sync", link(s.Sync)...)
	var ds []string
	for _, k := range slices.Sorted(maps.Keys(s.Deployments)) {
		ds = append(ds, text("%d %s", s.Deployments[k], k).text)
	}
	if len(ds) > 0 {
		p.field("deployments", text("%s", strings.Join(ds, ", ")))
	}
	for _, l := range s.Listeners {
		p.field("listener", text("%s %s %s, %d connections", l.Name, l.Kind, l.Address, l.Connections))
	}
}

func link(l admin.LinkState) []cell {
	return []cell{in(stateColour(l.State), "%s", l.State), text("%s", l.Target), text("%s", l.Detail), in(dim, "%s", since(l.Since))}
}

func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return "since " + t.Local().Format("2006-01-02 15:04:05")
}

// stateColour serves every state word of the API.
func stateColour(s string) colour {
	switch s {
	case "ok", "fresh", "connected":
		return green
	case "degraded", "stale", "connecting", "warn", "restricted":
		return yellow
	case "failing", "fail", "down", "expired":
		return red
	}
	return plain
}

type healthCmd struct{}

func (healthCmd) Run(e *env) error {
	h, err := e.client.Health(e.ctx)
	if err != nil {
		return err
	}
	err = e.print(h, func(p *printer) {
		p.line(in(stateColour(h.State), "%s", h.State), text("%s", since(h.Since)))
		for _, w := range h.Warnings {
			p.linef("")
			p.line(in(stateColour(w.Severity), "%s", w.Severity), in(bold, "%s", w.Name), in(dim, "%s", since(w.Since)))
			p.linef("  %s", w.Text)
			p.line(in(dim, "  next:"), text("%s", w.Next))
		}
	})
	if err == nil && h.State != "ok" {
		return answered{}
	}
	return err
}

type versionCmd struct{}

func (versionCmd) Run(e *env) error {
	daemon, err := e.client.Version(e.ctx)
	got := struct {
		Client string `json:"client"`
		Daemon string `json:"daemon,omitempty"`
		Error  string `json:"error,omitempty"`
	}{Client: version, Daemon: daemon.Version}
	if err != nil {
		got.Error = err.Error()
	}
	// Asking for the version works without a daemon.
	return e.print(got, func(p *printer) {
		p.linef("gatehousectl %s", version)
		if err != nil {
			p.line(text("gatehoused  "), in(dim, "not running"))
			return
		}
		p.linef("gatehoused   %s %s", daemon.Version, daemon.Revision)
	})
}

type configCmd struct{}

func (configCmd) Run(e *env) error {
	b, err := e.client.Config(e.ctx)
	if err != nil {
		return err
	}
	if e.json {
		var v any
		if err := yaml.Unmarshal(b, &v); err != nil {
			return err
		}
		return e.print(v, nil)
	}
	_, err = io.WriteString(e.out.w, printable.Lines(string(b)))
	return err
}
