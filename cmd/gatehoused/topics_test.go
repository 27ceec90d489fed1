package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
)

// everything is a topic map that lets every topic of the site pass: its row only reports.
const everything = "rows:\n" +
	"  - {name: site, topic: \"site/#\", scope: /, publish: {anyOf: [Update Space]}, subscribe: {anyOf: [Update Space]}, report_only: true}\n"

// bridged is a gateway whose site/… is the broker's plant7/…, both ways.
func bridged(t *testing.T, b *cloudBroker) *e2e.Gateway {
	t.Helper()
	g := house.NewGateway(t, e2e.Settings{Sections: fmt.Sprintf(`access: {map: topics.yaml}
upstream:
  mode: mqtt
  mqtt:
    url: "mqtt://127.0.0.1:%d"
    clientId: gate-7
    bridge: on
    topics:
      up:
        - {filter: "site/chatter/#", from: site/, to: plant7/, qos: 0}
        - {filter: "site/alarms/#", topic: plant7/alarm}
        - {filter: "site/#", from: site/, to: plant7/}
      down:
        - {filter: "plant7/#", from: plant7/, to: site/}
  routes: [{name: site, filter: "site/#"}]
`, b.port)})
	put(t, filepath.Join(g.Dir, "topics.yaml"), 0o600, everything)
	g.Up(t)
	e2e.Eventually(t, "the link is up", func() error {
		s, err := g.Status()
		if err == nil && s.Upstream.State != "connected" {
			err = fmt.Errorf("upstream: %+v", s.Upstream)
		}
		return err
	})
	return g
}

// lines are what a subscriber was sent so far.
func lines(p *e2e.Process) []string {
	return slices.DeleteFunc(p.Lines(), func(s string) bool { return !strings.HasPrefix(s, "MSG ") })
}

// TestTopicsUpAndDown: names, QoS and retained messages through the whole gateway to a real broker and back.
func TestTopicsUpAndDown(t *testing.T) {
	t.Parallel()
	b := newCloudBroker(t)
	b.up(t)
	g := bridged(t, b)
	above := e2e.Start(t, nil, "stdbuf", "-oL", "mosquitto_sub", "-p", itoa(b.port), "-q", "1", "-d", "-F", "MSG %t %q %p",
		"-t", "plant7/#", "-t", "site/#")
	above.Line(t, "Subscribed (mid:")
	here := g.Sub(t, g.Device("reader-1"), "site/#")

	device := g.Device("ups-1")
	g.MustPub(t, device, "site/chatter/x", "quiet")
	g.MustPub(t, device, "site/alarms/fire/2", "loud")
	g.MustPub(t, device, "site/a/b", "plain")
	above.Line(t, "plain")
	want := []string{"MSG plant7/chatter/x 0 quiet", "MSG plant7/alarm 1 loud", "MSG plant7/a/b 1 plain"}
	if got := lines(above); !slices.Equal(got, want) {
		t.Errorf("above: %q, want %q", got, want)
	}

	b.tell(t, "plant7/lamp", "-m", "on", "-r")
	b.tell(t, "plant7/door", "-m", "open", "-r")
	b.tell(t, "plant7/door", "-n", "-r")
	b.tell(t, "plant7/live", "-m", "now")
	here.Line(t, "now")
	if got, want := lines(here), []string{
		"MSG site/chatter/x 1 0 quiet", "MSG site/alarms/fire/2 1 0 loud", "MSG site/a/b 1 0 plain",
		"MSG site/lamp 1 0 on", "MSG site/door 1 0 open", "MSG site/door 1 0 ", "MSG site/live 1 0 now",
	}; !slices.Equal(got, want) {
		t.Errorf("here, where what went up must not come back: %q, want %q", got, want)
	}

	// A later subscriber receives what the broker retains, and nothing that was deleted there.
	later := g.Sub(t, g.Device("thermostat-101"), "site/lamp", "site/door", "site/last")
	g.MustPub(t, device, "site/last", "end")
	later.Line(t, "end")
	if got, want := lines(later), []string{"MSG site/lamp 1 1 on", "MSG site/last 1 0 end"}; !slices.Equal(got, want) {
		t.Errorf("retained here: %q, want %q", got, want)
	}
}

// tell publishes at the broker.
func (b *cloudBroker) tell(t *testing.T, topic string, args ...string) {
	t.Helper()
	p := e2e.Start(t, nil, "mosquitto_pub", append([]string{"-p", itoa(b.port), "-q", "1", "-t", topic}, args...)...)
	if code := p.Exit(t); code != 0 {
		t.Fatalf("mosquitto_pub ends with %d:\n%s", code, p.Text())
	}
}

// TestLoopIsRefused: at the start and by -check alike, with its line and its remedy.
func TestLoopIsRefused(t *testing.T) {
	t.Parallel()
	g := house.NewGateway(t, e2e.Settings{Sections: `upstream:
  mode: mqtt
  mqtt:
    url: mqtts://127.0.0.1:1
    clientId: gate-7
    topics:
      up: [{filter: "site/#", from: site/, to: plant7/}]
      down:
        - {filter: "plant7/#", from: plant7/, to: site/}
  routes: [{name: site, filter: "site/#"}]
`})
	text := refused(t, g, 78, `gatehoused\.yaml:\d+: upstream\.mqtt\.topics\.down\[0\]\.filter: is a loop: `+
		`the route site sends up to plant7/#.*\n\tfix: .*upstream\.mqtt\.bridge: on`)
	if check := e2e.Start(t, nil, house.Bin("gatehoused"), "-config", g.File, "-check"); check.Exit(t) != 78 || check.Text() != text {
		t.Errorf("-check says\n%s\nand the daemon\n%s", check.Text(), text)
	}
}
