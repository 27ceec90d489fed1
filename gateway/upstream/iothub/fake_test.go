package iothub

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/gatehouse/gatehouse/gateway/upstream/mqttconn/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const hubName = "demo-hub.azure-devices.net"

// fakeHub speaks as much of the hub as a device sees, over real TLS, and is as strict as the hub is documented to be.
type fakeHub struct {
	t     *testing.T
	ln    net.Listener
	roots *x509.CertPool
	group sync.WaitGroup

	mu       sync.Mutex
	conns    map[string]*hubConn // the second of an identity drops the first
	events   []string            // topic + " " + payload
	connects map[string]int
	refuse   map[string]bool // no answer to a twin GET
	script   func(c *hubConn, p packets.ControlPacket) bool
	closed   bool
}

type hubConn struct {
	net.Conn
	device, password string
	peer             string
	mu               sync.Mutex
}

func (c *hubConn) send(p packets.ControlPacket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = p.Write(c.Conn)
}

func (c *hubConn) publish(topic, payload string, qos byte) {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload, p.Qos = topic, []byte(payload), qos
	if qos > 0 {
		p.MessageID = 77
	}
	c.send(p)
}

func newFakeHub(t *testing.T) *fakeHub {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: hubName}, DNSNames: []string{hubName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	h := &fakeHub{t: t, roots: x509.NewCertPool(), conns: map[string]*hubConn{}, connects: map[string]int{}, refuse: map[string]bool{}}
	h.roots.AddCert(cert)
	h.ln, err = tls.Listen(
		"tcp",
		"127.0.0.1:0",
		&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, ClientAuth: tls.RequestClientCert},
	)
	if err != nil {
		t.Fatal(err)
	}
	h.group.Go(func() {
		for {
			c, err := h.ln.Accept()
			if err != nil {
				return
			}
			h.group.Go(func() { h.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = h.ln.Close()
		h.mu.Lock()
		h.closed = true
		for _, c := range h.conns {
			_ = c.Close()
		}
		h.mu.Unlock()
		h.group.Wait()
	})
	return h
}

func (h *fakeHub) serve(raw net.Conn) {
	defer func() { _ = raw.Close() }()
	p, err := packets.ReadPacket(raw)
	connect, ok := p.(*packets.ConnectPacket)
	if err != nil || !ok {
		return
	}
	c := &hubConn{Conn: raw, device: connect.ClientIdentifier, password: string(connect.Password)}
	if certs := raw.(*tls.Conn).ConnectionState().PeerCertificates; len(certs) > 0 {
		c.peer = certs[0].Subject.CommonName
	}
	ack := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	if connect.Username != hubName+"/"+c.device+"/?api-version=2021-04-12" || connect.ProtocolVersion != 4 ||
		(c.peer != c.device && !strings.HasPrefix(c.password, sign(hubName, c.device, []byte("key-"+c.device), time.Time{}))) {
		ack.ReturnCode = packets.ErrRefusedNotAuthorised
		c.send(ack)
		return
	}
	h.mu.Lock()
	if old := h.conns[c.device]; old != nil {
		_ = old.Close()
	}
	h.conns[c.device] = c
	h.connects[c.device]++
	closed := h.closed
	h.mu.Unlock()
	if closed {
		return
	}
	c.send(ack)
	for {
		p, err := packets.ReadPacket(raw)
		if err != nil {
			return
		}
		if !h.handle(c, p) {
			return
		}
	}
}

func (h *fakeHub) handle(c *hubConn, p packets.ControlPacket) bool {
	h.mu.Lock()
	script := h.script
	h.mu.Unlock()
	if script != nil && script(c, p) {
		return true
	}
	switch p := p.(type) {
	case *packets.SubscribePacket:
		ack := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
		ack.MessageID = p.MessageID
		ack.ReturnCodes = make([]byte, len(p.Topics))
		c.send(ack)
	case *packets.PingreqPacket:
		c.send(packets.NewControlPacket(packets.Pingresp))
	case *packets.PublishPacket:
		return h.published(c, p)
	}
	return true
}

func (h *fakeHub) published(c *hubConn, p *packets.PublishPacket) bool {
	if p.Qos == 2 || len(p.Payload) > 256<<10 {
		return false
	}
	if rid, ok := strings.CutPrefix(p.TopicName, "$iothub/twin/GET/?$rid="); ok {
		h.mu.Lock()
		refused := h.refuse[c.device]
		h.mu.Unlock()
		if !refused {
			c.publish("$iothub/twin/res/200/?$rid="+rid, `{"desired":{"$version":3},"reported":{"$version":1}}`, 0)
		}
		return true
	}
	if rid, ok := strings.CutPrefix(p.TopicName, "$iothub/twin/PATCH/properties/reported/?$rid="); ok {
		if string(p.Payload) == "bad" {
			c.publish("$iothub/twin/res/400/?$rid="+rid, "", 0)
		} else {
			c.publish("$iothub/twin/res/204/?$rid="+rid+"&$version=8", "", 0)
		}
		return true
	}
	if !strings.HasPrefix(p.TopicName, "devices/"+c.device+"/messages/events/") && !strings.HasPrefix(p.TopicName, "$iothub/methods/res/") {
		return false // the hub hangs up on any other topic
	}
	h.mu.Lock()
	h.events = append(h.events, p.TopicName+" "+string(p.Payload))
	h.mu.Unlock()
	if p.Qos == 1 {
		ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
		ack.MessageID = p.MessageID
		c.send(ack)
	}
	return true
}

func (h *fakeHub) conn(device string) *hubConn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.conns[device]
}

func (h *fakeHub) seen() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.events...)
}

func sign(hub, device string, key []byte, _ time.Time) string {
	return fmt.Sprintf("token %s %s %s", hub, device, key)
}

func (h *fakeHub) options() Options {
	return Options{Host: hubName, TLS: &tls.Config{RootCAs: h.roots}, Gateway: Gateway{Device: "gw", Key: []byte("key-gw")},
		Keys: func(device string) ([]byte, bool) {
			if strings.HasPrefix(device, "sas") {
				return []byte("key-" + device), true
			}
			return nil, false
		},
		Sign: sign,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != hubName+":8883" {
				return nil, fmt.Errorf("dialled %s", address)
			}
			return (&net.Dialer{}).DialContext(ctx, network, h.ln.Addr().String())
		}}
}

func start(t *testing.T, o Options) *Hub {
	t.Helper()
	hub, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- hub.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return hub
}

// patience is for what must come, on the busiest machine.
const patience = 2 * time.Minute

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if f() {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Fatalf("not in %v: %s", patience, what)
}
