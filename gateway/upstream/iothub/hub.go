// Package iothub links the gateway to an IoT Hub: MQTT 3.1.1 over TLS, with
// the hub's topics (docs/spec/device-update.md 5).
//
// Identities. A downstream device whose symmetric key the gateway holds gets a
// connection of its own (one per device: the hub drops the first of two), opened on
// demand and shared by everything that concerns the device. All others (X.509 devices,
// whose keys never leave them, modules, users) use the session of the gateway's own
// identity: their messages are telemetry of the gateway with the property
// gatehouse-origin naming who published ("{device}" or "{device}/{module}"). A message
// that is no telemetry carries its topic in gatehouse-topic. Twins, methods and
// cloud-to-device messages exist only for identities with a connection.
//
// A session counts as up only after its probe came back: a GET of its twin.
//
// Order: messages of a session are sent in the order of Send; handlers run in
// order of arrival, on one goroutine per session, and must not wait for
// anything that arrives on the same session. Failure: every failure ends the
// connection; the next one is opened after a full-jitter pause. Tokens are
// renewed by a new connection before they expire.
package iothub

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/gatehouse/gatehouse/gateway/upstream"
)

// Names of properties in the property bag of messages that others publish over the
// gateway's own session.
const (
	OriginProperty = "gatehouse-origin"
	TopicProperty  = "gatehouse-topic"
)

// Errors to branch on.
var (
	// ErrNoIdentity: the hub cannot be reached as this device; the gateway has no key of it.
	ErrNoIdentity = errors.New("the gateway cannot connect as this device")
	// ErrOffline: the session is down, or went down before the answer.
	ErrOffline = errors.New("not connected to the hub")
)

// StatusError is the hub's refusal of a twin request.
type StatusError struct{ Status int }

func (e *StatusError) Error() string { return fmt.Sprintf("the hub answered %d", e.Status) }

// Method is a direct method call. Answer with Session.Respond.
type Method struct {
	Name, Request string
	Payload       []byte
}

// CloudMessage is a cloud-to-device message. It stays at the hub until Ack.
type CloudMessage struct {
	Topic   string
	Payload []byte
	Ack     func()
}

// Handlers take what comes down. Any may be nil.
type Handlers struct {
	// Twin gets the whole twin after each connect.
	Twin    func(device string, body []byte)
	Desired func(device string, version int64, patch []byte)
	Method  func(device string, m Method)
	Cloud   func(device string, m CloudMessage)
}

// Gateway is the gateway's own device identity: Key or Certificate.
type Gateway struct {
	Device      string
	Key         []byte
	Certificate *tls.Certificate
}

// Options of New.
type Options struct {
	Host    string // the hub's name: in tokens, user names and certificates
	Address string // host:port to dial; "": Host:8883
	// Dial opens the TCP connection, so that a hub's name can lead elsewhere. Nil: net.Dialer.
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	TLS     *tls.Config // nil: the system's roots
	Gateway Gateway
	// Files gives TLS, and Key and Certificate of Gateway, anew before each connection, from files that
	// may be renewed, or absent for a while: with an error no connection is made, and Files is asked
	// again after a moment. Nil: TLS and Gateway are used.
	Files func() (*tls.Config, Gateway, error)
	// Keys yields the symmetric key of a downstream device, if the gateway has one. Quick; asked before each connection.
	Keys func(device string) ([]byte, bool)
	// Sign issues a SAS token.
	Sign      func(hub, device string, key []byte, expiry time.Time) string
	TokenLife time.Duration // 0: one hour
	Handlers  Handlers
	OpenRate  float64       // connections opened a second; 0: 10
	ProbeWait time.Duration // 0: 15 s
	KeepAlive time.Duration // of each connection; 0: 4 min
	MaxPacket int
	Log       *slog.Logger
	Now       func() time.Time
}

// Hub is the link; it implements upstream.Connector.
type Hub struct {
	opt  Options
	open *rate.Limiter

	throttled atomic.Int64 // Throttled, in nanoseconds since 1970; 0: never

	mu       sync.Mutex
	sessions map[string]*Session // guarded by mu
	ctx      context.Context     // guarded by mu; set while Run runs: sessions live as long
	group    sync.WaitGroup
}

// New checks the options and starts nothing.
func New(o Options) (*Hub, error) {
	switch {
	case o.Host == "":
		return nil, errors.New("upstream hub: the host name is missing")
	case o.Gateway.Device == "":
		return nil, errors.New("upstream hub: the gateway's own device id is missing; devices without a key here ride on it")
	case o.Files == nil && len(o.Gateway.Key) == 0 && o.Gateway.Certificate == nil:
		return nil, errors.New("upstream hub: the gateway's own device has neither key nor certificate")
	case o.Sign == nil:
		return nil, errors.New("upstream hub: no signer for tokens")
	}
	if o.Address == "" {
		o.Address = net.JoinHostPort(o.Host, "8883")
	}
	if o.TokenLife <= 0 {
		o.TokenLife = time.Hour
	}
	if o.OpenRate <= 0 {
		o.OpenRate = 10
	}
	if o.ProbeWait <= 0 {
		o.ProbeWait = 15 * time.Second
	}
	if o.KeepAlive <= 0 {
		o.KeepAlive = 4 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	return &Hub{opt: o, open: rate.NewLimiter(rate.Limit(o.OpenRate), max(1, int(o.OpenRate))), sessions: map[string]*Session{}}, nil
}

// Run keeps the gateway's own session open, and lets the others open, until ctx ends.
func (h *Hub) Run(ctx context.Context) error {
	h.mu.Lock()
	h.ctx = ctx
	waiting := make([]*Session, 0, len(h.sessions))
	for _, s := range h.sessions {
		waiting = append(waiting, s)
	}
	h.mu.Unlock()
	for _, s := range waiting {
		s.ensure()
	}
	s, err := h.Session(h.opt.Gateway.Device)
	if err != nil {
		return err
	}
	release := s.Hold()
	<-ctx.Done()
	h.mu.Lock()
	h.ctx = nil // no session starts any more
	h.mu.Unlock()
	release()
	h.group.Wait()
	return nil
}

// Session is the connection of a device, shared by all who ask. It is opened
// when somebody holds it. ErrNoIdentity: the gateway cannot connect as that device.
func (h *Hub) Session(device string) (*Session, error) {
	if h.Lane(device) != device {
		return nil, ErrNoIdentity
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sessions[device]
	if s == nil {
		s = &Session{hub: h, device: device, since: h.opt.Now(), change: make(chan struct{}), pending: map[string]chan answer{}}
		h.sessions[device] = s
	}
	return s, nil
}

// Lane implements upstream.Connector.
func (h *Hub) Lane(device string) string {
	if device != "" && device != h.opt.Gateway.Device && h.opt.Keys != nil && validDevice(device) {
		if key, ok := h.opt.Keys(device); ok && len(key) > 0 {
			return device
		}
	}
	return h.opt.Gateway.Device
}

// Connect implements upstream.Connector: it opens the device's session if need be and waits until it is up.
func (h *Hub) Connect(ctx context.Context, name string) (upstream.Conn, error) {
	s, err := h.Session(name)
	if err != nil {
		return nil, err
	}
	release := s.Hold()
	conn, err := s.wait(ctx)
	if err != nil {
		release()
		return nil, err
	}
	return &lane{session: s, conn: conn, release: sync.OnceFunc(release)}, nil
}

// Status of the link.
type Status struct {
	GatewayUp    bool
	Since        time.Time // of GatewayUp
	Sessions, Up int
	LastError    string // of the gateway's own session
}

// Status counts the sessions.
func (h *Hub) Status() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := Status{Sessions: len(h.sessions)}
	for device, s := range h.sessions {
		up, last := s.Up()
		if up {
			st.Up++
		}
		if device == h.opt.Gateway.Device {
			st.GatewayUp, st.LastError = up, last
			st.Since = s.changed()
		}
	}
	return st
}

// Throttled is when the hub last answered a request with status 429; zero: never.
func (h *Hub) Throttled() time.Time {
	if at := h.throttled.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// Echo asks the hub for the gateway's own twin over the connection that there is, and returns how long
// the answer took. It makes no connection.
func (h *Hub) Echo(ctx context.Context) (time.Duration, error) {
	s, err := h.Session(h.opt.Gateway.Device)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	conn, last := s.conn, s.last
	s.mu.Unlock()
	if conn == nil {
		return 0, fmt.Errorf("the link upstream is down: %s", cmp.Or(last, "it has not connected yet"))
	}
	began := time.Now()
	_, err = s.get(ctx, conn)
	return time.Since(began), err
}

// validDevice keeps ids out that would change the meaning of a topic or a user name.
func validDevice(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c <= ' ', c == '+', c == '#', c == '/', c == '?', c == 0x7f:
			return false
		}
	}
	return true
}
