package main

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/freeport"
)

const topicMap = `rows:
  - {name: samples, topic: 'samples/{sensor}/+', publish: {anyOf: [Create Sensor]}, subscribe: {anyOf: [Read Sensor]}}
`

// conversing is a gateway with a topic map of its own, for topics that the built-in map does not have.
func conversing(t *testing.T, s e2e.Settings) *e2e.Gateway {
	t.Helper()
	s.Sections += "access: {map: topics.yaml}\n"
	g := house.NewGateway(t, s)
	put(t, g.Dir+"/topics.yaml", 0o600, topicMap)
	g.Up(t)
	return g
}

// TestCredentials: each kind of client proves itself to the daemon, in both versions, and a wrong one does not.
func TestCredentials(t *testing.T) {
	t.Parallel()
	g := serving(t, e2e.Settings{})
	dashboard := g.Sub(t, g.Person(t, "dashboard", "dash"), "spaces"+site.GatewaySpace+"/#")
	user := g.Sub(t, g.Person(t, "dave@harbour.example", "dave").Five(), "spaces"+house.Path("office")+"/#")
	for _, c := range []struct{ device, sensor, kind string }{
		{"thermostat-101", "thermostat-101-temperature", "X.509"}, {"meter-main", "meter-main-power", "SAS"},
	} {
		for _, five := range []bool{false, true} {
			p := g.Device(c.device)
			p.V5 = five
			payload := fmt.Sprintf("%s five=%v", c.kind, five)
			g.MustPub(t, p, site.Telemetry(c.device, c.sensor), payload)
			dashboard.Line(t, payload)
		}
	}
	user.Line(t, "X.509 five=true")
	if slices.ContainsFunc(user.Messages(), func(m string) bool { return strings.HasPrefix(m, "SAS") }) {
		t.Error("dave, whose role is on the first floor, heard the plant room")
	}
	wrong := []struct {
		name string
		peer e2e.Peer
	}{
		{"another device's certificate", func() e2e.Peer { p := g.Device("door-1"); p.Cert = "ups-1"; return p }()},
		{"no credential", func() e2e.Peer { p := g.Device("door-1"); p.Cert = ""; return p }()},
		{"another device's token", func() e2e.Peer { p := g.Device("meter-main"); p.ID = "door-1"; return p }()},
		{"a broken signature", func() e2e.Peer {
			p := g.Person(t, "dashboard", "d2")
			p.Password = p.Password[:len(p.Password)-8] + "AAAAAAAA"
			return p
		}()},
		{"without an assignment", g.Device("dishwasher-1")},
		{"disabled", g.Device("coffee-1")},
	}
	for _, c := range wrong {
		for _, five := range []bool{false, true} {
			c.peer.V5 = five
			if out, err := g.Pub(c.peer, site.Telemetry(c.peer.ID, ""), "forged"); err == nil ||
				!regexp.MustCompile("refused|not authori|Not authori|Bad User Name").MatchString(out) {
				t.Errorf("%s, five=%v: %v %s", c.name, five, err, out)
			}
		}
	}
	if slices.Contains(dashboard.Messages(), "forged") {
		t.Error("a refused client's message was delivered")
	}
}

// TestQueuesSurviveAKill: what was acknowledged for a subscriber that is away is there after SIGKILL, in
// order and once; retained messages too.
func TestQueuesSurviveAKill(t *testing.T) {
	t.Parallel()
	g := conversing(t, e2e.Settings{})
	for _, five := range []bool{false, true} {
		away := g.Person(t, "dashboard", fmt.Sprintf("away-%v", five)).With("-c")
		if five {
			away = away.Five().With("-x", "3600")
		}
		sub := g.Sub(t, away, "spaces"+house.Path("office")+"/#")
		sub.Signal(t, syscall.SIGTERM)
		sub.Exit(t)
	}
	var want []string
	for i := range 6 {
		payload := fmt.Sprintf("queued-%d", i)
		g.MustPub(t, g.Device("thermostat-101"), site.Telemetry("thermostat-101", "thermostat-101-humidity"), payload)
		want = append(want, payload)
	}
	g.MustPub(t, g.Device("thermostat-101").With("-r"), "samples/thermostat-101-setpoint/y", "kept")
	g.Kill()
	g.Up(t)
	for _, five := range []bool{false, true} {
		back := g.Person(t, "dashboard", fmt.Sprintf("away-%v", five)).With("-c")
		if five {
			back = back.Five().With("-x", "3600")
		}
		sub := g.Sub(t, back, "samples/ups-1-load/none")
		sub.Line(t, "queued-5")
		if got := sub.Messages(); !slices.Equal(got, want) {
			t.Errorf("five=%v: got %v, want %v", five, got, want)
		}
	}
	retained := g.Sub(t, g.Person(t, "dashboard", "fresh"), "samples/thermostat-101-setpoint/y")
	if line := retained.Line(t, "MSG"); line != "MSG samples/thermostat-101-setpoint/y 1 1 kept" {
		t.Errorf("retained: %q", line)
	}
}

// TestWills: a will is sent when the connection is lost, also when the gateway was killed, and not when
// the device has lost the right to publish it. The topics are rows of the operator's topic map that
// everybody may subscribe to, so that only the decision on the will itself can withhold it.
func TestWills(t *testing.T) {
	g := conversing(t, e2e.Settings{}) // not parallel: it changes the building
	g.Synced(t)
	topic := "samples/reader-1-tamper/will"
	dashboard := func() *e2e.Process {
		return g.Sub(t, g.Person(t, "dashboard", "dash").With("-c"), "samples/reader-1-tamper/+", "samples/ups-1-load/+")
	}
	dash := dashboard()
	with := func(payload string) e2e.Peer {
		return g.Device("reader-1").With("--will-topic", topic, "--will-payload", payload, "--will-qos", "1")
	}
	leave := func(payload string) *e2e.Process {
		return g.Sub(t, with(payload), "devices/reader-1/messages/devicebound/#")
	}
	id := house.Assign(t, model.GatewayDeviceRole, site.Reader, house.Path("kitchen"))
	e2e.Eventually(t, "the right is in force", func() error {
		_, err := g.Pub(g.Device("reader-1"), topic, "probe")
		return err
	})
	leave("cut off").Kill()
	dash.Line(t, "cut off")

	dash.Kill() // its session stays
	both := leave("with the gateway")
	g.Kill()
	both.Kill()
	g.Up(t)
	dash = dashboard()
	dash.Line(t, "with the gateway")

	revoked := leave("from beyond")
	may := func() (bool, error) {
		var said admin.Explanation
		err := g.Get("/v1/explain?"+url.Values{"principal": {"reader-1"}, "verb": {"publish"}, "topic": {topic}}.Encode(), &said)
		return said.Allowed, err
	}
	if granted, err := may(); err != nil || !granted {
		t.Fatalf("before: granted %v, %v", granted, err)
	}
	house.Withdraw(t, id)
	// It keeps its right to be here (Support Specialist) and loses what the will needs. Nobody
	// publishes in its name to find out: that would take its session over, which sends the will.
	e2e.Eventually(t, "the right is gone", func() error {
		if granted, err := may(); err != nil || granted {
			return fmt.Errorf("granted %v, %w", granted, err)
		}
		return nil
	})
	if !revoked.Running() {
		t.Error("the device was disconnected: what became of its will says nothing")
	}
	revoked.Kill()
	e2e.Eventually(t, "the revoked device has left", func() error {
		s, err := g.Status()
		if err == nil && s.Sessions.Connected != 1 {
			err = fmt.Errorf("connected: %+v", s.Sessions)
		}
		return err
	})
	g.MustPub(t, g.Device("ups-1"), "samples/ups-1-load/x", "afterwards")
	dash.Line(t, "afterwards")
	if slices.Contains(dash.Messages(), "from beyond") {
		t.Error("the will of a device that lost its right was sent")
	}
}

// TestSharedSubscription: each message goes to exactly one member.
func TestSharedSubscription(t *testing.T) {
	t.Parallel()
	g := conversing(t, e2e.Settings{})
	members := []*e2e.Process{
		g.Sub(t, g.Person(t, "dashboard", "one").Five(), "$share/crew/samples/ups-1-load/z"),
		g.Sub(t, g.Person(t, "dashboard", "two").Five(), "$share/crew/samples/ups-1-load/z"),
	}
	const n = 12
	for i := range n {
		g.MustPub(t, g.Device("ups-1").Five(), "samples/ups-1-load/z", itoa(i))
	}
	e2e.Eventually(t, "all have arrived", func() error {
		if got := len(members[0].Messages()) + len(members[1].Messages()); got < n {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
	all := append(members[0].Messages(), members[1].Messages()...)
	slices.Sort(all)
	if len(all) != n || len(slices.Compact(all)) != n {
		t.Errorf("%d messages for %d publishes: %v", len(all), n, all)
	}
	for i, m := range members {
		if len(m.Messages()) == 0 {
			t.Errorf("member %d had no share", i)
		}
	}
	// A shared subscription to private topics would take messages away from the device that they are for.
	p := g.Ask(t, g.Device("ups-1").Five(), "$share/crew/$iothub/methods/POST/#")
	p.Line(t, "denied")
}

// TestWebSocket: a device speaks MQTT through a WebSocket over TLS, with its certificate.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	port, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	g := serving(t, e2e.Settings{Listeners: "  - {name: wss, kind: websocket, path: /mqtt, address: \"127.0.0.1:" + itoa(port) + "\", " +
		"tls: {cert: HOUSE/pki/server.pem, key: HOUSE/pki/server.key}}"})
	dashboard := g.Sub(t, g.Person(t, "dashboard", "dash"), "spaces"+site.GatewaySpace+"/#")
	pair, err := tls.LoadX509KeyPair(house.PKI("door-1.pem"), house.PKI("door-1.key"))
	if err != nil {
		t.Fatal(err)
	}
	connect := func(path string) error {
		secure := &tls.Config{
			RootCAs:      house.Pool,
			Certificates: []tls.Certificate{pair},
			MinVersion:   tls.VersionTLS12,
		}
		c := paho.NewClient(paho.NewClientOptions().AddBroker("wss://localhost:" + itoa(port) + path).
			SetClientID("door-1").SetUsername(g.Device("door-1").User).
			SetTLSConfig(secure).SetAutoReconnect(false).SetProtocolVersion(4))
		if tk := c.Connect(); !tk.WaitTimeout(e2e.Patience) || tk.Error() != nil {
			return fmt.Errorf("connect: %w", tk.Error())
		}
		defer c.Disconnect(uint((50 * time.Millisecond).Milliseconds()))
		tk := c.Publish(site.Telemetry("door-1", "door-1-contact"), 1, false, "through the web")
		if !tk.WaitTimeout(e2e.Patience) {
			return fmt.Errorf("not acknowledged")
		}
		return tk.Error()
	}
	if err := connect("/mqtt"); err != nil {
		t.Fatal(err)
	}
	dashboard.Line(t, "through the web")
	if err := connect("/elsewhere"); err == nil {
		t.Error("a path that the configuration does not name is served")
	}
}
