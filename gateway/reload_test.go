package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/gateway/config"
)

// TestReloadTakesTheAPICertificate: its finding tells the operator to renew it and reload.
func TestReloadTakesTheAPICertificate(t *testing.T) {
	dir := t.TempDir()
	ca, err := x509.NewCA("site", time.Now().Add(-time.Hour), 1000*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair := func(name string, life time.Duration) *config.TLS {
		p, err := ca.Server(time.Now().Add(-time.Hour), life, "localhost")
		if err != nil {
			t.Fatal(err)
		}
		chain, key, err := p.PEM()
		if err != nil {
			t.Fatal(err)
		}
		c := &config.TLS{Cert: config.File(filepath.Join(dir, name)), Key: config.SecretFile(filepath.Join(dir, name+".key"))}
		for file, text := range map[string][]byte{string(c.Cert): chain, string(c.Key): key} {
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return c
	}
	cfg := config.Default()
	cfg.State.Dir = config.File(filepath.Join(dir, "state"))
	cfg.Admin.Socket = config.File(filepath.Join(dir, "admin.sock"))
	cfg.Instance.Hub.Host = "hub.example"
	cfg.API = config.API{Address: "127.0.0.1:0", TLS: pair("old", 100*time.Hour)}
	d, err := build(cfg, Options{rehearsal: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.close() }()
	before := d.doors.all.Certificates()
	next := cfg
	next.API.TLS = pair("new", 200*time.Hour)
	r, problems := d.renew(&next)
	if len(problems) > 0 || len(r.held) > 0 {
		t.Fatalf("problems %v; waits for a restart: %v", problems, r.held)
	}
	for _, takeOver := range r.tls {
		takeOver()
	}
	after := d.doors.all.Certificates()
	if len(before) != 1 || len(after) != 1 || !after[0].NotAfter.After(before[0].NotAfter) {
		t.Errorf("served before %v, after %v", before, after)
	}
	next.API.TLS = &config.TLS{Cert: next.API.TLS.Cert, Key: cfg.API.TLS.Key}
	if _, problems := d.renew(&next); len(problems) != 1 || problems[0].Field != "api.tls" {
		t.Errorf("a pair that does not match: %v", problems)
	}
}

// TestReloadWhileTheTokenKeysAreAwaited: the file that the daemon waits for is no reason to refuse a reload, another
// one that cannot be read is.
func TestReloadWhileTheTokenKeysAreAwaited(t *testing.T) {
	dir := t.TempDir()
	cfg := config.Default()
	cfg.State.Dir = config.File(filepath.Join(dir, "state"))
	cfg.Admin.Socket = config.File(filepath.Join(dir, "admin.sock"))
	cfg.Instance.Hub.Host = "hub.example"
	cfg.Identity.JWKS.File = config.File(filepath.Join(dir, "later.json"))
	d, err := build(cfg, Options{rehearsal: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.close() }()
	if text := warned(d, "token-keys"); !strings.Contains(text, "later.json") {
		t.Errorf("health says %q", text)
	}
	next := cfg
	if r, problems := d.renew(&next); len(problems) > 0 || len(r.held) > 0 || r.keys != nil {
		t.Errorf("the same file: %v, waits for a restart: %v", problems, r.held)
	}
	next.Identity.JWKS.File = config.File(filepath.Join(dir, "other.json"))
	if _, problems := d.renew(&next); len(problems) != 1 || problems[0].Field != "identity.jwks.file" {
		t.Errorf("another file: %v", problems)
	}
}
