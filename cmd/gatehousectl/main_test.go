package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/message"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gatehousectl": main})
}

// TestScripts runs the real command against the real admin server with
// answers made up here.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			socket := filepath.Join(e.WorkDir, "s")
			e.Setenv("GATEHOUSE_SOCKET", socket)
			e.Setenv("TZ", "UTC")
			l, err := admin.Listen(socket)
			if err != nil {
				return err
			}
			broker, err := net.Listen("tcp", "127.0.0.1:0") // what doctor dials
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			s := admin.New(admin.Options{Sources: answers(broker.Addr().String()), Owner: os.Getuid(), Log: slog.New(slog.DiscardHandler)})
			go func() { done <- s.ServeSocket(ctx, l) }()
			e.Defer(func() {
				cancel()
				<-done
				_ = broker.Close()
			})
			return nil
		},
	})
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// answers are of a daemon whose upstream is at an address.
func answers(broker string) admin.Sources {
	health := admin.Health{State: "degraded", Since: noon, Warnings: []admin.Warning{
		{Name: "cache-stale", Severity: "degraded", Text: "the cloud last answered 61 minutes ago", Next: "see gatehousectl sync", Since: noon},
	}}
	records := []message.AuditRecord{
		{Time: noon, Event: "publish", Allowed: true, Principal: "device:a", Topic: "devices/a/messages/events/", Reason: "granted", Count: 1},
		{
			Time:      noon.Add(time.Second),
			Event:     "publish",
			Principal: "device:\x1b[31mred",
			ClientID:  "c\u009b",
			Topic:     "devices/b/messages/events/",
			Reason:    "not-acting-for",
			Detail:    "b does not name it",
			Count:     7,
		},
	}
	return admin.Sources{
		Outbox: box{},
		Status: func(context.Context) (admin.Status, error) {
			return admin.Status{
				Build:         admin.Build{Version: "1.2.3", Revision: "abc"},
				Site:          "/",
				UptimeSeconds: 3700,
				Health:        health,
				Cache: admin.CacheState{
					Version:     "1.42",
					AgeSeconds:  3661,
					Stage:       "stale",
					Roles:       9,
					Assignments: 30,
				},
				Messages: admin.MessageCounts{
					Accepted:       100,
					Denied:         7,
					ForUpstream:    95,
					Forwarded:      90,
					NotForwarded:   map[string]uint64{"expired": 2},
					Dropped:        2,
					DeniedByReason: map[string]uint64{"not-acting-for": 7},
				},
				Outbox:   admin.OutboxState{Messages: 3, Bytes: 4096, OldestSeconds: 12},
				Upstream: admin.LinkState{State: "down", Target: "demo-hub.azure-devices.net", Detail: "connection refused", Since: noon},
				Sync:     admin.LinkState{State: "connected"},
			}, nil
		},
		Spaces: func(context.Context) ([]admin.Place, error) {
			return []admin.Place{{ID: "7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e2001", Name: "Harbour House"}}, nil
		},
		Health: func(context.Context) (admin.Health, error) { return health, nil },
		Sessions: func(_ context.Context, q admin.SessionQuery) ([]admin.Session, error) {
			if q.Principal == "nobody" {
				return nil, nil
			}
			return []admin.Session{{
				Principal:     "device:a",
				Name:          "Thermostat",
				ClientID:      "a",
				Connected:     true,
				Protocol:      "5",
				Credential:    "sas",
				Subscriptions: []string{"x"},
				Received:      4,
				Denied:        1,
			}}, nil
		},
		Explain: func(_ context.Context, q admin.Question) (admin.Explanation, error) {
			x := admin.Explanation{
				Question:   q,
				Reason:     "no-assignment",
				Version:    "1.42",
				AgeSeconds: 5,
				Stage:      "fresh",
				Nearest: []admin.Miss{{Grant: admin.Grant{
					Role:     "Device Administrator",
					Identity: "DeviceId:1",
					Scope:    "/x",
				}, Why: "its path does not cover /y"}},
				Needs:     "Read Device at /; Create Sensor at /y",
				WouldNeed: []string{"Device Administrator", "Gateway Device"},
			}
			if q.Topic == "devices/a/messages/events/" || q.Operation == "Read Device" {
				x.Allowed, x.Reason, x.Nearest, x.WouldNeed = true, "granted", nil, nil
				x.Steps = []admin.Step{{Check: "acts for", At: "b"}, {Row: "telemetry", OK: true},
					{Needs: "Create Sensor", At: "/x", OK: true, Grant: &admin.Grant{Role: "Gateway Device", Scope: "/", Assignment: "id-1"}}}
				x.Grant = &admin.Grant{Assignment: "id-1", Role: "Gateway Device", Identity: "DeviceId:1", Scope: "/"}
			}
			return x, nil
		},
		WhoCan: func(context.Context, admin.Question) ([]admin.Grant, error) {
			return []admin.Grant{{Identity: "UserId:u", Role: "Space Administrator", Scope: "/", Operations: "Read Device", Assignment: "id-2"}}, nil
		},
		WhatCan: func(_ context.Context, who string) ([]admin.Grant, error) {
			if who != "b" {
				return nil, nil
			}
			return []admin.Grant{{
				Identity:   "DeviceId:2",
				Role:       "Gateway Device",
				Scope:      "/x",
				Operations: "CR Sensor; R Device",
				Assignment: "id-3",
			}}, nil
		},
		Assignments: func(context.Context, admin.AssignmentQuery) ([]admin.Assignment, error) { return nil, nil },
		Audit: func(n int, match func(*message.AuditRecord) bool) []message.AuditRecord {
			var out []message.AuditRecord
			for _, r := range records {
				if match(&r) {
					out = append(out, r)
				}
			}
			return out
		},
		Follow: func() admin.Follower { return ended{} },
		Sync: func(_ context.Context, r admin.SyncRequest) (admin.SyncResult, error) {
			if r.Full {
				return admin.SyncResult{}, &admin.Error{
					Status: http.StatusServiceUnavailable,
					What:   "the management API does not answer",
					Where:  "https://localhost:9443",
					Next:   "is managementd running?",
				}
			}
			return admin.SyncResult{From: "1.41", To: "1.42", Changes: 2, Seconds: 0.0123}, nil
		},
		Disconnect: func(context.Context, admin.DisconnectRequest) (admin.DisconnectResult, error) {
			return admin.DisconnectResult{Closed: 2}, nil
		},
		ResetClock: func(context.Context) (admin.ClockResult, error) {
			return admin.ClockResult{Was: time.Date(2036, 1, 2, 3, 4, 5, 0, time.UTC), Now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, nil
		},
		Config: func(context.Context) ([]byte, error) { return []byte("log:\n  level: info\n"), nil },
		Remotes: func(context.Context) (admin.Remotes, error) {
			return admin.Remotes{Remotes: []admin.Remote{{
				Name:     "upstream",
				URL:      "mqtt://" + broker,
				Address:  broker,
				Upstream: true,
			}}}, nil
		},
		Echo: func(context.Context) (admin.EchoResult, error) {
			return admin.EchoResult{Error: "the probe was lost"}, nil
		},
		Doctor: func(context.Context) ([]admin.Finding, error) {
			return []admin.Finding{{
				Name:  "clock",
				State: "ok",
				Text:  "in step",
			}, {
				Name:  "certificate",
				State: "fail",
				Text:  "expires tomorrow",
				Next:  "renew it",
			}}, nil
		},
	}
}

// ended is a follower whose daemon stops at once.
type ended struct{}

func (ended) C() <-chan message.AuditRecord {
	c := make(chan message.AuditRecord)
	close(c)
	return c
}
func (ended) Missed() uint64 { return 0 }
func (ended) Close()         {}

func TestColoursAreForTerminals(t *testing.T) {
	var b strings.Builder
	p := &printer{w: &b, colour: true}
	p.table([]string{"A", "B"}, [][]cell{{in(red, "x"), text("long")}, {text("longer"), text("y")}}, "")
	if got, want := b.String(), "\x1b[2mA\x1b[0m       \x1b[2mB\x1b[0m\n\x1b[31mx\x1b[0m       long\nlonger  y\n"; got != want {
		t.Errorf("coloured columns must align:\n%q\n%q", got, want)
	}
	if newPrinter(&b).colour {
		t.Error("colours outside a terminal")
	}
}

func TestClockNamesOtherDays(t *testing.T) {
	for now, want := range map[time.Time]string{noon.Add(time.Hour): "12:00:00.000", noon.Add(13 * time.Hour): "2026-03-01 12:00:00.000"} {
		if got := clock(noon, now); got != want {
			t.Errorf("at %v: %q", now, got)
		}
	}
}

func TestUnits(t *testing.T) {
	for in, want := range map[float64]string{0: "0s", 59: "59s", 61: "1m01s", 3661: "1h01m", 200000: "2d07h"} {
		if got := seconds(in); got != want {
			t.Errorf("%v s = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[int64]string{0: "0 B", 1023: "1023 B", 4096: "4.0 KiB", 5 << 30: "5.0 GiB"} {
		if got := bytesText(in); got != want {
			t.Errorf("%d = %s, want %s", in, got, want)
		}
	}
}

// Repeated denials of one client are one record, with the count and the time of the last; what is allowed,
// or differs in anything, stays apart and in its place.
func TestDenialsAreTogether(t *testing.T) {
	at := func(second int, r message.AuditRecord) message.AuditRecord {
		r.Time = noon.Add(time.Duration(second) * time.Second)
		return r
	}
	denied := message.AuditRecord{Event: "publish", Principal: "device:a", Topic: "x", Reason: "no-assignment", Count: 1}
	another := denied
	another.Topic = "y"
	allowed := message.AuditRecord{Event: "connect", Principal: "device:a", Allowed: true, Count: 1}
	twice := denied
	twice.Count = 2
	got := together([]message.AuditRecord{
		at(0, denied), at(1, allowed), at(2, another), at(3, twice), at(4, allowed), at(5, denied), at(6, allowed),
	})
	sum := denied
	sum.Count = 4
	want := []message.AuditRecord{at(1, allowed), at(2, another), at(4, allowed), at(5, sum), at(6, allowed)}
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%d: got %+v, want %+v", i, got[i], want[i])
		}
	}
}
