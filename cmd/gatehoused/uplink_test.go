package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/gateway/freeport"
)

// cloudBroker is Debian's mosquitto in the place of the upstream broker; it persists its sessions.
type cloudBroker struct {
	*e2e.Process
	conf string
	port int
}

func newCloudBroker(t *testing.T) *cloudBroker {
	t.Helper()
	dir := t.TempDir()
	port, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	b := &cloudBroker{conf: filepath.Join(dir, "mosquitto.conf"), port: port}
	// By default mosquitto drops what it has acknowledged when 1,000 messages wait for a subscriber. A second
	// in which watch connects again is enough for that.
	put(t, b.conf, 0o644, fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\n"+
		"persistence true\npersistence_location %s/\nmax_queued_messages 0\nuser root\nlog_dest stderr\n", port, dir))
	return b
}

func (b *cloudBroker) up(t *testing.T) {
	t.Helper()
	b.Process = e2e.Start(t, nil, "mosquitto", "-c", b.conf)
	b.Line(t, "running")
}

// end stops the broker by SIGTERM, on which it saves the messages that it has acknowledged and the
// subscription of watch. After a SIGKILL watch would miss messages that arrive before it subscribes again.
func (b *cloudBroker) end(t *testing.T) {
	t.Helper()
	b.Signal(t, syscall.SIGTERM)
	b.Exit(t)
}

// watch has a persistent subscription, so that nothing is missed between two looks.
func (b *cloudBroker) watch(t *testing.T) *e2e.Process {
	t.Helper()
	s := e2e.Start(t, nil, "stdbuf", "-oL", "mosquitto_sub", "-p", itoa(b.port), "-i", "watch", "-c", "-q", "1", "-d",
		"-F", "MSG %t %q %r %p", "-t", "site/#")
	s.Line(t, "Subscribed (mid:")
	return s
}

// TestUplinkLosesNothing: the broker upstream goes and comes, the gateway is
// killed in between, and everything that was acknowledged to a device arrives, in order.
func TestUplinkLosesNothing(t *testing.T) {
	t.Parallel()
	b := newCloudBroker(t)
	b.up(t)
	g := serving(t, e2e.Settings{Sections: uplinkTo(b.port)})
	var acked []string
	phase := func(name string) {
		t.Helper()
		for i := range 4 {
			payload := fmt.Sprintf("%s-%d", name, i)
			p := g.Device("thermostat-101")
			p.V5 = i%2 == 1
			g.MustPub(t, p, site.Telemetry("thermostat-101", "thermostat-101-temperature"), payload)
			acked = append(acked, payload)
		}
	}
	watch := b.watch(t)
	phase("connected")
	watch.Line(t, "connected-3")
	seen := watch.Messages()
	watch.Kill()
	b.end(t)
	phase("broker-gone")
	g.Kill()
	g.Up(t)
	phase("after-the-kill")
	b.up(t)
	watch = b.watch(t)
	phase("broker-back")
	watch.Line(t, "broker-back-3")
	seen = append(seen, watch.Messages()...)
	last := -1
	for _, payload := range acked {
		at := slices.Index(seen, payload)
		if at < 0 {
			t.Errorf("%s was acknowledged and never arrived", payload)
		} else if at < last {
			t.Errorf("%s overtook an earlier one", payload)
		}
		last = max(last, at)
	}
	for _, line := range watch.Lines() {
		if strings.HasPrefix(line, "MSG ") && !strings.HasPrefix(line, "MSG site/7/devices/thermostat-101/messages/events/") {
			t.Errorf("arrived elsewhere: %q", line)
		}
	}
	// The counts of the status document add up, also after the loss of the link and the kill.
	e2e.Eventually(t, "everything is forwarded", func() error {
		s, err := g.Status()
		if m := s.Messages; err == nil && (m.ForUpstream != m.Forwarded+uint64(s.Outbox.Messages)+m.Lost() || m.Forwarded != 12) {
			err = fmt.Errorf("%d for upstream, but %d forwarded, %d waiting and %d dropped", m.ForUpstream, m.Forwarded, s.Outbox.Messages, m.Lost())
		}
		return err
	})
	if code := g.Stop(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func uplinkTo(port int) string {
	return fmt.Sprintf(`upstream:
  mode: mqtt
  mqtt: {url: "mqtt://127.0.0.1:%d", clientId: gate-7, topics: {up: [{filter: "devices/+/messages/events/#", to: site/7/}]}}
  routes: [{name: telemetry, filter: "devices/+/messages/events/#"}]
`, port)
}

// TestFullDisk: a real file system that is full. The gateway refuses what it could not keep,
// goes on running, and takes it again when there is free space.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	g := house.NewGateway(t, e2e.Settings{State: "{dir: state, minFree: 16 MiB}", Sections: uplinkTo(1) + "outbox: {refuseAfter: 1s}\n"})
	smallDisk(t, filepath.Join(g.Dir, "state"), "160m")
	g.Up(t)
	topic := site.Telemetry("ups-1", "ups-1-load")
	g.MustPub(t, g.Device("ups-1").Five(), topic, "room")
	filler := filepath.Join(g.Dir, "state", "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for chunk := make([]byte, 1<<20); ; {
		if _, err := f.Write(chunk); err != nil {
			break // the disk is full
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	full := time.Now()
	e2e.Eventually(t, "health says that the disk refuses, although nobody publishes", func() error {
		return lacks(warned(t, g, "store-refuses"), "too little free space")
	})
	t.Logf("health said so after %s", time.Since(full).Round(time.Millisecond)) // within a second; see gateway/health/watch
	if out, err := g.Pub(g.Device("ups-1").Five(), topic, "no room"); err == nil || !strings.Contains(out, "Quota exceeded") {
		t.Errorf("MQTT 5 with a full disk: %v %q, want 0x97 (quota exceeded)", err, out)
	}
	if out, err := g.Pub(g.Device("ups-1"), topic, "no room"); err == nil {
		t.Errorf("MQTT 3.1.1 with a full disk was acknowledged: %q", out)
	}
	e2e.Eventually(t, "health says that the disk is full", func() error {
		if warned(t, g, "store-refuses") == "" {
			return fmt.Errorf("no warning")
		}
		return nil
	})
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	e2e.Eventually(t, "health takes it back", func() error {
		if text := warned(t, g, "store-refuses"); text != "" {
			return errors.New(text)
		}
		return nil
	})
	e2e.Eventually(t, "it recovers by itself", func() error {
		_, err := g.Pub(g.Device("ups-1").Five(), topic, "room again")
		return err
	})
	g.Serves(t)
	// What was acknowledged before and after is there after a restart.
	if code := g.Stop(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	g.Up(t)
	s, err := g.Status()
	if err != nil || s.Outbox.Messages < 3 {
		t.Errorf("the outbox holds %d, want at least the 3 acknowledged (%v)", s.Outbox.Messages, err)
	}
	if s.Outbox.OldestSeconds <= 0 {
		t.Errorf("the oldest of them has waited for %v s", s.Outbox.OldestSeconds)
	}
}
