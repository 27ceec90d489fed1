package iothub

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/upstream"
)

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func telemetry(device, bag string) *message.Message {
	m := &message.Message{Topic: "devices/" + device + "/messages/events/" + bag, Payload: []byte(device), QoS: 1, Retain: true,
		Publisher: &principal.Principal{Key: "device:" + device}, Via: message.Route{Handling: message.Telemetry, Device: device}}
	if bag != "" {
		m.Via.Properties = []message.UserProperty{{Key: "k", Value: "v/1"}, {Key: OriginProperty, Value: "forged"}}
	}
	return m
}

func TestTelemetryOverItsOwnOrTheGatewaysIdentity(t *testing.T) {
	fake := newFakeHub(t)
	hub := start(t, fake.options())
	module := telemetry("sas1", "")
	module.Via.Module = "cam"
	row := telemetry("sas1", "")
	row.Via.Handling, row.Topic = message.Fanout, "building/x"
	for _, tc := range []struct {
		m          *message.Message
		lane, want string
	}{
		{telemetry("sas1", "k=v%2F1"), "sas1", "devices/sas1/messages/events/k=v%2F1 sas1"},
		{telemetry("x509", "k=v%2F1"), "gw", "devices/gw/messages/events/k=v%2F1&gatehouse-origin=x509 x509"},
		{telemetry("gw", ""), "gw", "devices/gw/messages/events/ gw"},
		{module, "sas1", "devices/sas1/messages/events/gatehouse-origin=sas1%2Fcam sas1"},
		{row, "sas1", "devices/sas1/messages/events/gatehouse-topic=building%2Fx sas1"},
	} {
		if got := hub.Lane(tc.m.Via.Device); got != tc.lane {
			t.Errorf("lane of %s: %s", tc.m.Via.Device, got)
		}
		conn, err := hub.Connect(within(t, patience), tc.lane)
		if err != nil {
			t.Fatal(err)
		}
		acked := make(chan error, 1)
		if err := conn.Send(tc.m.Topic, tc.m, func(err error) { acked <- err }); err != nil {
			t.Fatal(err)
		}
		if err := <-acked; err != nil {
			t.Fatal(err)
		}
		events := fake.seen()
		if got := events[len(events)-1]; got != tc.want {
			t.Errorf("sent %q, want %q", got, tc.want)
		}
		conn.Release(false)
	}
	fake.mu.Lock()
	defer fake.mu.Unlock()
	if d := cmp.Diff(1, fake.connects["gw"]); d != "" {
		t.Errorf("connections of the gateway: %s", d)
	}
}

func TestWhatTheHubCannotTakeIsSaidBefore(t *testing.T) {
	fake := newFakeHub(t)
	hub := start(t, fake.options())
	conn, err := hub.Connect(within(t, patience), "gw")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release(false)
	big := telemetry("gw", "")
	big.Payload = make([]byte, 300<<10)
	if err := conn.Send("", big, nil); !errors.Is(err, upstream.ErrUnsendable) {
		t.Errorf("300 KiB: %v", err)
	}
	long := telemetry("gw", "")
	long.Via.Properties = []message.UserProperty{{Key: "k", Value: strings.Repeat("/", 30000)}} // 90,000 once encoded
	if err := conn.Send("", long, nil); !errors.Is(err, upstream.ErrUnsendable) {
		t.Errorf("long properties: %v", err)
	}
	select {
	case <-conn.Done():
		t.Error("the connection was lost over it")
	default:
	}
}

func TestTwinMethodsAndCloudMessages(t *testing.T) {
	fake := newFakeHub(t)
	o := fake.options()
	calls := make(chan string, 20)
	cloud := make(chan CloudMessage, 1)
	o.Handlers = Handlers{
		Twin: func(d string, b []byte) { calls <- "twin " + d + " " + string(b[:10]) },
		Desired: func(d string, v int64, b []byte) {
			calls <- "desired " + d + " " + string(rune('0'+v)) + " " + string(b)
		},
		Method: func(d string, m Method) {
			calls <- "method " + d + " " + m.Name + " " + m.Request + " " + string(m.Payload)
		},
		Cloud: func(_ string, m CloudMessage) { cloud <- m },
	}
	hub := start(t, o)
	s, err := hub.Session("sas1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Hold()()
	body, err := s.TwinGet(within(t, patience))
	if err != nil || !strings.Contains(string(body), `"$version":3`) {
		t.Fatalf("twin: %s, %v", body, err)
	}
	if v, err := s.PatchReported(within(t, patience), []byte(`{"a":1}`)); err != nil || v != 8 {
		t.Errorf("patch: %d, %v", v, err)
	}
	var status *StatusError
	if _, err := s.PatchReported(within(t, patience), []byte("bad")); !errors.As(err, &status) || status.Status != 400 {
		t.Errorf("bad patch: %v", err)
	}
	c := fake.conn("sas1")
	c.publish("$iothub/twin/PATCH/properties/desired/?$version=4", `{"x":1}`, 0)
	c.publish("$iothub/methods/POST/reboot/?$rid=5a", `{}`, 0)
	c.publish("devices/sas1/messages/devicebound/a=b", "hello", 1)
	want := map[string]bool{
		`twin sas1 {"desired"`:     true,
		`twin gw {"desired"`:       true,
		`desired sas1 4 {"x":1}`:   true,
		"method sas1 reboot 5a {}": true,
	}
	for len(want) > 0 {
		select {
		case got := <-calls:
			if !want[got] {
				t.Fatalf("unexpected %q", got)
			}
			delete(want, got)
		case <-time.After(patience):
			t.Fatalf("missing: %v", want)
		}
	}
	m := <-cloud
	if string(m.Payload) != "hello" || m.Topic != "devices/sas1/messages/devicebound/a=b" {
		t.Errorf("%+v", m)
	}
	m.Ack()
	if err := s.Respond("5a", 200, []byte(`{"ok":true}`)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the method's answer", func() bool {
		return cmp.Equal(fake.seen(), []string{`$iothub/methods/res/200/?$rid=5a {"ok":true}`})
	})
	if err := s.Respond("5a/#", 200, nil); err == nil {
		t.Error("a request id with a wildcard was put into a topic")
	}
	if _, err := hub.Session("x509"); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("session of a device without a key: %v", err)
	}
}

func TestHostileHub(t *testing.T) {
	fake := newFakeHub(t)
	o := fake.options()
	called := make(chan string, 20)
	o.Handlers = Handlers{
		Desired: func(string, int64, []byte) { called <- "desired" },
		Method:  func(_ string, m Method) { called <- m.Name },
		Cloud:   func(string, CloudMessage) { called <- "cloud" },
	}
	hub := start(t, o)
	s, _ := hub.Session("gw")
	if _, err := s.TwinGet(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	c := fake.conn("gw")
	for _, topic := range []string{
		"$iothub/twin/res/200/?$rid=999", "$iothub/twin/res/x/?$rid=1", "$iothub/twin/res/200/?$rid=1&$rid=2", "$iothub/twin/res/",
		"$iothub/twin/PATCH/properties/desired/?$version=-1", "$iothub/twin/PATCH/properties/desired/?$version=99999999999999999999",
		"$iothub/twin/PATCH/properties/desired/", "$iothub/methods/POST//?$rid=1", "$iothub/methods/POST/x/?$rid=",
		"$iothub/methods/POST/x/?$rid=a%2F",
		"$iothub/methods/POST/" + strings.Repeat("m", 200) + "/?$rid=1", "devices/other/messages/devicebound/", "$SYS/x", "x",
	} {
		c.publish(topic, "?", 0)
	}
	c.publish("$iothub/methods/POST/last/?$rid=1", "", 0)
	if got := <-called; got != "last" {
		t.Errorf("%q was handed on", got)
	}
	if n := s.Ignored(); n != 14 {
		t.Errorf("%d ignored, want 14", n)
	}
	// A malformed acknowledgement ends the connection, not the process; the session comes back.
	_, _ = c.Write([]byte{0x90, 4, 0, 1, 0, 0})
	eventually(t, "a new connection", func() bool {
		fake.mu.Lock()
		defer fake.mu.Unlock()
		return fake.connects["gw"] == 2
	})
	if _, err := s.TwinGet(within(t, patience)); err != nil {
		t.Errorf("after the reconnect: %v", err)
	}
}

func TestWithoutAProbeThereIsNoConnection(t *testing.T) {
	fake := newFakeHub(t)
	fake.refuse["gw"] = true
	o := fake.options()
	o.ProbeWait = time.Second // each try has as long to succeed, later
	hub := start(t, o)
	eventually(t, "a connection at the hub", func() bool { return fake.conn("gw") != nil })
	if _, err := hub.Connect(within(t, 300*time.Millisecond), "gw"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("connected without a probe: %v", err)
	}
	if hub.Status().GatewayUp {
		t.Error("up without a probe")
	}
	fake.mu.Lock()
	fake.refuse["gw"] = false
	fake.mu.Unlock()
	if _, err := hub.Connect(within(t, patience), "gw"); err != nil {
		t.Errorf("with a probe: %v", err)
	}
}

func TestTokensAreRenewedBeforeTheyExpire(t *testing.T) {
	fake := newFakeHub(t)
	o := fake.options()
	o.TokenLife = 300 * time.Millisecond
	start(t, o)
	eventually(t, "three connections", func() bool {
		fake.mu.Lock()
		defer fake.mu.Unlock()
		return fake.connects["gw"] >= 3
	})
}

func TestGatewayByCertificate(t *testing.T) {
	fake := newFakeHub(t)
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "gw"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	o := fake.options()
	o.Gateway = Gateway{Device: "gw", Certificate: &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
	hub := start(t, o)
	if _, err := hub.Connect(within(t, patience), "gw"); err != nil {
		t.Fatal(err)
	}
	if c := fake.conn("gw"); c.password != "" || c.peer != "gw" {
		t.Errorf("password %q, certificate of %q", c.password, c.peer)
	}
}

func TestAnotherHostsCertificateIsRefused(t *testing.T) {
	fake := newFakeHub(t)
	o := fake.options()
	o.Host = "other-hub.azure-devices.net"
	o.Address = hubName + ":8883"
	hub := start(t, o)
	eventually(t, "a refusal", func() bool { return strings.Contains(hub.Status().LastError, "certificate") })
}

func TestSessionEndsWhenNobodyHoldsIt(t *testing.T) {
	fake := newFakeHub(t)
	hub := start(t, fake.options())
	s, _ := hub.Session("sas9")
	release := s.Hold()
	eventually(t, "up", func() bool { up, _ := s.Up(); return up })
	release()
	eventually(t, "down", func() bool { up, _ := s.Up(); return !up })
	defer s.Hold()()
	eventually(t, "up again", func() bool { up, _ := s.Up(); return up })
}

func TestOutstandingTwinRequestFailsWithTheConnection(t *testing.T) {
	fake := newFakeHub(t)
	hub := start(t, fake.options())
	s, _ := hub.Session("gw")
	if _, err := s.TwinGet(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	fake.mu.Lock()
	fake.script = func(c *hubConn, p packets.ControlPacket) bool {
		if _, ok := p.(*packets.PublishPacket); ok {
			_ = c.Close()
		}
		return true
	}
	fake.mu.Unlock()
	if _, err := s.TwinGet(within(t, patience)); !errors.Is(err, ErrOffline) {
		t.Errorf("%v", err)
	}
}

// A hub that is away is known to be away: a device's request does not wait for it until its deadline.
func TestTwinRequestsDoNotWaitForAHubThatIsAway(t *testing.T) {
	fake := newFakeHub(t)
	o := fake.options()
	dial := o.Dial
	var away atomic.Bool
	o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if away.Load() {
			return nil, errors.New("no route")
		}
		return dial(ctx, network, address)
	}
	away.Store(true)
	long := within(t, 20*time.Second)
	// What waited for the hub is sent when its twin arrives, which is just before the connection is announced.
	var s *Session
	sent, held := make(chan error, 1), make(chan struct{})
	o.Handlers.Twin = func(device string, _ []byte) {
		if device != "sas1" {
			return
		}
		<-held
		done := make(chan struct{})
		go func() {
			_, err := s.PatchReported(long, []byte(`{"queued":1}`))
			sent <- err
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(50 * time.Millisecond): // it waits, as it should
		}
	}
	hub := start(t, o)
	s, _ = hub.Session("sas1")
	close(held)
	defer s.Hold()()
	for range 3 {
		if _, err := s.TwinGet(long); !errors.Is(err, ErrOffline) {
			t.Errorf("get: %v", err)
		}
		if _, err := s.PatchReported(long, []byte(`{"a":1}`)); !errors.Is(err, ErrOffline) {
			t.Errorf("patch: %v", err)
		}
	}
	if long.Err() != nil {
		t.Fatal("the requests waited until their deadline")
	}
	away.Store(false)
	if err := <-sent; err != nil {
		t.Errorf("what was queued: %v", err)
	}
	eventually(t, "it is back, and answers", func() bool { _, err := s.TwinGet(long); return err == nil })
}

func FuzzTopics(f *testing.F) {
	for _, s := range []string{"200/?$rid=1&$version=3", "?$rid=1", "204/?$rid=", "//", "200/?$rid=1&$rid=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rid, a, ok := response(s)
		if ok && (!validRequest(rid) || a.status < 100 || a.version < 0) {
			t.Fatalf("%q, %+v", rid, a)
		}
		if !ok && rid != "" {
			t.Fatal("a refused response has a request id")
		}
		query(s)
	})
}

// Who asks for a twin is told at once that the hub is away, as long as the
// session goes on trying for somebody else; who asks alone waits for a try.
func TestAHubThatIsAwayKeepsNobodyWaiting(t *testing.T) {
	fake := newFakeHub(t)
	o := fake.options()
	var away atomic.Bool
	away.Store(true)
	dial := o.Dial
	o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if away.Load() {
			return nil, errors.New("no route to host")
		}
		return dial(ctx, network, address)
	}
	hub := start(t, o)
	s, err := hub.Session("sas1")
	if err != nil {
		t.Fatal(err)
	}
	release := s.Hold()
	eventually(t, "an attempt failed", func() bool { _, last := s.Up(); return last != "" })
	began := time.Now()
	for _, ask := range []func() error{
		func() error { _, err := s.TwinGet(within(t, time.Minute)); return err },
		func() error { _, err := s.PatchReported(within(t, time.Minute), []byte("{}")); return err },
	} {
		if err := ask(); !errors.Is(err, ErrOffline) || time.Since(began) > 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	}
	release()
	away.Store(false)
	if _, err := s.TwinGet(within(t, 20*time.Second)); err != nil {
		t.Errorf("alone, and the hub is back: %v", err)
	}
}
