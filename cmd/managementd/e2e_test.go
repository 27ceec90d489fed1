package main

import (
	"crypto/tls"
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
	"github.com/gatehouse/gatehouse/cmd/internal/site"
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

// cloud is a site whose store begins empty. Tests spoil its configuration, or what that names.
type cloud struct {
	*site.Site
	http *http.Client
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	port, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	s, err := site.Prepare(site.Options{Dir: e2e.ShortDir(t), Ports: site.Ports{API: port}})
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.Pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return &cloud{s, &http.Client{Timeout: e2e.Patience, Transport: transport}}
}

func (c *cloud) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(c.CloudFile(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (c *cloud) edit(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(c.CloudFile())
	if err != nil || !strings.Contains(string(b), from) {
		t.Fatalf("%q is not in the configuration (%v)", from, err)
	}
	c.write(t, strings.Replace(string(b), from, to, 1))
}

func (c *cloud) start(t *testing.T) *e2e.Process {
	t.Helper()
	return e2e.Start(t, nil, bin, "-config", c.CloudFile())
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
	req, err := http.NewRequestWithContext(t.Context(), method, c.URL(path), strings.NewReader(body))
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

// TestBrokenConfiguration: all mistakes are reported at once, with line and remedy, and nothing starts.
func TestBrokenConfiguration(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.edit(t, "listen: 127.0.0.1:", "listen: here")
	c.edit(t, "tenant:", "tennant:")
	c.edit(t, "id: gatehoused, ", "")
	c.edit(t, "state: cloud", "hub: {listen: 0.0.0.0:1}")
	ended(t, c.start(t), config.ExitCode, `managementd\.yaml:1: listen: is no host:port\n\tfix: write`,
		`managementd\.yaml:4: tennant: .*\n\tfix: did you mean tenant`,
		`tenant: is missing\n\tfix: `, `state: is missing\n\tfix: `, `issuer\.accounts\[0\]: needs id, secret and objectId\n\tfix: `,
		`hub\.listen: opens the development hub beyond this machine\n\tfix: `, `nothing was started`)
	if made, _ := filepath.Glob(c.File("cloud-issuer.key")); len(made) > 0 {
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
		{[]string{"-version"}, 0, "managementd "}, {[]string{"-config", c.CloudFile(), "-check"}, 0, "managementd.yaml: good"},
		{[]string{"-config", c.File("none.yaml")}, config.ExitCode, "none.yaml"},
	} {
		t.Run(strings.Join(a.args, " "), func(t *testing.T) { ended(t, e2e.Start(t, nil, bin, a.args...), a.code, regexp.QuoteMeta(a.want)) })
	}
	if made, _ := filepath.Glob(c.File("cloud")); len(made) > 0 {
		t.Errorf("-check made %v", made)
	}
}

// TestBadFiles: the configuration is good and a file that it names is bad; the report names the remedy.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]struct {
		spoil func(*testing.T, *cloud)
		want  string
	}{
		"state is a file": {func(t *testing.T, c *cloud) { c.touch(t, "cloud", 0o600, "") },
			`state: .*cannot be used: not a directory\n\tfix: `},
		"certificate missing": {func(t *testing.T, c *cloud) { c.edit(t, "cert: pki/server.pem", "cert: none.pem") },
			`tls\.cert: .*none\.pem: no such file.*\n\tfix: `},
		"certificate expired": {func(t *testing.T, c *cloud) { c.expire(t) }, `tls\.cert: expired on .*\n\tfix: renew it`},
		"key for everyone":    {func(t *testing.T, c *cloud) { c.open(t, "pki/server.key") }, `tls\.key: .*every user.*\n\tfix: chmod 0600`},
		"key of another": {func(t *testing.T, c *cloud) { c.touch(t, "pki/server.key", 0o600, "-----BEGIN PRIVATE KEY-----\n") },
			`tls\.cert: cannot be used: .*\n\tfix: `},
		"issuer key is noise": {func(t *testing.T, c *cloud) { c.touch(t, "cloud-issuer.key", 0o600, "noise") }, `issuer\.key: .*`},
		"seed missing": {func(t *testing.T, c *cloud) {
			c.edit(t, "state: cloud", "state: cloud\nseed: none.yaml\ncredentials: none.yaml")
		}, `seed: .*none\.yaml: no such file.*\n\tfix: `},
		"seed without keys": {func(t *testing.T, c *cloud) { c.edit(t, "state: cloud", "state: cloud\nseed: none.yaml") },
			`credentials: is missing.*\n\tfix: `},
		"owner of no type": {func(t *testing.T, c *cloud) {
			c.edit(t, "state: cloud", "state: cloud\nowner: {objectId: 0fc863aa-eb51-4704-a312-7d635d70e000, objectIdType: DeviceId}")
		}, `owner\.objectIdType: .*\n\tfix: write UserId`},
		"credentials are open": {func(t *testing.T, c *cloud) {
			c.touch(t, "credentials.yaml", 0o644, "")
			c.edit(t, "state: cloud", "state: cloud\ncredentials: credentials.yaml")
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
	file := c.File(name)
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	c.chmod(t, file, mode)
}

func (c *cloud) open(t *testing.T, name string) { c.chmod(t, c.File(name), 0o644) }

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
	server, err := old.Server(time.Now().Add(-48*time.Hour), 24*time.Hour, "localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if err := site.WritePair(server, c.PKI("server.pem"), c.PKI("server.key")); err != nil {
		t.Fatal(err)
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", c.Ports.API))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ended(t, c.start(t), 1, fmt.Sprintf(`listen: 127.0.0.1:%d is taken by another process`, c.Ports.API))
	hub := newCloud(t)
	hub.edit(t, "state: cloud", fmt.Sprintf("state: cloud\nhubHost: hub.example\nhub: {listen: \"127.0.0.1:%d\"}", c.Ports.API))
	p := hub.start(t)
	ended(t, p, 1, fmt.Sprintf(`hub\.listen: 127.0.0.1:%d is taken by another process`, c.Ports.API))
	if strings.Contains(p.Text(), "serves") {
		t.Errorf("it says that it serves, without its hub:\n%s", p.Text())
	}
}

// TestUnreadIsNotMissing: a value that cannot be read is reported once, and not as missing too.
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
	for _, path := range []string{"/management/api/v1.0/roleassignments", "/management/api/v1.0/devices?includes=%00",
		"/management/api/v1.0/gateway/changes?since=x.y&wait=-1", "/7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001/oauth2/v2.0/token",
		"/hub/telemetry", "/../x"} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete, "BREW"} {
			for _, body := range []string{"", "{", "null", strings.Repeat("[", 4096), "\xff\x00"} {
				if err := c.ask(t, method, path, body, 0); err != nil {
					t.Errorf("%s %s: no answer: %v", method, path, err)
				}
			}
		}
	}
	raw, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", c.Ports.API))
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
	key, err := os.ReadFile(c.File("cloud-issuer.key"))
	if err != nil {
		t.Fatal(err)
	}
	p = c.up(t)
	if again, err := os.ReadFile(c.File("cloud-issuer.key")); err != nil || string(again) != string(key) {
		t.Errorf("the signing key changed over a kill (%v)", err)
	}
	p.Signal(t, syscall.SIGTERM)
	if code := p.Exit(t); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
}

// version is what /healthz says: "epoch.number".
func (c *cloud) version(t *testing.T) (v string) {
	t.Helper()
	e2e.Eventually(t, "the version", func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL("/healthz"), nil)
		if err != nil {
			return err
		}
		res, err := c.http.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		text, err := io.ReadAll(res.Body)
		v = strings.TrimSpace(string(text))
		return err
	})
	return v
}

// -restored begins a new epoch, and a start without it goes on with the old one.
func TestRestored(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	var epochs []string
	for _, args := range [][]string{nil, nil, {"-restored"}} {
		p := e2e.Start(t, nil, bin, append([]string{"-config", c.CloudFile()}, args...)...)
		p.Line(t, "managementd serves")
		epoch, _, _ := strings.Cut(c.version(t), ".")
		epochs = append(epochs, epoch)
		p.Kill()
	}
	if epochs[0] == "" || epochs[0] != epochs[1] || epochs[1] == epochs[2] {
		t.Errorf("epochs %q: want the first twice, and then another", epochs)
	}
}
