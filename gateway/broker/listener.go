package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	mochilisteners "github.com/mochi-mqtt/server/v2/listeners"

	"github.com/gatehouse/gatehouse/gateway/broker/hall"
)

// listener implements the embedded library's interface for listeners, but accepts and serves
// connections by this package's own loops. The function by which the library would
// establish a connection is not used.
type listener struct {
	Listener
	b    *Broker
	door *admission
	http *http.Server
	once sync.Once
	done chan struct{}
}

func newListener(ctx context.Context, b *Broker, l Listener) *listener {
	l.Limits = l.Limits.withDefaults()
	return &listener{Listener: l, b: b, done: make(chan struct{}), door: newAdmission(ctx, b, l)}
}

func (l *listener) Init(*slog.Logger) error {
	if l.Kind == WebSocket {
		l.http = l.webServer()
	}
	return nil
}

func (l *listener) ID() string       { return l.Name }
func (l *listener) Address() string  { return l.Listener.Listener.Addr().String() }
func (l *listener) Protocol() string { return "mqtt" }

// Serve accepts until the listener is closed.
func (l *listener) Serve(mochilisteners.EstablishFn) {
	defer close(l.done)
	if l.Kind == WebSocket {
		var nl net.Listener = l.door
		if l.TLS != nil {
			cfg := l.TLS.Clone()
			cfg.NextProtos = []string{"http/1.1"}
			nl = tls.NewListener(nl, cfg)
		}
		_ = l.http.Serve(nl) // it ends with Close, as Accept does
		return
	}
	for {
		nc, err := l.door.Accept()
		if err != nil {
			return
		}
		a := nc.(*admitted)
		l.b.conns.Go(func() { l.attach(a) })
	}
}

// Close stops accepting; live connections are the broker's to end.
func (l *listener) Close(mochilisteners.CloseFn) {
	l.once.Do(func() {
		if l.http != nil {
			_ = l.http.Close()
		}
		_ = l.Listener.Listener.Close()
		<-l.done
	})
}

// attach does the TLS handshake and then serves the connection. It is the
// whole goroutine of a connection.
func (l *listener) attach(a *admitted) {
	defer l.b.guard("connection", a.Close)
	tune(a.Conn, l.b.o.Buffer)
	s := &socket{Conn: a.Conn, door: a, peerUID: -1, flush: l.b.o.FlushTimeout}
	if l.Kind == Unix {
		s.peerUID = peerUID(a.Conn)
	}
	if l.TLS != nil {
		tc := tls.Server(a, l.TLS)
		if err := l.handshake(tc); err != nil {
			l.b.o.Log.Debug("TLS handshake failed", "listener", l.Name, "remote", a.RemoteAddr(), "err", err)
			_ = a.Close()
			return
		}
		a.showed(hall.Secured)
		state := tc.ConnectionState()
		s.Conn, s.tls = tc, &state
	}
	newConn(l, s).serve()
}

// handshake does the TLS handshake. A panic in it is an error (B24).
func (l *listener) handshake(tc *tls.Conn) (err error) {
	ctx, cancel := context.WithTimeout(l.door.ctx, l.Limits.Handshake)
	defer cancel()
	apart(func() {
		defer l.b.guard("connection", func() error {
			err = errPanic
			return nil
		})
		err = tc.HandshakeContext(ctx)
	})
	return err
}

var errPanic = errors.New("internal error")

type admittedKey struct{}

func (l *listener) webServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/mqtt", l.upgrade)
	mux.HandleFunc("/$iothub/websocket", l.upgrade)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if l.Path == "" || r.URL.Path != l.Path { // compared, because a path may hold what a pattern would interpret
			http.NotFound(w, r)
			return
		}
		l.upgrade(w, r)
	})
	s := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: l.Limits.Handshake,
		ReadTimeout:       l.Limits.Handshake,
		MaxHeaderBytes:    16 << 10,
		IdleTimeout:       l.Limits.Handshake,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			if tc, ok := nc.(*tls.Conn); ok {
				nc = tc.NetConn()
			}
			return context.WithValue(ctx, admittedKey{}, nc)
		},
	}
	s.SetKeepAlivesEnabled(false) // a connection has one request, so that it cannot stay open without becoming an MQTT client
	return s
}

// upgrade turns an HTTP request into a WebSocket connection and serves it on the request's
// goroutine. The client certificate is that of the request.
func (l *listener) upgrade(w http.ResponseWriter, r *http.Request) {
	a, ok := r.Context().Value(admittedKey{}).(*admitted)
	if !ok {
		http.Error(w, "no connection", http.StatusInternalServerError)
		return
	}
	if r.TLS != nil {
		a.showed(hall.Secured)
	}
	if !offersMQTT(r) { // OASIS MQTT 5.0, 6.0.0-3; before the upgrade, so that the client learns why from the status
		http.Error(w, "the WebSocket subprotocol mqtt is required", http.StatusBadRequest)
		return
	}
	if !l.b.join() {
		http.Error(w, "shutting down", http.StatusServiceUnavailable)
		return
	}
	defer l.b.conns.Done()
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}, OriginPatterns: l.Origins,
		CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return // the answer has been written
	}
	defer l.b.guard("websocket", a.Close)
	_ = a.SetDeadline(time.Time{})
	tune(a.Conn, l.b.o.Buffer)
	ws.SetReadLimit(-1) // frames are bounded by our own splitter
	s := &socket{Conn: websocket.NetConn(context.Background(), ws, websocket.MessageBinary), door: a, tls: r.TLS, ws: ws,
		peerUID: -1, flush: l.b.o.FlushTimeout}
	newConn(l, s).serve()
}

// subprotocol is the name of MQTT among the subprotocols of WebSocket.
const subprotocol = "mqtt"

// offersMQTT reports whether the request names MQTT among its subprotocols, in any case of letters.
func offersMQTT(r *http.Request) bool {
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(name), subprotocol) {
				return true
			}
		}
	}
	return false
}
