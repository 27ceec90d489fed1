package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/freeport"
)

// ctl runs the real gatehousectl against a gateway, and returns what it printed and its exit code.
func ctl(t *testing.T, g *e2e.Gateway, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), e2e.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, g.House.Bin("gatehousectl"), append([]string{"--socket", filepath.Join(g.Dir, "admin.sock")}, args...)...)
	out, err := cmd.Output()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatalf("gatehousectl %v: %v", args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// page is the body at a path of the status page's address.
func page(t *testing.T, g *e2e.Gateway, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", g.Page, path), nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// found is doctor's finding of a name.
func found(t *testing.T, g *e2e.Gateway, name string, args ...string) (f admin.Finding, code int) {
	t.Helper()
	out, code := ctl(t, g, append([]string{"doctor", "--json"}, args...)...)
	var list []admin.Finding
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if i := slices.IndexFunc(list, func(f admin.Finding) bool { return f.Name == name }); i >= 0 {
		f = list[i]
	}
	return f, code
}

// TestUpstreamDownIsTold: the broker upstream goes while messages wait. Every place where an operator looks
// says so in the same words, and none does once it is back.
func TestUpstreamDownIsTold(t *testing.T) {
	t.Parallel()
	b := newCloudBroker(t)
	b.up(t)
	g := serving(t, e2e.Settings{Sections: uplinkTo(b.port) + "health: {upstreamDown: 2s}\n"})
	e2e.Eventually(t, "the link is up", func() error {
		if f, _ := found(t, g, "upstream-echo"); f.State != "ok" || !strings.Contains(f.Text, "came back after") {
			return fmt.Errorf("%+v", f)
		}
		return nil
	})
	if body := page(t, g, "/healthz"); body != "ok\n" {
		t.Errorf("at first: %q", body)
	}
	b.end(t)
	topic := site.Telemetry("ups-1", "ups-1-load")
	for i := range 3 {
		g.MustPub(t, g.Device("ups-1").Five(), topic, itoa(i))
	}
	text := ""
	e2e.Eventually(t, "health says that upstream is down and 3 messages wait", func() error {
		text = warned(t, g, "upstream-down")
		return lacks(text, fmt.Sprintf("mqtt://127.0.0.1:%d", b.port), "refused", "3 messages wait")
	})
	// systemd's line, from the message in which it was told.
	for {
		n := g.Supervisor.Await(t, "STATUS=")
		if strings.Contains(n[len(n)-1].Text, "health degraded: upstream-down ("+text+")") {
			break
		}
	}
	for where, said := range map[string]string{
		"/healthz":    page(t, g, "/healthz"),
		"the page":    page(t, g, "/"),
		"the metrics": page(t, g, "/metrics"),
	} {
		want := map[string]string{
			"/healthz":    "degraded",
			"the page":    text,
			"the metrics": `gatehouse_warning{name="upstream-down",severity="degraded"} 1`,
		}[where]
		if !strings.Contains(said, want) {
			t.Errorf("%s lacks %q", where, want)
		}
	}
	if out, code := ctl(t, g, "health"); code != 3 || !strings.Contains(out, text) {
		t.Errorf("gatehousectl health ends with %d and says %s", code, out)
	}
	if out, code := ctl(t, g, "status"); code != 0 || !strings.Contains(out, text) {
		t.Errorf("gatehousectl status ends with %d and says %s", code, out)
	}
	if f, code := found(t, g, "upstream-down", "--local"); code != 4 || f.State != "warn" || f.Text != text {
		t.Errorf("doctor --local ends with %d and says %+v", code, f)
	}
	if f, code := found(t, g, "upstream.mqtt.url-reach"); code != 3 || f.State != "fail" || !strings.Contains(f.Text, "refused") {
		t.Errorf("doctor ends with %d and says of the port %+v", code, f)
	}
	if out, code := ctl(t, g, "doctor", "--check"); code != 2 || strings.Count(out, "\n") != 1 ||
		lacks(out, "GATEHOUSE CRITICAL", "upstream-down", "upstream-echo") != nil {
		t.Errorf("doctor --check ends with %d and says %q", code, out)
	}
	b.up(t)
	e2e.Eventually(t, "the warning ends everywhere", func() error {
		metrics := page(t, g, "/metrics")
		if text := warned(t, g, "upstream-down"); text != "" || strings.Contains(metrics, `gatehouse_warning{name="upstream-down"`) {
			return fmt.Errorf("%s", text)
		}
		return nil
	})
	if out, code := ctl(t, g, "health"); code != 0 || strings.Contains(out, "upstream-down") {
		t.Errorf("gatehousectl health ends with %d and says %s", code, out)
	}
}

// TestUpstreamCertificateIsTold: the gateway's own certificate upstream is near its end, and renewed while the daemon runs.
func TestUpstreamCertificateIsTold(t *testing.T) {
	t.Parallel()
	port, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.NewReplacer("PORT", itoa(port)).Replace(`upstream:
  mode: mqtt
  mqtt: {url: "mqtts://127.0.0.1:PORT", clientId: gate-7, ca: HOUSE/pki/ca.pem, cert: own.pem, key: own.key}
  routes: [{name: telemetry, filter: "devices/+/messages/events/#"}]
`)
	g := house.NewGateway(t, e2e.Settings{Sections: sections})
	issue := func(days time.Duration) {
		from := time.Now().Add(-300 * 24 * time.Hour)
		own, err := x509.NewSelfSigned("gate-7", from, time.Since(from)+days*24*time.Hour+time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		cert, key, err := own.PEM()
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(g.Dir, "own.pem"), 0o600, string(cert))
		put(t, filepath.Join(g.Dir, "own.key"), 0o600, string(key))
	}
	issue(5)
	g.Up(t)
	e2e.Eventually(t, "health names the certificate", func() error {
		return lacks(warned(t, g, "upstream-certificate"), "upstream.mqtt.cert", "in 5 days")
	})
	if f, _ := found(t, g, "upstream-certificate", "--local"); f.State != "warn" || f.Next == "" {
		t.Errorf("doctor says %+v", f)
	}
	issue(200)
	e2e.Eventually(t, "the renewed one ends the warning", func() error {
		if text := warned(t, g, "upstream-certificate"); text != "" {
			return errors.New(text)
		}
		return nil
	})
}

// TestStatusNeverSaysExpiredWhileFresh: from the start on, without and with a cached policy, systemd's last
// line agrees with the status.
func TestStatusNeverSaysExpiredWhileFresh(t *testing.T) {
	t.Parallel()
	g := house.NewGateway(t, e2e.Settings{})
	for range 2 {
		g.Up(t)
		if s, err := g.Status(); err != nil || s.Cache.Stage != "fresh" {
			t.Fatalf("%+v, %v", s.Cache, err)
		}
		var last string
		for n, ok := g.Supervisor.Next(3 * time.Second); ok; n, ok = g.Supervisor.Next(3 * time.Second) {
			if n.Has("STATUS=") {
				last = n.Text
			}
		}
		if last != "" && (strings.Contains(last, "expired") || !strings.Contains(last, ", fresh;")) {
			t.Errorf("the policy is fresh, and systemd was told last: %q", last)
		}
		if code := g.Stop(t); code != exitOK {
			t.Errorf("exit code %d", code)
		}
		g.Supervisor.Await(t, "STOPPING=1")
	}
}
