package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// TestTwoInstallationsOfOneDevice: two clients with the credentials and the client id of one device,
// each of which connects again whenever it is disconnected, are named within 15 s with both
// addresses. Their neighbours' messages come as promptly as ever, and the audit stays small.
func TestTwoInstallationsOfOneDevice(t *testing.T) {
	t.Parallel()
	g := serving(t, e2e.Settings{Sections: "audit: {file: state/audit.jsonl}\n"})
	dashboard := g.Sub(t, g.Person(t, "dashboard", "dash"), "spaces"+site.GatewaySpace+"/#")
	if _, err := g.Pub(g.Device("dishwasher-1"), site.Telemetry("dishwasher-1", ""), "x"); err == nil {
		t.Fatal("a device without an assignment is let in")
	}
	sent := 0
	neighbour := func() {
		sent++
		payload := fmt.Sprint("neighbour ", sent)
		g.MustPub(t, g.Device("thermostat-101"), site.Telemetry("thermostat-101", "thermostat-101-temperature"), payload)
		acknowledged := time.Now()
		dashboard.Line(t, payload)
		if d := time.Since(acknowledged); d > 3*time.Second {
			t.Errorf("a neighbour's message came %s after its acknowledgement", d)
		}
	}
	begun := time.Now()
	for range 2 {
		g.Ask(t, g.Device("meter-main"), "devices/meter-main/messages/devicebound/#")
	}
	var named admin.Warning
	e2e.Eventually(t, "health names the client id", func() error {
		neighbour()
		s, err := g.Status()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(s.Health.Warnings, func(w admin.Warning) bool { return w.Name == "client-id-contested" })
		if i < 0 {
			return fmt.Errorf("%d take-overs, %+v", s.Sessions.TakeOvers, s.Health)
		}
		named = s.Health.Warnings[i]
		return nil
	})
	if d := time.Since(begun); d > 15*time.Second {
		t.Errorf("named after %s", d)
	}
	addresses := regexp.MustCompile(`between (\S+:\d+) and (\S+:\d+) `).FindStringSubmatch(named.Text)
	if !strings.Contains(named.Text, "device:meter-main") || addresses == nil || addresses[1] == addresses[2] || named.Next == "" {
		t.Errorf("%+v", named)
	}
	// From here on a newcomer waits, and then takes over: once more at least.
	before := uint64(0)
	e2e.Eventually(t, "a newcomer waits", func() error {
		neighbour()
		s, err := g.Status()
		if before = s.Sessions.TakeOvers; err == nil && s.Sessions.Waiting != 1 {
			err = fmt.Errorf("%+v", s.Sessions)
		}
		return err
	})
	e2e.Eventually(t, "the newcomer takes over", func() error {
		neighbour()
		s, err := g.Status()
		if err == nil && s.Sessions.TakeOvers == before {
			err = errors.New("not yet")
		}
		return err
	})
	if code := g.Stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	connects := records(t, filepath.Join(g.Dir, "state/audit.connects.jsonl"), "device:meter-main")
	total := uint64(0)
	for _, r := range connects {
		total += r.Count
	}
	if len(connects) > 4 || total < before { // two at once, one with the count at the end, perhaps one after five minutes
		t.Errorf("%d records of %d connects", len(connects), total)
	}
	if r := records(t, filepath.Join(g.Dir, "state/audit.jsonl"), "device:meter-main"); len(r) != 1 || r[0].Reason != "client-id-contested" {
		t.Errorf("%+v", r)
	}
	if r := records(t, filepath.Join(g.Dir, "state/audit.jsonl"), "device:dishwasher-1"); len(r) != 1 || r[0].Allowed {
		t.Errorf("the denial: %+v", r)
	}
}

// records are those of an audit file that are about one principal.
func records(t *testing.T, file, principal string) []message.AuditRecord {
	t.Helper()
	var all []message.AuditRecord
	for line := range strings.Lines(read(t, file)) {
		var r message.AuditRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.Principal == principal {
			all = append(all, r)
		}
	}
	return all
}
