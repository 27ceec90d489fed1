package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
	credential "github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/freeport"
)

var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "gh")
	if err == nil {
		err = e2e.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = filepath.Join(dir, "managementd")
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// cloud is a directory with a good configuration and what it names.
type cloud struct {
	dir, file string
	port      int
	http      *http.Client
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{dir: e2e.ShortDir(t)}
	var err error
	if c.port, err = freeport.Get(); err != nil {
		t.Fatal(err)
	}
	ca, err := credential.NewCA("test", time.Now().Add(-time.Hour), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c.certificate(t, ca, time.Now().Add(-time.Hour))
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	c.http = &http.Client{Timeout: e2e.Patience, Transport: transport}
	c.file = filepath.Join(c.dir, "managementd.yaml")
	c.write(t, strings.ReplaceAll(`listen: 127.0.0.1:PORT
tls: {cert: server.pem, key: server.key}
state: state
tenant: 7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001
issuer:
  url: https://localhost:PORT/7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001/v2.0
  key: issuer.key
  management: https://management.demo.example
  audiences: [{resource: "https://management.demo.example", audience: "https://management.demo.example"}]
  accounts: [{id: robot, secret: robot, objectId: 5e4c1ce0-0000-4000-8000-000000000001}]
`, "PORT", fmt.Sprint(c.port)))
	return c
}

func (c *cloud) certificate(t *testing.T, ca credential.Pair, from time.Time) {
	t.Helper()
	server, err := ca.Server(from, 24*time.Hour, "localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if err := e2e.WritePair(server, filepath.Join(c.dir, "server.pem"), filepath.Join(c.dir, "server.key")); err != nil {
		t.Fatal(err)
	}
}

func (c *cloud) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(c.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (c *cloud) edit(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(c.file)
	if err != nil || !strings.Contains(string(b), from) {
		t.Fatalf("%q is not in the configuration (%v)", from, err)
	}
	c.write(t, strings.Replace(string(b), from, to, 1))
}

func (c *cloud) start(t *testing.T) *e2e.Process {
	t.Helper()
	return e2e.Start(t, nil, bin, "-config", c.file)
}

func (c *cloud) up(t *testing.T) *e2e.Process {
	t.Helper()
	p := c.start(t)
	p.Line(t, "managementd serves")
	e2e.Eventually(t, "the API answers", func() error { return c.ask(t, http.MethodGet, "/healthz", "", http.StatusOK) })
	return p
}

func (c *cloud) ask(t *testing.T, method, path, body string, want int) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("https://localhost:%d%s", c.port, path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err == nil && want != 0 && res.StatusCode != want {
		err = fmt.Errorf("%s %s: %s %.200s", method, path, res.Status, text)
	}
	return err
}

func ended(t *testing.T, p *e2e.Process, code int, wants ...string) {
	t.Helper()
	if got := p.Exit(t); got != code {
		t.Errorf("exit code %d, want %d", got, code)
	}
	for _, w := range wants {
		if !regexp.MustCompile(w).MatchString(p.Text()) {
			t.Errorf("standard error lacks %q:\n%s", w, p.Text())
		}
	}
}

// TestBrokenConfiguration: everything that is wrong at once, with line and remedy, and nothing started.
func TestBrokenConfiguration(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.edit(t, "listen: 127.0.0.1:", "listen: here")
	c.edit(t, "tenant:", "tennant:")
	c.edit(t, "secret: robot, ", "")
	c.edit(t, "state: state", "hub: {listen: 0.0.0.0:1}")
	ended(t, c.start(t), config.ExitCode, `managementd\.yaml:1: listen: is no host:port\n\tfix: write`, `managementd\.yaml:4: tennant: .*\n\tfix: did you mean tenant`,
		`tenant: is missing\n\tfix: `, `state: is missing\n\tfix: `, `issuer\.accounts\[0\]: needs id, secret and objectId\n\tfix: `,
		`hub\.listen: opens the development hub beyond this machine\n\tfix: `, `nothing was started`)
	if made, _ := filepath.Glob(filepath.Join(c.dir, "issuer.key")); len(made) > 0 {
		t.Errorf("made %v although nothing may start", made)
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	for _, a := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-verbose"}, 64, "not defined: -verbose"}, {[]string{"start"}, 64, `unexpected argument "start"`}, {[]string{"-h"}, 0, "Usage"},
		{[]string{"-version"}, 0, "managementd "}, {[]string{"-config", c.file, "-check"}, 0, "managementd.yaml: good"},
		{[]string{"-config", filepath.Join(c.dir, "none.yaml")}, config.ExitCode, "none.yaml"},
	} {
		t.Run(strings.Join(a.args, " "), func(t *testing.T) { ended(t, e2e.Start(t, nil, bin, a.args...), a.code, regexp.QuoteMeta(a.want)) })
	}
	if made, _ := filepath.Glob(filepath.Join(c.dir, "state")); len(made) > 0 {
		t.Errorf("-check made %v", made)
	}
}

// TestBadFiles: what a good configuration names is bad; each is said with what helps.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]struct {
		spoil func(*testing.T, *cloud)
		want  string
	}{
		"state is a file":     {func(t *testing.T, c *cloud) { c.touch(t, "state", 0o600, "") }, `state: .*cannot be used: not a directory\n\tfix: `},
		"certificate missing": {func(t *testing.T, c *cloud) { c.edit(t, "cert: server.pem", "cert: none.pem") }, `tls\.cert: .*none\.pem: no such file.*\n\tfix: `},
		"certificate expired": {func(t *testing.T, c *cloud) { c.expire(t) }, `tls\.cert: expired on .*\n\tfix: renew it`},
		"key for everyone":    {func(t *testing.T, c *cloud) { c.open(t, "server.key") }, `tls\.key: .*every user.*\n\tfix: chmod 0600`},
		"key of another":      {func(t *testing.T, c *cloud) { c.touch(t, "server.key", 0o600, "-----BEGIN PRIVATE KEY-----\n") }, `tls\.cert: cannot be used: .*\n\tfix: `},
		"issuer key is noise": {func(t *testing.T, c *cloud) { c.touch(t, "issuer.key", 0o600, "noise") }, `issuer\.key: .*`},
		"seed missing": {func(t *testing.T, c *cloud) {
			c.edit(t, "state: state", "state: state\nseed: none.yaml\ncredentials: none.yaml")
		}, `seed: .*none\.yaml: no such file.*\n\tfix: `},
		"seed without keys": {func(t *testing.T, c *cloud) { c.edit(t, "state: state", "state: state\nseed: none.yaml") }, `credentials: is missing.*\n\tfix: `},
		"owner of no type": {func(t *testing.T, c *cloud) {
			c.edit(t, "state: state", "state: state\nowner: {objectId: 0fc863aa-eb51-4704-a312-7d635d70e000, objectIdType: DeviceId}")
		}, `owner\.objectIdType: .*\n\tfix: write UserId`},
		"credentials are open": {func(t *testing.T, c *cloud) {
			c.touch(t, "credentials.yaml", 0o644, "")
			c.edit(t, "state: state", "state: state\ncredentials: credentials.yaml")
		}, `credentials: .*every user.*\n\tfix: chmod 0600`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			a.spoil(t, c)
			ended(t, c.start(t), config.ExitCode, a.want, `nothing was started`)
		})
	}
}

func (c *cloud) touch(t *testing.T, name string, mode os.FileMode, text string) {
	t.Helper()
	file := filepath.Join(c.dir, name)
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	c.chmod(t, file, mode)
}

func (c *cloud) open(t *testing.T, name string) { c.chmod(t, filepath.Join(c.dir, name), 0o644) }

func (c *cloud) chmod(t *testing.T, file string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

func (c *cloud) expire(t *testing.T) {
	t.Helper()
	old, err := credential.NewCA("old", time.Now().Add(-48*time.Hour), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c.certificate(t, old, time.Now().Add(-48*time.Hour))
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", c.port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ended(t, c.start(t), 1, fmt.Sprintf(`listen: 127.0.0.1:%d is taken by another process`, c.port))
	hub := newCloud(t)
	hub.edit(t, "state: state", fmt.Sprintf("state: state\nhubHost: hub.example\nhub: {listen: \"127.0.0.1:%d\"}", c.port))
	p := hub.start(t)
	ended(t, p, 1, fmt.Sprintf(`hub\.listen: 127.0.0.1:%d is taken by another process`, c.port))
	if strings.Contains(p.Text(), "serves") {
		t.Errorf("it says that it serves, without its hub:\n%s", p.Text())
	}
}

// TestUnreadIsNotMissing: one mistake is said once.
func TestUnreadIsNotMissing(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.edit(t, "tenant: 7a1d0f8e", "tenant: x7a1d0f8e")
	p := c.start(t)
	ended(t, p, config.ExitCode, `tenant: malformed GUID`, `1 problem\(s\)`)
}

// TestLife: it serves, takes garbage without harm, keeps its state over a kill, and ends as asked.
func TestLife(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	p := c.up(t)
	for _, path := range []string{"/management/api/v1.0/roleassignments", "/management/api/v1.0/devices?includes=%00", "/management/api/v1.0/gateway/changes?since=x.y&wait=-1", "/7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001/oauth2/v2.0/token", "/hub/telemetry", "/../x"} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete, "BREW"} {
			for _, body := range []string{"", "{", "null", strings.Repeat("[", 4096), "\xff\x00"} {
				if err := c.ask(t, method, path, body, 0); err != nil {
					t.Errorf("%s %s: no answer: %v", method, path, err)
				}
			}
		}
	}
	raw, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", c.port))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = raw.Write([]byte("\x16\x03\x01\xff\xff\x01 no handshake"))
	_ = raw.Close()
	if err := c.ask(t, http.MethodGet, "/management/api/v1.0/system/roles", "", http.StatusUnauthorized); err != nil {
		t.Error(err)
	}
	if strings.Contains(p.Text(), "panic") {
		t.Errorf("it panicked:\n%s", e2e.Tail(p.Text(), 30))
	}
	p.Kill()
	key, err := os.ReadFile(filepath.Join(c.dir, "issuer.key"))
	if err != nil {
		t.Fatal(err)
	}
	p = c.up(t)
	if again, err := os.ReadFile(filepath.Join(c.dir, "issuer.key")); err != nil || string(again) != string(key) {
		t.Errorf("the signing key changed over a kill (%v)", err)
	}
	p.Signal(t, syscall.SIGTERM)
	if code := p.Exit(t); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
}
