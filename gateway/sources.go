package gateway

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// sources is what operators may ask (gateway/admin).
func (d *daemon) sources() admin.Sources {
	return admin.Sources{
		Status:      func(context.Context) (admin.Status, error) { return d.status(), nil },
		Health:      func(context.Context) (admin.Health, error) { return d.healthReport(), nil },
		Sessions:    func(_ context.Context, q admin.SessionQuery) ([]admin.Session, error) { return d.sessions(q), nil },
		Explain:     func(_ context.Context, q admin.Question) (admin.Explanation, error) { return d.explain(q) },
		Assignments: d.assignments,
		WhoCan:      func(_ context.Context, q admin.Question) ([]admin.Grant, error) { return d.whoCan(q) },
		WhatCan:     func(_ context.Context, name string) ([]admin.Grant, error) { return d.whatCan(name) },
		Audit:       d.audit.Recent,
		Follow:      func() admin.Follower { return d.audit.Follow() },
		Sync:        d.syncNow,
		Disconnect:  d.disconnect,
		ResetClock:  d.resetClock,
		Config:      d.redactedConfig,
		Doctor:      d.doctor,
	}
}

func (d *daemon) status() admin.Status {
	stats, box := d.broker.Stats(), d.outboxStats()
	data := d.topologyCounts()
	s := admin.Status{
		Build:     admin.Build{Version: d.opts.Version, Go: runtime.Version()},
		Site:      d.cfg.Instance.Site.String(),
		Hub:       d.cfg.Instance.Hub.Host,
		StartedAt: d.started, UptimeSeconds: time.Since(d.started).Seconds(),
		Health: d.healthReport(),
		Cache: admin.CacheState{
			Stage: d.staging.Stage().String(), AgeSeconds: max(0, d.staging.Age().Seconds()),
			Roles: len(model.SystemRoles()), Assignments: d.policy.Index().Len(),
			Devices: data.devices, Sensors: data.sensors, Spaces: data.spaces,
		},
		Sessions: admin.SessionCounts{Connected: stats.Connections, Total: stats.Sessions, Subscriptions: stats.Subscriptions, ByKind: map[string]int{}},
		Messages: admin.MessageCounts{
			Accepted:    stats.Received - min(stats.Received, stats.Refused),
			ForUpstream: box.Restored + box.Accepted, Forwarded: box.Acked, NotForwarded: box.Dropped, DeniedByReason: d.ledger.DeniedByReason(),
		},
		Deployments: d.deployments(),
	}
	if d.policy.Loaded() {
		s.Cache.Version = d.policy.Index().Version().String()
	}
	for _, n := range dropped(&stats, &box) {
		s.Messages.Dropped += n
	}
	for _, n := range s.Messages.DeniedByReason {
		s.Messages.Denied += n // of every kind of operation, not of publishes alone
	}
	at := map[string]int{}
	for _, info := range d.broker.Sessions() {
		if info.Connected && info.Principal != nil {
			s.Sessions.ByKind[info.Principal.Kind.String()]++
			at[info.Listener]++
		}
	}
	s.Outbox, s.Upstream = d.outboxState(&box), d.upstreamState()
	s.Sync = d.syncState()
	for _, l := range d.doors {
		s.Listeners = append(s.Listeners, admin.ListenerState{Name: l.Name, Kind: kindName(l.Kind), Address: l.Listener.Addr().String(), Connections: at[l.Name]})
	}
	return s
}

func kindName(k broker.Kind) string {
	switch k {
	case broker.WebSocket:
		return config.KindWebSocket
	case broker.Unix:
		return config.KindUnix
	default:
		return config.KindMQTT
	}
}

func (d *daemon) healthReport() admin.Health {
	r := d.health.Report()
	h := admin.Health{State: r.State, Since: r.Since, Warnings: []admin.Warning{}}
	for _, w := range r.Warnings {
		h.Warnings = append(h.Warnings, admin.Warning{Name: w.Name, Severity: w.Severity.String(), Text: w.Text, Next: w.Next, Since: w.Since})
	}
	return h
}

func (d *daemon) sessions(q admin.SessionQuery) []admin.Session {
	list := []admin.Session{}
	for _, s := range d.broker.Sessions() {
		if q.Connected && !s.Connected || !sessionMatches(s, q.Principal) {
			continue
		}
		row := sessionRow(s)
		if all, suspended := d.broker.Filters(s.Key); len(all) > 0 {
			row.Subscriptions, row.Suspended = all, suspended
		}
		list = append(list, row)
		if q.Limit > 0 && len(list) == q.Limit {
			break
		}
	}
	return list
}

func sessionMatches(s broker.SessionInfo, text string) bool {
	if text == "" {
		return true
	}
	parts := []string{s.ClientID}
	if s.Principal != nil {
		parts = append(parts, s.Principal.Key, s.Principal.Name)
	}
	return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(strings.ToLower(p), strings.ToLower(text)) })
}

func sessionRow(s broker.SessionInfo) admin.Session {
	row := admin.Session{
		Key: s.Key, ClientID: s.ClientID, Listener: s.Listener, Remote: s.Remote, Connected: s.Connected, Since: s.Since,
		Expires: s.CredentialEnds, Subscriptions: []string{}, Inflight: s.Inflight, Queued: s.Queued, QueuedBytes: int64(s.QueuedBytes),
		Received: s.Received, Sent: s.Sent, Denied: s.Denied,
		Protocol: "3.1.1",
	}
	if s.Version == 5 {
		row.Protocol = "5"
	}
	if p := s.Principal; p != nil {
		row.Principal, row.Name, row.Kind, row.Credential = p.Key, p.Name, p.Kind.String(), p.Credential.String()
	}
	return row
}

// assignments lists what is stored, which is what is in force.
func (d *daemon) assignments(ctx context.Context, q admin.AssignmentQuery) ([]admin.Assignment, error) {
	at := space.Root
	if q.Path != "" {
		p, err := placeNamed(d.policy.Topology(), q.Path)
		if err != nil {
			return nil, err
		}
		at = p
	}
	g, err := d.store.Cache().Load(ctx)
	if err != nil {
		return nil, &admin.Error{Status: http.StatusServiceUnavailable, What: "no policy is stored", Where: "cache", Next: "gatehousectl sync; gatehousectl health says why none came"}
	}
	roles := map[space.ID]string{}
	for _, r := range append(model.SystemRoles(), g.Policy.Roles...) {
		roles[r.ID] = r.Name
	}
	for _, r := range append(model.AzureBuiltInRoles(), g.Policy.AzureRoles...) {
		roles[r.ID] = r.Name
	}
	problems := map[space.ID]string{}
	for _, p := range d.policy.Index().Problems() {
		problems[p.ID] = p.Detail
	}
	list := []admin.Assignment{}
	for _, a := range g.Policy.Assignments {
		below := q.Down || q.Path == ""
		if !at.Covers(a.Path) || a.Path != at && !below {
			continue
		}
		row := admin.Assignment{
			ID: a.ID.String(), Model: "space", Role: roles[a.Role], RoleID: a.Role.String(), Identity: d.label(a.Who),
			Scope: a.Path.String(), Problem: cmp.Or(problems[a.ID], problems[a.Role]),
		}
		if !a.Who.Tenant.IsZero() {
			row.Tenant = a.Who.Tenant.String()
		}
		list = append(list, row)
	}
	for _, a := range g.Policy.AzureAssignments {
		if q.Path == "" {
			list = append(list, admin.Assignment{ID: a.ID.String(), Model: "azure", Role: roles[a.Role], RoleID: a.Role.String(),
				Identity: a.Who.ID.String(), Scope: a.Scope, Problem: problems[a.ID]})
		}
	}
	if q.Principal != "" {
		text := strings.ToLower(q.Principal)
		list = slices.DeleteFunc(list, func(a admin.Assignment) bool { return !strings.Contains(strings.ToLower(a.Identity), text) })
	}
	return list, nil
}

// label is {type}:{id}, with the hub id of a device that is known.
func (d *daemon) label(i model.Identity) string {
	switch i.Kind {
	case model.DomainName:
		return "DomainName:" + i.Domain
	case model.DeviceID:
		if dev, ok := d.policy.Topology().Device(i.Object); ok {
			return "DeviceId:" + i.Object.String() + " (" + dev.HubID + ")"
		}
	}
	return i.Kind.String() + ":" + i.Object.String()
}

func (d *daemon) disconnect(_ context.Context, r admin.DisconnectRequest) (admin.DisconnectResult, error) {
	why := cmp.Or(r.Reason, "an operator asked for it")
	known := false
	result := admin.DisconnectResult{}
	closed := map[string]bool{}
	for _, s := range d.broker.Sessions() {
		switch {
		case s.Principal == nil:
		case r.Session != "":
			if s.Key == r.Session {
				known = true
				result.Closed += d.broker.DisconnectSession(s.Key, message.AdministrativeAction, why)
			}
		case (s.Principal.Key == r.Principal || s.Principal.Key == "device:"+r.Principal) && !closed[s.Principal.Key]:
			known, closed[s.Principal.Key] = true, true
			result.Closed += d.broker.Disconnect(s.Principal.Key, message.AdministrativeAction, why)
		}
	}
	if !known {
		return result, &admin.Error{Status: http.StatusNotFound, What: fmt.Sprintf("nobody called %q has a session here", cmp.Or(r.Session, r.Principal)),
			Where: "disconnect", Next: "gatehousectl sessions lists them; --json shows their keys"}
	}
	return result, nil
}

func badQuestion(where string, err error) error {
	return &admin.Error{Status: http.StatusBadRequest, What: err.Error(), Where: where, Next: "correct the argument; see gatehousectl COMMAND --help"}
}
