package mqttbroker

import (
	"context"
	"crypto/tls"
	stdx509 "crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/gateway/freeport"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic/mapping"
	"github.com/gatehouse/gatehouse/gateway/upstream"
	"github.com/gatehouse/gatehouse/gateway/upstream/mqttconn"
)

// listen subscribes at the broker at QoS 1 and yields "topic qos payload".
func (b *realBroker) listen(filter string) <-chan string {
	b.t.Helper()
	got := make(chan string, 100)
	c, err := mqttconn.Connect(
		b.t.Context(),
		mqttconn.Options{ClientID: "listener", CleanSession: true, Dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
		}, OnMessage: func(m mqttconn.Message) { m.Ack(); got <- fmt.Sprintf("%s %d %s", m.Topic, m.QoS, m.Payload) }},
	)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	if codes, err := c.Subscribe(b.t.Context(), filter); err != nil || codes[0] != 1 {
		b.t.Fatal(codes, err)
	}
	return got
}

func next[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return v
}

// uplink runs a link with an outbox behind it.
func uplink(t *testing.T, o Options) (*Link, *upstream.Outbox) {
	t.Helper()
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	store := newMemory()
	box, bad := upstream.New(upstream.Options{Storage: store, Connector: l, Routes: o.Routes})
	if bad != nil {
		t.Fatal(bad)
	}
	if err := box.Open(); err != nil {
		t.Fatal(err)
	}
	run(t, func(ctx context.Context) error {
		for {
			select {
			case f := <-store.queue:
				f()
			case <-ctx.Done():
				return nil
			}
		}
	})
	run(t, l.Run)
	run(t, box.Run)
	eventually(t, "link up", func() bool { return l.Status().Up })
	return l, box
}

func local(name, device, payload string) *message.Message {
	return &message.Message{Topic: name, Payload: []byte(payload), QoS: 1, Accepted: time.Now(),
		Publisher: &principal.Principal{Kind: principal.Device, Key: "device:" + device}, Via: message.Route{Device: device}}
}

// TestTopicsUp: one route, and what goes through it is named and given its QoS by the first rule that takes it.
func TestTopicsUp(t *testing.T) {
	b := newRealBroker(t)
	o := options(b)
	o.Down = nil
	o.Routes = []upstream.Route{{Name: "site", Filter: "site/#", Topics: []mapping.Rule{
		{Filter: "site/alarms/#", Topic: "plant7/alarms/{device}", QoS: 1},
		{Filter: "site/chatter/#", From: "site/", To: "plant7/", QoS: 0},
		{Filter: "site/+/b", From: "site/", To: "plant7/", QoS: 1},
	}}}
	got := b.listen("#")
	_, box := uplink(t, o)
	for _, c := range []struct{ topic, want string }{
		{"site/a/b", "plant7/a/b 1 x"},
		{"site/alarms/fire/2", "plant7/alarms/d1 1 x"},
		{"site/chatter/y", "plant7/chatter/y 0 x"},
		{"site/other", "site/other 1 x"}, // no rule
	} {
		durable := make(chan error, 1)
		if !box.Offer(local(c.topic, "d1", "x"), nil, func(err error) { durable <- err }) {
			t.Fatalf("%s: no route", c.topic)
		}
		if err := next(t, durable); err != nil {
			t.Error(err)
		}
		seen := next(t, got)
		for strings.HasPrefix(seen, "gatehouse/") { // the probe
			seen = next(t, got)
		}
		if seen != c.want {
			t.Errorf("%s arrives as %q, want %q", c.topic, seen, c.want)
		}
	}
	eventually(t, "nothing waits", func() bool { return box.Stats().Messages == 0 })
}

// TestTopicsDown: each rule's QoS is the most that its messages have, and rules that overlap give one message.
func TestTopicsDown(t *testing.T) {
	b := newRealBroker(t)
	o := options(b)
	o.Down = []mapping.Rule{
		{Filter: "plant7/lamps/+", From: "plant7/", To: "site/", QoS: 0},
		{Filter: "plant7/#", From: "plant7/", To: "all/", QoS: 1},
		{Filter: "quiet/#", To: "", QoS: 0},
	}
	o.Routes = nil
	got := make(chan string, 10)
	o.Receive = func(m *message.Message, done func(error)) {
		got <- fmt.Sprintf("%s %d %s", m.Topic, m.QoS, m.Payload)
		done(nil)
	}
	uplink(t, o)
	var seen []string
	for i, name := range []string{"plant7/lamps/1", "plant7/doors/1", "quiet/x", "plant7"} {
		b.pub(name, fmt.Sprint(i))
		seen = append(seen, next(t, got))
	}
	if diff := cmp.Diff([]string{"site/lamps/1 0 0", "all/doors/1 1 1", "quiet/x 0 2", "all 1 3"}, seen); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSubscriptionsAreTheWidest(t *testing.T) {
	rule := func(filter string, qos byte) mapping.Rule { return mapping.Rule{Filter: filter, QoS: qos} }
	for _, c := range []struct {
		down []mapping.Rule
		want []mqttconn.Subscription
	}{
		{nil, nil},
		{[]mapping.Rule{rule("a/b", 1), rule("a/#", 0)}, []mqttconn.Subscription{{Filter: "a/#", QoS: 1}}},
		{[]mapping.Rule{rule("a/#", 0), rule("a/#", 1)}, []mqttconn.Subscription{{Filter: "a/#", QoS: 1}}},
		{[]mapping.Rule{rule("a/#", 0), rule("b/#", 1)}, []mqttconn.Subscription{{Filter: "a/#", QoS: 0}, {Filter: "b/#", QoS: 1}}},
	} {
		if diff := cmp.Diff(c.want, subscriptions(c.down)); diff != "" {
			t.Errorf("%v (-want +got)\n%s", c.down, diff)
		}
	}
}

// TestBridge: with the same topics both ways nothing that went up comes back, and what is
// retained above is kept and deleted here. The same without Bridge keeps nothing that comes live.
func TestBridge(t *testing.T) {
	for _, bridge := range []bool{true, false} {
		t.Run(fmt.Sprint(bridge), func(t *testing.T) {
			b := newRealBroker(t)
			o := options(b)
			o.Bridge = bridge
			o.Down = []mapping.Rule{{Filter: "state/#", QoS: 1}}
			o.Routes = []upstream.Route{{Name: "state", Filter: "state/#"}}
			if !bridge { // which would be refused: it comes back
				o.Routes = []upstream.Route{{Name: "state", Filter: "state/#", Topics: []mapping.Rule{{Filter: "#", To: "up/", QoS: 1}}}}
			}
			got := make(chan string, 10)
			o.Receive = func(m *message.Message, done func(error)) {
				got <- fmt.Sprintf("%s %v %q", m.Topic, m.Retain, m.Payload)
				done(nil)
			}
			b.pub("state/old", "was there", "-r")
			l, box := uplink(t, o)
			if seen := next(t, got); seen != `state/old true "was there"` {
				t.Errorf("at the subscription: %s", seen)
			}
			above := b.listen("+/#")
			if !box.Offer(local("state/mine", "d", "mine"), nil, nil) {
				t.Fatal("no route")
			}
			eventually(t, "it arrived above", func() bool { return strings.HasSuffix(next(t, above), " mine") })
			b.pub("state/lamp", "on", "-r")
			b.pub("state/lamp", "", "-r")
			b.pub("state/live", "x")
			want := []string{
				fmt.Sprintf(`state/lamp %v "on"`, bridge),
				fmt.Sprintf(`state/lamp %v ""`, bridge),
				`state/live false "x"`,
			}
			var seen []string
			for range want {
				seen = append(seen, next(t, got)) // in the order of the broker: an echo of "mine" would be the first
			}
			if diff := cmp.Diff(want, seen); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if err := l.roundTrip(t.Context(), l.conn); err != nil {
				t.Errorf("the probe of a connection that works: %v", err)
			}
		})
	}
}

// TestBrokerWithoutBridges: it refuses the connection, and the status says what helps.
func TestBrokerWithoutBridges(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 512))
			_, _ = c.Write([]byte{0x20, 2, 0, 1}) // CONNACK: unacceptable protocol version
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	for _, bridge := range []bool{true, false} {
		l, err := New(Options{URL: "mqtt://" + ln.Addr().String(), ClientID: "gw", Principal: asUpstream, Bridge: bridge})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.connect(t.Context()); err == nil || strings.Contains(err.Error(), "upstream.mqtt.bridge: off") != bridge {
			t.Errorf("bridge %v: %v", bridge, err)
		}
	}
}

// TestWebSocket: the same link over ws:// and wss://, the latter only with the authority that signed.
func TestWebSocket(t *testing.T) {
	var ports [2]int
	for i := range ports {
		var err error
		if ports[i], err = freeport.Get(); err != nil {
			t.Fatal(err)
		}
	}
	dir, now := t.TempDir(), time.Now()
	ca, err := x509.NewCA("test authority", now.Add(-time.Hour), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.Server(now.Add(-time.Hour), 24*time.Hour, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := server.PEM()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "s.pem"), cert, 0o600),
		os.WriteFile(filepath.Join(dir, "s.key"), key, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	b := newRealBrokerWith(
		t,
		fmt.Sprintf(
			"per_listener_settings false\nlistener %d 127.0.0.1\nprotocol websockets\nlistener %d 127.0.0.1\n"+
				"protocol websockets\ncertfile %s/s.pem\nkeyfile %s/s.key\n",
			ports[0],
			ports[1],
			dir,
			dir,
		),
	)
	pool := stdx509.NewCertPool()
	pool.AddCert(ca.Cert)
	for name, c := range map[string]struct {
		url string
		tls *tls.Config
		ok  bool
	}{
		"ws": {fmt.Sprintf("ws://127.0.0.1:%d/mqtt", ports[0]), nil, true},
		"wss": {
			fmt.Sprintf("wss://localhost:%d/mqtt", ports[1]), &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
			true,
		},
		"wss, unknown CA": {fmt.Sprintf("wss://localhost:%d/mqtt", ports[1]), nil, false},
		"wss, other name": {
			fmt.Sprintf("wss://127.0.0.1:%d/mqtt", ports[1]), &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
			false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(b)
			o.URL, o.TLS, o.ClientID = c.url, c.tls, "gw-"+strings.ReplaceAll(name, " ", "")
			// localhost may mean ::1 first, where this broker does not listen.
			o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, strings.Replace(address, "localhost", "127.0.0.1", 1))
			}
			got := make(chan string, 10)
			o.Receive = func(m *message.Message, done func(error)) { got <- m.Topic; done(nil) }
			if !c.ok {
				l, err := New(o)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := l.connect(t.Context()); err == nil {
					t.Error("connected")
				}
				return
			}
			above := b.listen("site/up/#")
			_, box := uplink(t, o)
			box.Offer(local("t/1", "d", strings.Repeat("y", 100<<10)), nil, nil)
			if seen := next(t, above); !strings.HasPrefix(seen, "site/up/t/1 1 yyy") || len(seen) < 100<<10 {
				t.Errorf("arrived: %.40s", seen)
			}
			b.pub("site/down/lamp", "on")
			if seen := next(t, got); seen != "commands/lamp" {
				t.Error(seen)
			}
		})
	}
}

// TestWebSocketIsNotLedAway: a redirection is not followed, above all not out of TLS.
func TestWebSocketIsNotLedAway(t *testing.T) {
	led := make(chan struct{}, 1)
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { led <- struct{}{} }))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer secure.Close()
	pool := stdx509.NewCertPool()
	pool.AddCert(secure.Certificate())
	l, err := New(Options{URL: strings.Replace(secure.URL, "https", "wss", 1) + "/mqtt", ClientID: "gw", Principal: asUpstream,
		TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.connect(t.Context()); err == nil || !strings.Contains(err.Error(), "302") {
		t.Errorf("want the answer 302 as the error: %v", err)
	}
	select {
	case <-led:
		t.Error("the redirection was followed")
	default:
	}
}

func TestEndpoints(t *testing.T) {
	for url, want := range map[string]string{
		"mqtt://h": "h:1883", "mqtts://h": "h:8883 tls", "ws://h/p": "h:80 web", "wss://h:9/p": "h:9 tls web",
		"wss://[::1]/": "[::1]:443 tls web",
		"http://h":     "", "mqtts://": "", "h:1883": "",
	} {
		e, err := parse(url)
		got := ""
		if err == nil {
			got = e.address
			if e.secure {
				got += " tls"
			}
			if e.web {
				got += " web"
			}
		}
		if got != want {
			t.Errorf("%s: %q (%v), want %q", url, got, err, want)
		}
	}
}
