package broker_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
)

func clientTLS(t *testing.T) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{certificate(t, "device-1")}, InsecureSkipVerify: true} // the test's own server
}

// roundTrip publishes to itself in tiny pieces: a frame is never split
// between two readers.
func roundTrip(t *testing.T, c *rawclient.Client, level byte) {
	t.Helper()
	if code := c.Subscribe(1, "a", 1); code != 1 {
		t.Fatalf("SUBACK %#x", code)
	}
	for i, b := range rawclient.PublishFrame(level, "a", "pieces", 1, 5, 0) {
		c.Put(b)
		if i%4 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	for seen := 0; seen < 2; seen++ {
		p, err := c.Next(rawclient.Wait)
		if err != nil {
			t.Fatal(err)
		}
		if p.Type() == 3 {
			d := rawclient.Parse(level, p)
			if d.Payload != "pieces" {
				t.Errorf("got %+v", d)
			}
			c.Ack(4, d.ID)
		}
	}
	c.ExpectSilence()
	c.Put(bytes.Repeat([]byte{0xc0, 0}, 500)...)
	for range 500 {
		c.ExpectType(13)
	}
	c.Hex("e000")
	c.ExpectClosed()
}

func TestTLS(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t, func(o *broker.Options) { o.Listeners[0].TLS = serverTLS(t) })
		nc, err := tls.Dial("tcp", h.addr, clientTLS(t))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		c := &rawclient.Client{T: t, Conn: nc}
		c.Connect(rawclient.Connect{Level: level, ID: "c", User: "c"})
		cred := h.names.last.Load()
		if cred.TLS == nil || len(cred.TLS.PeerCertificates) != 1 || cred.TLS.PeerCertificates[0].Subject.CommonName != "device-1" ||
			cred.PeerUID != -1 || cred.Listener != "test" || !cred.Remote.IsValid() {
			t.Errorf("credentials %+v", cred)
		}
		roundTrip(t, c, level)
	})
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		levels(t, func(t *testing.T, level byte) {
			h := start(t, func(o *broker.Options) {
				o.Listeners[0].Kind = broker.WebSocket
				o.Listeners[0].Path = "/plant/{a}"
				if secure {
					o.Listeners[0].TLS = serverTLS(t)
				}
			})
			tr := &http.Transport{TLSClientConfig: clientTLS(t)}
			defer tr.CloseIdleConnections()
			scheme := map[bool]string{false: "ws://", true: "wss://"}[secure]
			for _, path := range []string{"/mqtt", "/$iothub/websocket", "/plant/{a}"} {
				ctx, cancel := context.WithTimeout(context.Background(), rawclient.Wait)
				defer cancel()
				ws, _, err := websocket.Dial(
					ctx,
					scheme+h.addr+path,
					&websocket.DialOptions{Subprotocols: []string{"mqtt"}, HTTPClient: &http.Client{Transport: tr}},
				)
				if err != nil {
					t.Fatal(err)
				}
				ws.SetReadLimit(-1)
				c := &rawclient.Client{T: t, Conn: websocket.NetConn(context.Background(), ws, websocket.MessageBinary)}
				c.Connect(rawclient.Connect{Level: level, ID: "c", User: "c"})
				if cred := h.names.last.Load(); secure != (cred.TLS != nil && len(cred.TLS.PeerCertificates) == 1) {
					t.Errorf("client certificate: %+v", cred.TLS)
				}
				roundTrip(t, c, level)
				_ = ws.CloseNow()
			}
			// Another subprotocol, another origin, another path.
			for name, o := range map[string]*websocket.DialOptions{
				"subprotocol": {HTTPClient: &http.Client{Transport: tr}},
				"origin": {
					Subprotocols: []string{"mqtt"},
					HTTPClient:   &http.Client{Transport: tr},
					HTTPHeader:   http.Header{"Origin": {"https://evil.example"}},
				},
			} {
				ctx, cancel := context.WithTimeout(context.Background(), rawclient.Wait)
				ws, _, err := websocket.Dial(ctx, scheme+h.addr+"/mqtt", o)
				if err == nil {
					if _, _, err = ws.Read(ctx); err == nil {
						t.Errorf("%s: let in", name)
					}
					_ = ws.CloseNow()
				}
				cancel()
			}
		})
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "gh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	h := start(t, func(o *broker.Options) {
		nl, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		o.Listeners = append(o.Listeners, broker.Listener{Name: "local", Kind: broker.Unix, Listener: nl})
	})
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := &rawclient.Client{T: t, Conn: nc}
	c.Connect(rawclient.Connect{Level: 5, ID: "c", User: "c"})
	if cred := h.names.last.Load(); cred.PeerUID != os.Getuid() || cred.Listener != "local" {
		t.Errorf("credentials %+v", cred)
	}
	roundTrip(t, c, 5)
}

// AUTH renews the same principal; as another one it ends the connection.
func TestReauthentication(t *testing.T) {
	t.Parallel()
	h := start(t)
	soon := time.Now().Add(time.Hour)
	h.names.expires.Store(&soon)
	method := append([]byte{21}, rawclient.Text("names")...)
	data := func(user string) []byte { return append([]byte{22}, rawclient.Text(user)...) }
	c := h.dial()
	p := c.Connect(rawclient.Connect{Level: 5, ID: "c", Props: append(method, data("alice")...)})
	if p.Body[1] != 0 || !bytes.Contains(p.Body, method) {
		t.Fatalf("CONNACK %s", p)
	}
	later := soon.Add(time.Hour)
	h.names.expires.Store(&later)
	c.Put(rawclient.Frame(0xf0, []byte{0x19}, rawclient.Props(5, method, data("alice")))...)
	if p := c.ExpectType(15); p.Body[0] != 0 || !bytes.Contains(p.Body, method) {
		t.Errorf("AUTH %s", p)
	}
	if got := h.Sessions()[0].CredentialEnds; !got.Equal(later) {
		t.Errorf("expires %v", got)
	}
	c.ExpectSilence()
	c.Put(rawclient.Frame(0xf0, []byte{0x19}, rawclient.Props(5, method, data("mallory")))...)
	if seen := c.ExpectClosed(); len(seen) != 1 || seen[0].Body[0] != 0x87 {
		t.Errorf("seen %v", seen)
	}
}
