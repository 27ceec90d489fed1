package mqttbroker

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/coder/websocket"
)

// endpoint is what a broker's URL says.
type endpoint struct {
	url     *url.URL
	address string // host:port
	secure  bool   // TLS
	web     bool   // MQTT over WebSocket (OASIS MQTT 3.1.1, clause 6)
}

// schemes are those of a URL, with the port that each stands for.
var schemes = map[string]struct {
	port        string
	secure, web bool
}{
	"mqtt":  {port: "1883"},
	"mqtts": {port: "8883", secure: true},
	"ws":    {port: "80", web: true},
	"wss":   {port: "443", secure: true, web: true},
}

func parse(text string) (endpoint, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return endpoint{}, fmt.Errorf("upstream URL %q: want mqtts://host:port or wss://host:port/path", text)
	}
	s, known := schemes[u.Scheme]
	if !known {
		return endpoint{}, fmt.Errorf("upstream URL %q: the scheme is none of mqtt, mqtts, ws and wss", text)
	}
	e := endpoint{url: u, address: u.Host, secure: s.secure, web: s.web}
	if u.Port() == "" {
		e.address = net.JoinHostPort(u.Hostname(), s.port)
	}
	return e, nil
}

// tls returns the operator's settings with the server name of the URL, unless they
// name one, and with TLS 1.2 as the least version.
func (e endpoint) tls(given *tls.Config) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if given != nil {
		cfg = given.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName = e.url.Hostname()
	}
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	return cfg
}

func (l *Link) dial(ctx context.Context) (net.Conn, error) {
	if l.at.web {
		return l.dialWeb(ctx)
	}
	c, err := l.open(ctx)
	if err != nil || !l.at.secure {
		return c, err
	}
	t := tls.Client(c, l.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return t, nil
}

// open opens the TCP connection.
func (l *Link) open(ctx context.Context) (net.Conn, error) {
	dial := l.opt.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return dial(ctx, "tcp", l.at.address)
}

// dialWeb opens a WebSocket to exactly the address that was configured: no
// proxy of the environment, and no redirection, which could lead out of TLS.
func (l *Link) dialWeb(ctx context.Context) (net.Conn, error) {
	transport := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return l.open(ctx) },
		TLSClientConfig:        l.tls,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	defer transport.CloseIdleConnections()
	//nolint:bodyclose // the library has closed it, or it is the connection itself
	ws, _, err := websocket.Dial(ctx, l.at.url.String(), &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Subprotocols: []string{"mqtt"}, // [MQTT-6.0.0-3]
	})
	if err != nil {
		return nil, err
	}
	// Without cancellation: the connection outlives the dialling.
	return &webConn{Conn: websocket.NetConn(context.WithoutCancel(ctx), ws, websocket.MessageBinary), ws: ws}, nil
}

// webConn is a WebSocket connection whose Close omits the closing handshake, because
// the peer could delay it. An orderly end has sent MQTT's DISCONNECT before that.
type webConn struct {
	net.Conn
	ws *websocket.Conn
}

// Close implements net.Conn.
func (c *webConn) Close() error {
	err := c.ws.CloseNow()
	_ = c.Conn.Close() // stops its timers; its handshake fails at once
	return err
}
