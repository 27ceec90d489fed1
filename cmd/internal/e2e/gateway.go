package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/freeport"
)

// Gateway is one gatehoused of the house, with a state of its own.
type Gateway struct {
	*Process
	House      *House
	Supervisor *Supervisor
	Dir, File  string
	MQTT, Page int

	tb testing.TB // fails when a publish is not answered; nil for a Gateway that NewGateway did not make
}

// Settings is the part of the configuration that tests vary, as YAML.
type Settings struct {
	Listeners string // further elements of listeners
	Listener  string // further keys of the listener mqtts
	State     string // "{dir: state, minFree: 16 MiB}"
	Sections  string // further sections
}

// NewGateway writes a configuration for a gateway and starts nothing.
func (h *House) NewGateway(t testing.TB, s Settings) *Gateway {
	t.Helper()
	g := &Gateway{House: h, Dir: ShortDir(t), Supervisor: NewSupervisor(t), tb: t}
	var err1, err2 error
	g.MQTT, err1 = freeport.Get()
	g.Page, err2 = freeport.Get()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	g.File = filepath.Join(g.Dir, "gatehoused.yaml")
	g.Write(t, g.Config(s))
	return g
}

// Fill replaces names in capitals: HOUSE is the directory of the house, PORT the
// cloud's port, MQTT and PAGE this gateway's, TENANT and SITE those of the building.
func (g *Gateway) Fill(text string) string {
	return strings.NewReplacer(
		"HOUSE", g.House.Dir,
		"PORT", fmt.Sprint(g.House.Ports.API),
		"TENANT", g.House.Building.HomeTenant.String(),
		"MQTT", fmt.Sprint(g.MQTT),
		"PAGE", fmt.Sprint(g.Page),
		"SITE", site.GatewaySpace,
	).Replace(text)
}

// Config is the configuration with these settings, filled in.
func (g *Gateway) Config(s Settings) string {
	if s.Listener != "" {
		s.Listener = "    " + s.Listener
	}
	return g.House.GatewayConfig(site.Daemon{
		MQTT:      g.MQTT,
		Page:      g.Page,
		Files:     g.House.Dir + "/",
		Listener:  g.Fill(s.Listener),
		Listeners: g.Fill(strings.Trim(s.Listeners, "\n")),
		State:     cmp.Or(s.State, "{dir: state, minFree: 16 MiB}"),
		LogFormat: "json",
		Sections:  g.Fill(s.Sections),
	})
}

// Write replaces the configuration file.
func (g *Gateway) Write(t testing.TB, text string) {
	t.Helper()
	if err := os.WriteFile(g.File, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Launch starts it and waits for nothing.
func (g *Gateway) Launch(t testing.TB, env ...string) {
	t.Helper()
	g.Process = Start(t, g.Supervisor.Env(env...), g.House.Bin("gatehoused"), "-config", g.File)
}

// Up starts it and waits until it is ready and holds the cloud's policy.
func (g *Gateway) Up(t testing.TB, env ...string) {
	t.Helper()
	g.Launch(t, env...)
	g.Ready(t)
	g.Synced(t)
}

// Ready waits for READY=1 and returns every notice up to it.
func (g *Gateway) Ready(t testing.TB) []Notice {
	t.Helper()
	return g.Supervisor.Await(t, "READY=1")
}

// Synced waits until the policy is the cloud's.
func (g *Gateway) Synced(t testing.TB) {
	t.Helper()
	Eventually(t, "the gateway holds the cloud's policy and token keys", func() error {
		s, err := g.Status()
		switch {
		case err != nil:
			return err
		case s.Cache.Stage != "fresh" || s.Cache.Devices == 0:
			return fmt.Errorf("cache: %+v", s.Cache)
		}
		return nil
	})
}

// Status is the status document.
func (g *Gateway) Status() (admin.Status, error) {
	var s admin.Status
	return s, g.Get("/v1/status", &s)
}

// Get reads from the loopback page.
func (g *Gateway) Get(path string, into any) error {
	return g.House.Get(context.Background(), fmt.Sprintf("http://127.0.0.1:%d%s", g.Page, path), into)
}

// Stop asks it to end as systemd would, and returns the exit code.
func (g *Gateway) Stop(t testing.TB) int {
	t.Helper()
	g.Signal(t, syscall.SIGTERM)
	return g.Exit(t)
}

// Serves proves that it still does its work: a device publishes and is acknowledged.
func (g *Gateway) Serves(t testing.TB) {
	t.Helper()
	if !g.Running() {
		t.Fatalf("the gateway ended:\n%s", Tail(g.Text(), 30))
	}
	if out, err := g.Pub(g.Device("ups-1"), site.Telemetry("ups-1", "ups-1-charge"), "still here"); err != nil {
		t.Fatalf("the gateway no longer serves: %v\n%s", err, out)
	}
}
