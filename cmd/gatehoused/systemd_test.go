package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/gateway/freeport"
)

// TestLifeUnderSystemd: what the service manager is told, from the start to the end.
func TestLifeUnderSystemd(t *testing.T) {
	t.Parallel()
	g := house.NewGateway(t, e2e.Settings{})
	const interval = 900 * time.Millisecond
	began := time.Now()
	g.Launch(t, "WATCHDOG_USEC="+itoa(int(interval/time.Microsecond)))
	up := g.Ready(t)
	ready := up[len(up)-1]
	if !ready.Has("STATUS=") || !strings.Contains(ready.Text, "serving; policy") {
		t.Errorf("ready with %q", ready.Text)
	}
	// After READY=1 a client is served at once.
	if err := g.Get("/healthz", nil); err != nil && !strings.Contains(err.Error(), "503") {
		t.Errorf("after READY=1: %v", err)
	}
	// The daemon sends one ping at the start and then at most one in a third of the interval. That it
	// sends no fewer is tested in gateway/systemd with an injected clock: here a busy machine would decide.
	const pings = 6
	for range pings {
		g.Supervisor.Await(t, "WATCHDOG=1")
	}
	if took := time.Since(began); took < (pings-2)*interval/3 { // a late tick may be followed by one in time
		t.Errorf("%d pings within %v, want one each %v", pings, took, interval/3)
	}
	g.Signal(t, syscall.SIGTERM)
	end := g.Supervisor.Await(t, "STOPPING=1")
	if !end[len(end)-1].Has("STATUS=") {
		t.Errorf("stopping with %q", end[len(end)-1].Text)
	}
	if code := g.Exit(t); code != exitOK {
		t.Errorf("exit code %d after SIGTERM", code)
	}
}

// TestWatchdogNeedsTheRoundTrip: the watchdog gets no ping while the daemon cannot finish its self-test,
// a message through its own broker. SIGSTOP stands for the hang.
func TestWatchdogNeedsTheRoundTrip(t *testing.T) {
	t.Parallel()
	g := house.NewGateway(t, e2e.Settings{})
	const interval = 600 * time.Millisecond
	g.Launch(t, "WATCHDOG_USEC="+itoa(int(interval/time.Microsecond)))
	g.Supervisor.Await(t, "WATCHDOG=1")
	g.Signal(t, syscall.SIGSTOP)
	e2e.Eventually(t, "every thread of the daemon is stopped", func() error { return stopped(g.PID()) })
	for { // pings that were sent before the stop
		if _, more := g.Supervisor.Next(time.Millisecond); !more {
			break
		}
	}
	if n, ok := g.Supervisor.Next(interval); ok {
		t.Errorf("a stopped daemon says %q", n.Text)
	}
	g.Signal(t, syscall.SIGCONT)
	g.Supervisor.Await(t, "WATCHDOG=1")
}

// stopped is nil once no thread of a process runs any more.
func stopped(pid int) error {
	files, err := filepath.Glob("/proc/" + itoa(pid) + "/task/*/stat")
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no threads of %d (%w)", pid, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if _, state, _ := strings.Cut(string(b), ") "); !strings.HasPrefix(state, "T") {
			return fmt.Errorf("%s: %.40q", file, b)
		}
	}
	return nil
}

// TestSocketActivation: systemd's own tool hands over the MQTT port, and the first device that connects is served.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	g := house.NewGateway(t, e2e.Settings{})
	address := "127.0.0.1:" + itoa(g.MQTT)
	g.Process = e2e.Start(t, nil, "systemd-socket-activate", "-l", address, "--fdname=mqtts",
		"-E", "NOTIFY_SOCKET="+strings.TrimPrefix(g.Supervisor.Env()[0], "NOTIFY_SOCKET="),
		house.Bin("gatehoused"), "-config", g.File)
	g.Line(t, "Listening on "+address)
	// The tool starts the daemon at the first connection, which waits in the queue of the socket.
	e2e.Eventually(t, "a device that knocked first is served", func() error {
		_, err := g.Pub(g.Device("lobby-thermostat"), site.Telemetry("lobby-thermostat", "lobby-thermostat-humidity"), "40")
		return err
	})
	g.Ready(t)
	if code := g.Stop(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// TestSocketOfNobody: a socket whose name is no listener of the configuration is an error, because
// nobody would accept its connections.
func TestSocketOfNobody(t *testing.T) {
	t.Parallel()
	g := house.NewGateway(t, e2e.Settings{})
	port, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + itoa(port)
	p := e2e.Start(t, nil, "systemd-socket-activate", "-l", address, "--fdname=mqtt-old",
		"-E", "NOTIFY_SOCKET="+strings.TrimPrefix(g.Supervisor.Env()[0], "NOTIFY_SOCKET="),
		house.Bin("gatehoused"), "-config", g.File)
	p.Line(t, "Listening on")
	knock, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = knock.Close() }()
	g.Supervisor.ReadyOrEnd(t, p)
	p.Line(t, `"mqtt-old"`)
	if code := p.Exit(t); code != exitFailure {
		t.Errorf("exit code %d", code)
	}
}

func servedName(t *testing.T, g *e2e.Gateway) string {
	t.Helper()
	return handshake(t, "127.0.0.1:"+itoa(g.MQTT)).Subject.CommonName
}

// TestReload: SIGHUP takes over certificates, topic map and log level; a broken
// file changes nothing; what needs a restart is named; nobody loses the connection.
func TestReload(t *testing.T) {
	t.Parallel()
	g := house.NewGateway(t, e2e.Settings{})
	pem, key := filepath.Join(g.Dir, "own.pem"), filepath.Join(g.Dir, "own.key")
	install := func(host string) {
		if err := site.WritePair(newServer(t, host), pem, key); err != nil {
			t.Fatal(err)
		}
	}
	install("localhost")
	own := strings.NewReplacer(house.PKI("server.pem"), pem, house.PKI("server.key"), key)
	good := own.Replace(g.Config(e2e.Settings{Sections: "access: {map: topics.yaml}"}))
	topics := filepath.Join(g.Dir, "topics.yaml")
	put(t, topics, 0o600, "rows:\n"+
		"  - {name: a, topic: 'first/{sensor}', publish: {anyOf: [Create Sensor]}, subscribe: {anyOf: [Read Sensor]}}\n")
	g.Write(t, good)
	g.Up(t)
	installer := g.Device("ups-1").Five()
	g.MustPub(t, installer, "first/ups-1-load", "1")
	if _, err := g.Pub(installer, "second/ups-1-load", "1"); err == nil {
		t.Fatal("a topic that no row matches was accepted")
	}
	live := g.Sub(t, g.Person(t, "dashboard", "dash-reload"), "spaces"+site.GatewaySpace+"/#")
	withdrawn := g.Sub(t, g.Person(t, "dashboard", "dash-first"), "first/ups-1-load")
	g.MustPub(t, installer, "first/ups-1-load", "before")
	withdrawn.Line(t, "MSG first/ups-1-load 1 0 before")

	hup := func() string {
		t.Helper()
		before := len(g.Lines())
		g.Signal(t, syscall.SIGHUP)
		begun := g.Supervisor.Await(t, "RELOADING=1")
		if !begun[len(begun)-1].Has("MONOTONIC_USEC=") {
			t.Errorf("%q has no MONOTONIC_USEC", begun[len(begun)-1].Text)
		}
		g.Supervisor.Await(t, "READY=1")
		return strings.Join(g.Lines()[before:], "\n")
	}

	// A file with two mistakes changes nothing, though certificate and map beside it are new and good.
	install("renewed.example")
	put(t, topics, 0o600, "rows:\n  - {name: b, topic: 'second/{sensor}', publish: {anyOf: [Create Sensor]}}\n")
	g.Write(t, strings.Replace(good, "level: info", "level: loud", 1)+"\nnonsense: 1\n")
	said := hup()
	e2e.Eventually(t, "both mistakes are said", func() error { return lacks(g.Text(), "reload refused", "log.level", "nonsense") })
	if got := servedName(t, g); got != "localhost" {
		t.Errorf("after a broken reload the certificate is %q", got)
	}
	g.MustPub(t, installer, "first/ups-1-load", "2")
	if warned(t, g, "reload") == "" {
		t.Errorf("health does not say that the reload was refused:\n%s", said)
	}

	// A good file: certificate, map and log level change, and health says that the new state settings need a restart.
	g.Write(t, strings.Replace(strings.Replace(good, "level: info", "level: debug", 1), "minFree: 16 MiB", "minFree: 17 MiB", 1))
	hup()
	if got := servedName(t, g); got != "renewed.example" {
		t.Errorf("the new certificate is not served, but %q", got)
	}
	if warned(t, g, "reload") != "" {
		t.Error("the refused reload is still in health")
	}
	if w := warned(t, g, "restart-needed"); !strings.Contains(w, "state.minFree") || strings.Contains(w, "level") ||
		strings.Contains(w, "tls") {
		t.Errorf("waiting for a restart: %q, want state.minFree alone", w)
	}
	insecure := installer.With("--insecure") // the name of the new certificate is not localhost
	g.MustPub(t, insecure, "second/ups-1-load", "3")
	if _, err := g.Pub(insecure, "first/ups-1-load", "3"); err == nil {
		t.Error("a row that the new map does not have still grants")
	}
	// The session from before the reload goes on and receives what is published after it.
	g.MustPub(t, insecure, site.Telemetry("ups-1", "ups-1-load"), "after the reload")
	live.Line(t, "after the reload")
	for _, m := range withdrawn.Messages() {
		if m == "3" {
			t.Error("a subscription outlived its row")
		}
	}
}

// warned is the text of the named warning in the gateway's health, "" when there is none.
func warned(t *testing.T, g *e2e.Gateway, name string) string {
	t.Helper()
	s, err := g.Status()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range s.Health.Warnings {
		if w.Name == name {
			return w.Text
		}
	}
	return ""
}

// TestReloadOfTokenKeys: when a signing key is removed from the file, sessions that were authenticated
// by a token of that key end, and such tokens are refused from then on. Other sessions stay.
func TestReloadOfTokenKeys(t *testing.T) {
	t.Parallel()
	g := house.NewGateway(t, e2e.Settings{})
	file := filepath.Join(g.Dir, "jwks.json")
	keys := house.Keys(t)
	put(t, file, 0o600, keys)
	text := read(t, g.File)
	from := strings.Index(text, "  jwks: ")
	g.Write(t, text[:from]+"  jwks: {file: jwks.json}\n"+text[from+strings.Index(text[from:], "\n")+1:])
	g.Up(t)
	person := g.Sub(t, g.Person(t, "dashboard", "dash"), "spaces"+site.GatewaySpace+"/#")
	device := g.Sub(t, g.Device("thermostat-101"), "devices/thermostat-101/messages/devicebound/#")
	reload := func(keys string) {
		t.Helper()
		put(t, file, 0o600, keys)
		g.Signal(t, syscall.SIGHUP)
		g.Supervisor.Await(t, "RELOADING=1")
		g.Supervisor.Await(t, "READY=1")
	}
	for _, broken := range []string{"{", `{"keys":[]}`} {
		reload(broken)
		if w := warned(t, g, "reload"); !strings.Contains(w, "jwks") {
			t.Errorf("%q: health says %q", broken, w)
		}
	}
	g.Sub(t, g.Person(t, "dashboard", "dash-2"), "spaces"+site.GatewaySpace+"/#").Kill() // the old keys are still in force
	others := regexp.MustCompile(`("kid":\s*")`).ReplaceAllString(keys, "${1}another-")
	if others == keys {
		t.Fatalf("no key id in %s", keys)
	}
	reload(others)
	e2e.Eventually(t, "the session of the withdrawn key is ended", func() error {
		s, err := g.Status()
		if err == nil && (s.Sessions.Connected != 1 || s.Sessions.ByKind["device"] != 1) {
			err = fmt.Errorf("connected: %v", s.Sessions.ByKind)
		}
		return err
	})
	if out, err := g.Pub(g.Person(t, "dashboard", "dash-3"), "x", "1"); err == nil {
		t.Errorf("a token of the withdrawn key proves somebody: %s", out)
	}
	person.Kill()
	if !device.Running() {
		t.Error("the device, which no token proves, was disconnected")
	}
	reload(keys)
	g.Sub(t, g.Person(t, "dashboard", "dash-4"), "spaces"+site.GatewaySpace+"/#")
}
