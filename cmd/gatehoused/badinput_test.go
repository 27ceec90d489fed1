package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/gateway/config"
)

// refused runs the daemon with a configuration that it must refuse: the
// exit code, every wanted text on standard error, and nothing started.
func refused(t *testing.T, g *e2e.Gateway, code int, wants ...string) string {
	t.Helper()
	g.Launch(t)
	if got := g.Exit(t); got != code {
		t.Errorf("exit code %d, want %d", got, code)
	}
	text := g.Text()
	for _, want := range wants {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("standard error lacks %q:\n%s", want, text)
		}
	}
	if n, said := g.Supervisor.Next(time.Millisecond); said {
		t.Errorf("systemd was told %q", n.Text)
	}
	for _, made := range []string{"state/cache", "state/messages", "admin.sock"} {
		if _, err := os.Lstat(filepath.Join(g.Dir, made)); err == nil && code == config.ExitCode {
			t.Errorf("%s was made although nothing may start", made)
		}
	}
	return text
}

// TestBrokenConfiguration: every mistake of every kind at once, with its line and its remedy.
func TestBrokenConfiguration(t *testing.T) {
	t.Parallel()
	g := house.NewGateway(t, e2e.Settings{
		State:     "{dir: state, minFree: lots}",
		Listener:  "on_denied_publish: shrug",
		Listeners: "  - {name: two, address: \"127.0.0.1:0\", tls: {cert: none.pem, key: none.key}}",
		Sections:  "offline: {stale: 2 fortnights}\nacess: {}\nupstream: {mode: pigeon}",
	})
	text := refused(t, g, config.ExitCode,
		`gatehoused\.yaml:\d+: state\.minFree: .*\n\tfix: `,
		`gatehoused\.yaml:\d+: listeners\[0\]\.on_denied_publish: .*\n\tfix: `,
		`gatehoused\.yaml:\d+: offline\.stale: .*\n\tfix: `,
		`gatehoused\.yaml:\d+: acess: .*\n\tfix: did you mean access`,
		`gatehoused\.yaml:\d+: upstream\.mode: .*pigeon.*\n\tfix: `,
		`listeners\[1\]\.tls\.cert: warning: .*none\.pem: no such file`,
		`5 problem\(s\) in the configuration; nothing was started`)
	lines := strings.Split(read(t, g.File), "\n")
	for _, m := range regexp.MustCompile(`(?m)gatehoused\.yaml:(\d+): (?:.*[.\]])?(\w+): `).FindAllStringSubmatch(text, -1) {
		if n := atoi(t, m[1]); n > len(lines) || !strings.Contains(lines[n-1], m[2]) {
			t.Errorf("%s is not on line %d", m[2], n)
		}
	}
}

// TestBadFiles: the configuration is good and the files that it names are bad. All mistakes are reported
// at once; what is wrong with certificates of listeners and of links is a warning beside them.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	g := house.NewGateway(t, e2e.Settings{
		State: "{dir: taken}", // a file is in the directory's place
		Listeners: `
  - {name: old, address: "127.0.0.1:0", tls: {cert: old.pem, key: old.key}}
  - {name: mixed, address: "127.0.0.1:0", tls: {cert: old.pem, key: HOUSE/pki/server.key}}
  - {name: open, address: "127.0.0.1:0", tls: {cert: HOUSE/pki/server.pem, key: open.key}}
  - {name: gone, address: "127.0.0.1:0", tls: {cert: HOUSE/pki/server.pem, key: gone.key}}
  - {name: folder, address: "127.0.0.1:0", tls: {cert: HOUSE/pki/server.pem, key: HOUSE/pki}}`,
		Sections: `access: {map: topics.yaml}
upstream:
  mode: mqtt
  mqtt: {url: "mqtts://127.0.0.1:1", clientId: x, ca: taken, cert: old.pem, key: HOUSE/pki/server.key}
  routes: [{name: all, filter: "a/#/b"}]`,
	})
	old, err := house.CA.Server(time.Now().Add(-48*time.Hour), 24*time.Hour, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	if err := site.WritePair(old, filepath.Join(g.Dir, "old.pem"), filepath.Join(g.Dir, "old.key")); err != nil {
		t.Fatal(err)
	}
	key := read(t, house.PKI("server.key"))
	put(t, filepath.Join(g.Dir, "open.key"), 0o644, key)
	put(t, filepath.Join(g.Dir, "taken"), 0o600, "")
	put(t, filepath.Join(g.Dir, "topics.yaml"), 0o600,
		"rows:\n  - {name: a, topic: devices/x, publish: {anyOf: [Update Device]}}\n"+
			"  - {name: b, topic: b, scope: /, publish: {anyOf: [Paint Device]}}\n")
	text := refused(t, g, config.ExitCode,
		`listeners\[1\]\.tls\.cert: warning: expired on .*\n\tfix: renew it`,
		`listeners\[2\]\.tls\.cert: warning: cannot be used: .*private key does not match.*\n\tfix: `,
		`listeners\[3\]\.tls\.key: warning: .*open\.key: .*\n\tfix: chmod 0600 `,
		`listeners\[4\]\.tls\.key: warning: .*gone\.key: no such file.*\n\tfix: `,
		`listeners\[5\]\.tls\.key: warning: .*pki: is a directory.*\n\tfix: `,
		`topics\.yaml:2: rows\[0\]\.topic: .*devices belong to the built-in rows\n\tfix: `,
		`topics\.yaml:3: .*Paint.*\n\tfix: `,
		`upstream\.routes\[0\]\.filter: `,
		`upstream\.mqtt\.ca: warning: .*/taken holds no certificate\n\tfix: name a PEM file`,
		`upstream\.mqtt\.cert: warning: cannot be used: .*private key does not match.*\n\tfix: `,
		`state\.dir: .*/taken cannot be used: not a directory\n\tfix: make the directory`,
		`5 problem\(s\) in the configuration; nothing was started`)
	if strings.Contains(text, "PRIVATE") || strings.Contains(text, strings.Split(key, "\n")[1]) {
		t.Error("the key is in the log")
	}
}

// TestUnwritableState: a directory that nothing can be written to, also for root.
func TestUnwritableState(t *testing.T) {
	t.Parallel()
	g := house.NewGateway(t, e2e.Settings{State: "{dir: /proc/gatehouse}"})
	refused(t, g, config.ExitCode, `state\.dir: /proc/gatehouse cannot be used: .*\n\tfix: make the directory and give it to the user`)
}

// TestStateInUse: a second daemon on the same state is refused and the first goes on.
func TestStateInUse(t *testing.T) {
	t.Parallel()
	g := serving(t, e2e.Settings{})
	second := house.NewGateway(t, e2e.Settings{State: "{dir: " + filepath.Join(g.Dir, "state") + ", minFree: 16 MiB}"})
	refused(t, second, exitFailure, `stop the other process, or give this one its own state directory`)
	g.Serves(t)
}

func TestArguments(t *testing.T) {
	t.Parallel()
	g := house.NewGateway(t, e2e.Settings{})
	cases := []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-verbose"}, exitUsage, "flag provided but not defined: -verbose"},
		{[]string{"start"}, exitUsage, `unexpected argument "start"`},
		{[]string{"-config"}, exitUsage, "flag needs an argument"},
		{[]string{"-h"}, exitOK, "Usage of gatehoused"},
		{[]string{"-version"}, exitOK, "gatehoused "},
		{[]string{"-config", g.File, "-check"}, exitOK, "gatehoused.yaml: good"},
		{[]string{"-config", filepath.Join(g.Dir, "none.yaml")}, config.ExitCode, "none.yaml: "},
	}
	for _, c := range cases {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			p := e2e.Start(t, nil, house.Bin("gatehoused"), c.args...)
			if got := p.Exit(t); got != c.code || !strings.Contains(p.Text(), c.want) {
				t.Errorf("code %d, want %d with %q:\n%s", got, c.code, c.want, p.Text())
			}
		})
	}
}

// A configuration that is a pipe to which nobody writes does not keep the daemon from stopping.
func TestStopWhileTheConfigurationIsRead(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "config")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"-config", fifo}, io.Discard, io.Discard) }()
	cancel()
	select {
	case code := <-done:
		if code != exitOK {
			t.Errorf("code %d", code)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for the pipe")
	}
	// The test writes to the pipe, so that no reader stays behind.
	w, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
}

// TestCheckStartsNothing: -check looks at everything and leaves nothing behind.
func TestCheckStartsNothing(t *testing.T) {
	t.Parallel()
	g := house.NewGateway(t, e2e.Settings{})
	p := e2e.Start(t, g.Supervisor.Env(), house.Bin("gatehoused"), "-config", g.File, "-check")
	if code := p.Exit(t); code != exitOK {
		t.Fatalf("code %d:\n%s", code, p.Text())
	}
	if files, _ := filepath.Glob(filepath.Join(g.Dir, "state", "*")); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
	if n, said := g.Supervisor.Next(time.Millisecond); said {
		t.Errorf("systemd was told %q", n.Text)
	}
}

func newServer(t *testing.T, host string) x509.Pair {
	t.Helper()
	p, err := house.CA.Server(time.Now().Add(-time.Hour), 24*time.Hour, host)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
