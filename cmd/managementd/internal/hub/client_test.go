package hub

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device/update/manifest/manifesttest"
)

// patience is for what must come, on the busiest machine.
const patience = time.Minute

// A rawClient is a client that speaks MQTT 3.1.1 byte by byte, so that the tests
// say exactly what is on the wire.
type rawClient struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

type frame struct {
	kind, flags byte
	body        []byte
}

func str(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

func (w *rawClient) write(first byte, body []byte) {
	w.t.Helper()
	b := []byte{first}
	for n := len(body); ; {
		c := byte(n & 127)
		if n >>= 7; n > 0 {
			b = append(b, c|128)
			continue
		}
		b = append(b, c)
		break
	}
	if _, err := w.conn.Write(append(b, body...)); err != nil {
		w.t.Logf("write: %v", err)
	}
}

// read returns the next frame; false when the connection has ended.
func (w *rawClient) read() (frame, bool) {
	w.t.Helper()
	_ = w.conn.SetReadDeadline(time.Now().Add(patience))
	first, err := w.r.ReadByte()
	if err != nil {
		if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
			w.t.Fatal("nothing arrived in time")
		}
		return frame{}, false
	}
	n, err := binary.ReadUvarint(w.r) // the same encoding as MQTT's lengths
	if err != nil {
		return frame{}, false
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(w.r, body); err != nil {
		return frame{}, false
	}
	return frame{first >> 4, first & 15, body}, true
}

func (w *rawClient) want(kind byte) frame {
	w.t.Helper()
	f, ok := w.read()
	if !ok || f.kind != kind {
		w.t.Fatalf("got frame %+v (alive %v), want kind %d", f, ok, kind)
	}
	return f
}

func (w *rawClient) wantClosed(what string) {
	w.t.Helper()
	if f, ok := w.read(); ok {
		w.t.Fatalf("%s: got frame %+v, want the connection closed", what, f)
	}
}

// wantPublish returns topic, payload and packet id of the next publish.
func (w *rawClient) wantPublish() (string, []byte, uint16) {
	w.t.Helper()
	f := w.want(3)
	n := int(binary.BigEndian.Uint16(f.body))
	topic, rest := string(f.body[2:2+n]), f.body[2+n:]
	if f.flags>>1&3 == 0 {
		return topic, rest, 0
	}
	return topic, rest[2:], binary.BigEndian.Uint16(rest)
}

func (w *rawClient) publish(topic string, payload string, qos byte, id uint16) {
	w.t.Helper()
	body := str(topic)
	if qos > 0 {
		body = binary.BigEndian.AppendUint16(body, id)
	}
	w.write(0x30|qos<<1, append(body, payload...))
}

func (w *rawClient) subscribe(filters ...string) []byte {
	w.t.Helper()
	body := []byte{0, 9}
	for _, f := range filters {
		body = append(append(body, str(f)...), 1)
	}
	w.write(0x82, body)
	return w.want(9).body[2:]
}

type connectOptions struct {
	clientID, username, password string
	keep                         bool // no clean session
	version                      byte
	will                         string
	certificate                  *tls.Certificate
}

// world is a running hub with two devices: sas (key "secret") and x509.
type world struct {
	t    *testing.T
	hub  *Hub
	addr string
	cert tls.Certificate
}

const host = "test-hub.azure-devices.net"

var signer = sync.OnceValue(func() *manifesttest.Authority {
	a, err := manifesttest.New()
	if err != nil {
		panic(err)
	}
	return a
})

func start(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, cert: selfSigned(t, "x509")}
	server := selfSigned(t, "localhost")
	w.hub = New(Options{
		Host:   host,
		Listen: func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") },
		TLS:    &tls.Config{Certificates: []tls.Certificate{server}},
		Signer: signer(),
		Lookup: func(id ID) (Identity, bool) {
			switch id {
			case ID{"sas", ""}, ID{"sas2", ""}, ID{"sas", "mod"}:
				return Identity{Keys: [][]byte{[]byte("other"), []byte("secret")}}, true
			case ID{"x509", ""}:
				return Identity{Thumbprints: [][32]byte{sha256.Sum256(w.cert.Certificate[0])}}, true
			}
			return Identity{}, false
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.hub.Run(ctx) }()
	<-w.hub.Ready()
	w.addr = w.hub.Addr().String()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(patience):
			t.Error("the hub does not stop")
		}
	})
	return w
}

func selfSigned(t *testing.T, cn string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: cn},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// dial sends CONNECT and returns the answer's code; -1: closed without one.
func (w *world) dial(o connectOptions) (*rawClient, int) {
	w.t.Helper()
	c := &tls.Config{InsecureSkipVerify: true} // the test is about the client's side
	if o.certificate != nil {
		c.Certificates = []tls.Certificate{*o.certificate}
	}
	conn, err := tls.Dial("tcp", w.addr, c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	cl := &rawClient{t: w.t, conn: conn, r: bufio.NewReader(conn)}
	if o.version == 0 {
		o.version = 4
	}
	flags := byte(0x80)
	if !o.keep {
		flags |= 2
	}
	payload := str(o.clientID)
	if o.will != "" {
		flags |= 4
		payload = append(append(payload, str(o.will)...), str("gone")...)
	}
	payload = append(payload, str(o.username)...)
	if o.password != "" {
		flags |= 0x40
		payload = append(payload, str(o.password)...)
	}
	head := append(str("MQTT"), o.version, flags, 0, 60)
	if o.version == 5 {
		head = append(head, 0)
	}
	cl.write(0x10, append(head, payload...))
	f, ok := cl.read()
	if !ok {
		return cl, -1
	}
	if f.kind != 2 {
		w.t.Fatalf("frame %+v, want CONNACK", f)
	}
	return cl, int(f.body[1])
}

func user(id string) string { return host + "/" + id + "/?api-version=2021-04-12" }

func sasOptions(id string) connectOptions {
	device, module, _ := bytes.Cut([]byte(id), []byte("/"))
	return connectOptions{
		clientID: id,
		username: user(id),
		password: Token(host, ID{string(device), string(module)}, []byte("secret"), time.Now().Add(time.Hour)),
	}
}

func (w *world) connect(id string) *rawClient {
	w.t.Helper()
	c, code := w.dial(sasOptions(id))
	if code != 0 {
		w.t.Fatalf("%s: refused with %d", id, code)
	}
	return c
}

// eventually polls with a deadline: for effects that come through a socket.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
