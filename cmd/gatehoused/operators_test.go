package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/admin/client"
	"github.com/gatehouse/gatehouse/gateway/freeport"
)

// What an operator reads of a gateway that works: each number is counted, each answer names its reason.

func operator(t *testing.T, g *e2e.Gateway) *client.Client {
	t.Helper()
	c := client.New(g.Dir + "/admin.sock")
	t.Cleanup(c.Close)
	return c
}

func TestOperatorsSeeWhatHappened(t *testing.T) {
	t.Parallel()
	g := serving(t, e2e.Settings{})
	ask := operator(t, g)
	ctx := context.Background()
	filter := "spaces" + site.GatewaySpace + "/#"
	dash := g.Sub(t, g.Person(t, "dashboard", "dash"), filter)
	for i := range 3 {
		g.MustPub(t, g.Device("door-1"), site.Telemetry("door-1", "door-1-contact"), fmt.Sprint("knock ", i))
	}
	dash.Line(t, "knock 2")
	if _, err := g.Pub(g.Device("dishwasher-1"), site.Telemetry("dishwasher-1", ""), "x"); err == nil {
		t.Error("a device without an assignment connects")
	}

	var session admin.Session
	e2e.Eventually(t, "the session shows its subscription and what it was sent", func() error {
		list, err := ask.Sessions(ctx, admin.SessionQuery{Principal: "dash"})
		if err != nil || len(list) != 1 {
			return fmt.Errorf("%d sessions, %w", len(list), err)
		}
		if session = list[0]; !slices.Equal(session.Subscriptions, []string{filter}) || session.Sent != 3 {
			return fmt.Errorf("%+v", session)
		}
		return nil
	})

	text := scrape(t, g)
	for _, want := range []string{
		"gatehouse_messages_accepted_total 3", "gatehouse_messages_delivered_total 3", "gatehouse_messages_forwarded_total 0",
		`gatehouse_connects_total{result="no-assignment"} 1`, `gatehouse_connects_total{result="accepted"} 4`,
		// Every built-in role of both models; the demo building defines none of its own.
		fmt.Sprintf("gatehouse_roles %d", len(model.SystemRoles())+len(model.AzureBuiltInRoles())),
		"gatehouse_frames_refused_total 0", "gatehouse_queued_messages 0", `go="go1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}

	// A session key names one session; a device id names all sessions of that device.
	for name, r := range map[string]admin.DisconnectRequest{"a session": {Session: "nobody's"}, "a principal": {Principal: "nobody"}} {
		if _, err := ask.Disconnect(ctx, r); err == nil || !strings.Contains(err.Error(), "nobody") {
			t.Errorf("%s that is not here: %v", name, err)
		}
	}
	other := g.Sub(t, g.Person(t, "dashboard", "other"), filter)
	if r, err := ask.Disconnect(ctx, admin.DisconnectRequest{Session: session.Key}); err != nil || r.Closed != 1 {
		t.Errorf("closed %d of one session, %v", r.Closed, err)
	}
	g.MustPub(t, g.Device("door-1"), site.Telemetry("door-1", "door-1-contact"), "still listening")
	other.Line(t, "still listening")
	g.Sub(t, g.Device("ups-1"), "devices/ups-1/messages/devicebound/#")
	if r, err := ask.Disconnect(ctx, admin.DisconnectRequest{Principal: "ups-1"}); err != nil || r.Closed != 1 {
		t.Errorf("closed %d of ups-1, %v", r.Closed, err)
	}
}

func scrape(t testing.TB, g *e2e.Gateway) string {
	t.Helper()
	res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", g.Page))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOperatorsAreToldWhy(t *testing.T) {
	t.Parallel()
	g := serving(t, e2e.Settings{})
	ask := operator(t, g)
	ctx := context.Background()
	x, err := ask.Explain(ctx, admin.Question{Principal: "ups-1", Verb: "publish", Topic: site.Telemetry("ups-1", "ups-1-charge")})
	if err != nil || !x.Allowed {
		t.Fatalf("%+v, %v", x, err)
	}
	granted := 0
	for _, s := range x.Steps {
		if s.Needs != "" && s.Grant != nil && s.Grant.Role == "GatewayDevice" && s.Grant.Assignment != "" {
			granted++
		}
	}
	if granted != 2 { // to be connected, and to send telemetry
		t.Errorf("%d steps name what grants them: %+v", granted, x.Steps)
	}
	x, err = ask.Explain(ctx, admin.Question{Principal: "ups-1", Verb: "publish", Topic: site.Telemetry("door-1", "")})
	if err != nil || x.Allowed || !slices.ContainsFunc(x.Steps,
		func(s admin.Step) bool { return s.Check == "acts for" && s.At == "door-1" && !s.OK }) {
		t.Errorf("%+v, %v", x, err)
	}
	x, err = ask.Explain(ctx, admin.Question{Principal: "lobby-display", Operation: "Read Device", At: "lobby-display"})
	if err != nil || x.Allowed || !slices.Contains(x.WouldNeed, "GatewayDevice") {
		t.Errorf("the roles that would do are named: %+v, %v", x, err)
	}
	held, err := ask.WhatCan(ctx, "gateway-1")
	if err != nil || len(held) != 1 || !strings.HasSuffix(held[0].Identity, " (gateway-1)") ||
		!strings.HasPrefix(held[0].Operations, "Read Device, ") || !strings.Contains(held[0].Operations, "Create,Read Sensor") {
		t.Errorf("%+v, %v", held, err)
	}
	for name, fails := range map[string]func() error{
		"operation, not for a topic": func() error {
			_, err := ask.WhoCan(ctx, admin.Question{Verb: "publish", Topic: "a/b"})
			return err
		},
		"neither a device": func() error {
			_, err := ask.WhoCan(ctx, admin.Question{Operation: "Read Device", At: "nope"})
			return err
		},
		"neither a device known": func() error {
			_, err := ask.Assignments(ctx, admin.AssignmentQuery{Path: "nope"})
			return err
		},
	} {
		if err := fails(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
	}
	if as, err := ask.Assignments(ctx, admin.AssignmentQuery{Path: "reader-1"}); err != nil || len(as) == 0 {
		t.Errorf("at a device's place: %v, %v", as, err)
	}
}

// Before the first policy has arrived, a CONNECT is answered with "server unavailable" and not with "bad
// user name or password": many devices never try again after the latter.
func TestBeforeTheFirstPolicy(t *testing.T) {
	t.Parallel()
	g := house.NewGateway(t, e2e.Settings{})
	closed, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	own, away := "/management/api/v1.0", fmt.Sprintf("https://localhost:%d/management/api/v1.0", closed)
	var lines []string
	for line := range strings.Lines(g.Config(e2e.Settings{})) {
		if strings.HasSuffix(strings.TrimSpace(line), own) {
			line = "    url: " + away + "\n"
		}
		lines = append(lines, line)
	}
	g.Write(t, strings.Join(lines, ""))
	g.Launch(t)
	g.Ready(t)
	if out, err := g.Pub(g.Device("door-1").Five(), site.Telemetry("door-1", ""), "x"); err == nil || !strings.Contains(out, "unavailable") {
		t.Errorf("%v %s", err, out)
	}
	records, err := operator(t, g).Audit(context.Background(), client.AuditQuery{Limit: 5, Event: "connect"})
	if err != nil || len(records) != 1 || records[0].Reason != "no-registry" {
		t.Errorf("%+v, %v", records, err)
	}
}
