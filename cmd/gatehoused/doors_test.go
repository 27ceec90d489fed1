package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/freeport"
)

// asked is the health as the admin socket reports it.
func asked(t *testing.T, g *e2e.Gateway) (h admin.Health, err error) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(g.Dir, "admin.sock"))
	}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://admin/v1/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: transport, Timeout: e2e.Patience}).Do(req)
	if err != nil {
		return h, err
	}
	defer res.Body.Close()
	return h, json.NewDecoder(res.Body).Decode(&h)
}

// named is the warning of that name as the admin socket reports it.
func named(t *testing.T, g *e2e.Gateway, name string) admin.Warning {
	t.Helper()
	h, err := asked(t, g)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range h.Warnings {
		if w.Name == name {
			return w
		}
	}
	return admin.Warning{}
}

// TestPortTaken: when another process has the port of one listener, every other listener serves, and
// the daemon opens that one by itself once the port is free.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	for name, warning := range map[string]string{"mqtt": "listener-mqtts", "page": "status-page"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			second, err := freeport.Get()
			if err != nil {
				t.Fatal(err)
			}
			g := house.NewGateway(t, e2e.Settings{Listeners: fmt.Sprintf("  - {name: second, address: \"127.0.0.1:%d\", "+
				"tls: {cert: HOUSE/pki/server.pem, key: HOUSE/pki/server.key}}", second)})
			first := g.MQTT
			port := map[string]int{"mqtt": first, "page": g.Page}[name]
			l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", itoa(port)))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			g.Launch(t)
			g.Ready(t)
			says := itoa(port) + " is taken by another process: end it (ss -ltnp names it), or choose another address"
			if w := named(t, g, warning); !strings.Contains(w.Text, says) {
				t.Errorf("health says %+v", w)
			}
			g.MQTT = second
			e2e.Eventually(t, "devices are served at the other listener", func() error {
				_, err := g.Pub(g.Device("ups-1"), site.Telemetry("ups-1", "ups-1-charge"), "1")
				return err
			})
			_ = l.Close()
			e2e.Eventually(t, "the door opens once its port is free", func() error {
				if w := named(t, g, warning); w.Name != "" {
					return fmt.Errorf("%+v", w)
				}
				return nil
			})
			g.MQTT = first
			g.Serves(t)
			if _, err := g.Status(); err != nil {
				t.Errorf("the status page: %v", err)
			}
			if code := g.Stop(t); code != exitOK {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// TestAdminSocketTaken: while another process has the admin socket, devices are served; the daemon
// opens the socket by itself once that process is gone.
func TestAdminSocketTaken(t *testing.T) {
	t.Parallel()
	g := house.NewGateway(t, e2e.Settings{})
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(g.Dir, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g.Up(t)
	g.Serves(t)
	if w := warned(t, g, "admin-socket"); !strings.Contains(w, "another daemon answers") {
		t.Errorf("health says %q", w)
	}
	_ = l.Close()
	e2e.Eventually(t, "the admin socket answers", func() error {
		_, err := asked(t, g)
		return err
	})
}

// TestCertificatesThatTimeMends: an expired certificate is served. One that is missing, mismatched or
// whose key every user can read keeps its listener closed, and only that one. Health names each case,
// and the daemon takes the files up once they are good.
func TestCertificatesThatTimeMends(t *testing.T) {
	t.Parallel()
	names := []string{"old", "mixed", "open", "gone", "folder"}
	ports := map[string]int{}
	listeners := strings.NewReplacer("SERVER", "HOUSE/pki/server").Replace(`
  - {name: old, address: "127.0.0.1:old-port", tls: {cert: old.pem, key: old.key}}
  - {name: mixed, address: "127.0.0.1:mixed-port", tls: {cert: old.pem, key: mixed.key}}
  - {name: open, address: "127.0.0.1:open-port", tls: {cert: SERVER.pem, key: open.key}}
  - {name: gone, address: "127.0.0.1:gone-port", tls: {cert: SERVER.pem, key: gone.key}}
  - {name: folder, address: "127.0.0.1:folder-port", tls: {cert: folder.pem, key: SERVER.key}}`)
	for _, name := range names {
		port, err := freeport.Get()
		if err != nil {
			t.Fatal(err)
		}
		ports[name], listeners = port, strings.ReplaceAll(listeners, name+"-port", itoa(port))
	}
	g := house.NewGateway(t, e2e.Settings{Listeners: listeners})
	old, err := house.CA.Server(time.Now().Add(-48*time.Hour), 24*time.Hour, "old.example")
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(g.Dir, name) }
	if err := site.WritePair(old, file("old.pem"), file("old.key")); err != nil {
		t.Fatal(err)
	}
	key := read(t, house.PKI("server.key"))
	put(t, file("mixed.key"), 0o600, key)
	put(t, file("open.key"), 0o600, key)
	if err := os.Chmod(file("open.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file("folder.pem"), 0o700); err != nil {
		t.Fatal(err)
	}
	g.Up(t)
	g.Serves(t)
	for name, says := range map[string]string{
		"old":    "expired on ",
		"mixed":  "private key does not match",
		"open":   "may be used by every user",
		"gone":   "no such file",
		"folder": "is a directory",
	} {
		if w := named(t, g, "listener-"+name+"-certificate"); w.Severity != "failing" || !strings.Contains(w.Text, says) || w.Next == "" {
			t.Errorf("%s: health says %+v", name, w)
		}
	}
	if got := handshake(t, "127.0.0.1:"+itoa(ports["old"])).Subject.CommonName; got != "old.example" {
		t.Errorf("the expired certificate is not served, but %q", got)
	}
	dial := func(name string) error {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", "127.0.0.1:"+itoa(ports[name]))
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	for _, name := range names[1:] {
		if dial(name) == nil {
			t.Errorf("%s listens without a certificate", name)
		}
	}
	if strings.Contains(g.Text(), "PRIVATE") || strings.Contains(g.Text(), strings.Split(key, "\n")[1]) {
		t.Error("the key is in the log")
	}
	// The files are repaired; the daemon gets no signal and has to see it by itself.
	if err := site.WritePair(newServer(t, "renewed.example"), file("old.pem"), file("old.key")); err != nil {
		t.Fatal(err)
	}
	put(t, file("mixed.key"), 0o600, read(t, file("old.key")))
	put(t, file("gone.key"), 0o600, key)
	if err := os.Chmod(file("open.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file("folder.pem")); err != nil {
		t.Fatal(err)
	}
	put(t, file("folder.pem"), 0o600, read(t, house.PKI("server.pem")))
	e2e.Eventually(t, "every listener is served", func() error {
		for _, name := range names {
			if w := named(t, g, "listener-"+name+"-certificate"); w.Severity == "failing" {
				return fmt.Errorf("%+v", w)
			}
			if err := dial(name); err != nil {
				return err
			}
		}
		return nil
	})
	if got := handshake(t, "127.0.0.1:"+itoa(ports["old"])).Subject.CommonName; got != "renewed.example" {
		t.Errorf("the renewed certificate is not served, but %q", got)
	}
}

// TestCheckWarnsOfWhatTimeMends: a certificate that cannot be served yet does not keep the daemon from
// starting, so -check says "good" and adds a warning.
func TestCheckWarnsOfWhatTimeMends(t *testing.T) {
	t.Parallel()
	g := house.NewGateway(t, e2e.Settings{Listeners: `
  - {name: two, address: "127.0.0.1:0", tls: {cert: none.pem, key: none.key}}`})
	p := e2e.Start(t, nil, house.Bin("gatehoused"), "-config", g.File, "-check")
	if code := p.Exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if err := lacks(p.Text(), "listeners[1].tls.cert: warning: ", "none.pem: no such file", "gatehoused.yaml: good"); err != nil {
		t.Error(err)
	}
}
