package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
	"github.com/gatehouse/gatehouse/gateway/freeport"
)

// shout writes to a connection and reads until the peer closes it or sends nothing for a while.
func shout(t *testing.T, c net.Conn, err error, parts ...[]byte) {
	t.Helper()
	if err != nil {
		t.Fatalf("the door is closed: %v", err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(150 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for _, b := range parts {
		if _, err := c.Write(b); err != nil {
			return // it has hung up
		}
	}
	_, _ = io.Copy(io.Discard, c)
}

// TestGarbage: every listener, the admin socket and the status page get bytes that are no valid request, and the daemon goes on.
func TestGarbage(t *testing.T) {
	t.Parallel()
	port, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	g := serving(t, e2e.Settings{Listeners: "  - {name: wss, kind: websocket, address: \"127.0.0.1:" + itoa(port) + "\", " +
		"tls: {cert: HOUSE/pki/server.pem, key: HOUSE/pki/server.key}}"})
	random := rand.NewChaCha8([32]byte{7})
	noise := func(n int) []byte { b := make([]byte, n); _, _ = random.Read(b); return b }
	pair, err := tls.LoadX509KeyPair(house.PKI("ups-1.pem"), house.PKI("ups-1.key"))
	if err != nil {
		t.Fatal(err)
	}
	secure := &tls.Dialer{Config: &tls.Config{
		RootCAs:      house.Pool,
		ServerName:   "localhost",
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS12,
	}}
	plain := &net.Dialer{}
	type door interface {
		DialContext(context.Context, string, string) (net.Conn, error)
	}
	say := func(d door, network, address string, parts ...[]byte) {
		t.Helper()
		c, err := d.DialContext(t.Context(), network, address)
		shout(t, c, err, parts...)
	}
	mqtts, page, wss := "127.0.0.1:"+itoa(g.MQTT), "127.0.0.1:"+itoa(g.Page), "127.0.0.1:"+itoa(port)
	socket := filepath.Join(g.Dir, "admin.sock")
	user := g.Device("ups-1").User
	connect := append([]byte{0x10, byte(10 + 2 + 5 + 2 + len(user)), 0, 4, 'M', 'Q', 'T', 'T', 4, 0x82, 0, 60,
		0, 5, 'u', 'p', 's', '-', '1', 0, byte(len(user))}, user...)
	for _, b := range [][]byte{noise(64), noise(4096), {}, []byte("GET / HTTP/1.1\r\n\r\n"), {0x16, 3, 1, 0xff, 0xff, 1}} {
		say(plain, "tcp", mqtts, b)
		say(plain, "tcp", page, b)
		say(plain, "tcp", wss, b)
		say(plain, "unix", socket, b)
		say(secure, "tcp", mqtts, b)
		say(secure, "tcp", wss, b)
	}
	for kind := range 16 { // every packet first, and every packet broken after a good CONNECT
		broken := []byte{byte(kind<<4 | kind), 0xff, 0xff, 0xff, 0x7f}
		short := []byte{byte(kind << 4), 3, 0xff, 0xff, 0}
		say(secure, "tcp", mqtts, broken, noise(32))
		say(secure, "tcp", mqtts, connect, short, noise(8))
		say(secure, "tcp", mqtts, connect, broken)
	}
	for _, path := range []string{"/v1/explain?principal=%00&verb=publish", "/v1/assignments?path=../..", "/v1/sessions?limit=-1",
		"/v1/audit?since=x", "/../../etc/passwd", "/" + strings.Repeat("a", 9000)} {
		_ = g.Get(path, nil)
	}
	for _, topic := range []string{"$iothub/twin/PATCH/properties/reported/?$rid=1", "$iothub/twin/GET/?$rid=",
		"$iothub/methods/res/9999999999/?$rid=x", "deviceupdate/devices/ups-1/get", "registry/devices/ups-1/get"} {
		for _, doc := range []string{"{", "null", `{"a":` + strings.Repeat("[", 2000), `{"$version":"x","a":1}`, "\xff\xfe", `{"a":1,"a":2}`} {
			_, _ = g.Pub(g.Device("ups-1").Five(), topic, doc)
		}
	}
	g.Serves(t)
	if s, err := g.Status(); err != nil || s.UptimeSeconds <= 0 {
		t.Errorf("status: %v", err)
	}
	if strings.Contains(g.Text(), "panic") || strings.Contains(g.Text(), "goroutine ") {
		t.Errorf("something panicked:\n%s", e2e.Tail(g.Text(), 40))
	}
}

// TestGarbageFromTheCloud: answers that no management API should give change nothing: the cached policy stays in force.
func TestGarbageFromTheCloud(t *testing.T) {
	t.Parallel()
	g := serving(t, e2e.Settings{})
	if code := g.Stop(t); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	answers := []string{"", "null", "{", "<html>", "[]", `[{"id":1}]`, `[{"id":"` + strings.Repeat("x", 1<<16) + `"}]`,
		strings.Repeat("[", 1<<16), `{"epoch":-1,"from":"x","to":[],"changes":{}}`, "\x00\xff"}
	codes := []int{200, 200, 410, 200, 200, 410, 200, 200, 410, 200, 500, 429}
	var turn, asked atomic.Int64
	bad := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(codes[min(int(turn.Load()), len(codes)-1)])
		_, _ = io.WriteString(w, answers[turn.Load()%int64(len(answers))])
	}))
	pair, err := tls.LoadX509KeyPair(house.PKI("server.pem"), house.PKI("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	bad.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	bad.StartTLS()
	t.Cleanup(bad.Close)
	g.Write(t, strings.Replace(read(t, g.File), "url: "+house.URL("/management"),
		strings.Replace("url: "+bad.URL+"/management", "127.0.0.1", "localhost", 1), 1))
	g.Launch(t)
	g.Ready(t)
	overSocket := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(g.Dir, "admin.sock"))
	}
	admin := &http.Client{Timeout: e2e.Patience, Transport: &http.Transport{DialContext: overSocket}}
	t.Cleanup(admin.CloseIdleConnections)
	for i := range codes {
		turn.Store(int64(i))
		before := asked.Load()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://gatehoused/v1/sync", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := admin.Do(req)
		if err != nil {
			t.Fatalf("answer %d: the admin socket: %v", i, err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode < 400 {
			t.Errorf("answer %d was taken for a policy: %s %s", i, res.Status, body)
		}
		if asked.Load() == before {
			t.Errorf("answer %d was never asked for: %s %s", i, res.Status, body)
		}
	}
	g.Serves(t)
	if warned(t, g, "cloud-throttled") == "" { // the last answer was 429
		t.Error("health does not say that the cloud cannot be followed")
	}
	if out, err := g.Pub(g.Device("dishwasher-1"), "x", "1"); err == nil {
		t.Errorf("somebody without an assignment got in: %s", out)
	}
}

// TestGarbageFromTheHub: an upstream publishes documents that are no twins to IoT Hub's topics, and the gateway goes on.
func TestGarbageFromTheHub(t *testing.T) {
	t.Parallel()
	b := newCloudBroker(t)
	put(t, b.conf, 0o644, read(t, b.conf)+fmt.Sprintf("certfile %s\nkeyfile %s\n", house.PKI("server.pem"), house.PKI("server.key")))
	b.up(t)
	g := serving(t, e2e.Settings{Sections: fmt.Sprintf(`upstream:
  mode: iothub
  iothub:
    host: localhost
    address: 127.0.0.1:%d
    ca: HOUSE/pki/ca.pem
    perDevice: true
    gatewayDevice: {id: gateway-1, cert: HOUSE/pki/gateway-1.pem, key: HOUSE/pki/gateway-1.key}
  routes: [{name: telemetry, filter: "devices/+/messages/events/#"}]
`, b.port)})
	hub := e2e.Peer{ID: "hub"}
	at := &e2e.Gateway{House: house, MQTT: b.port}
	asked := at.Ask(t, e2e.Peer{ID: "watch"}, "$iothub/twin/GET/#")
	asked.Line(t, "Subscribed (mid:")
	meter := g.Ask(t, g.Device("meter-main"), "$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#")
	meter.Line(t, "Subscribed (mid:")
	asked.Line(t, "MSG $iothub/twin/GET/") // the gateway looks at the twin of a device that is here
	for i, doc := range []string{"", "{", "null", "[]", `{"desired":7}`,
		`{"desired":{"deviceUpdate":{"service":"x","workflow":[]}},"reported":null}`,
		`{"desired":{"deviceUpdate":{"service":{"workflow":{"action":3,"id":"` + strings.Repeat("x", 9000) + `"}}}}}`,
		strings.Repeat(`{"a":`, 3000), "\xff\x01"} {
		for _, topic := range []string{"$iothub/twin/res/200/?$rid=" + itoa(i), "$iothub/twin/res/x/?$rid",
			"$iothub/twin/PATCH/properties/desired/?$version=" + itoa(i), "$iothub/twin/PATCH/properties/desired/?$version=z",
			"$iothub/methods/POST/x/?$rid=", "$iothub/methods/POST//?%zz", "devices/meter-main/messages/devicebound/%zz=1&&"} {
			at.MustPub(t, hub, topic, doc)
		}
	}
	g.Serves(t)
	at.MustPub(t, hub, "$iothub/twin/PATCH/properties/desired/?$version=1000", `{"interval":5,"$version":1000}`)
	g.Serves(t)
	if strings.Contains(g.Text(), "goroutine ") {
		t.Errorf("something panicked:\n%s", e2e.Tail(g.Text(), 40))
	}
}
