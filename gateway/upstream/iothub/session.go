package iothub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/gateway/upstream"
	"github.com/gatehouse/gatehouse/gateway/upstream/mqttconn"
)

const (
	apiVersion   = "2021-04-12"
	methodTopic  = "$iothub/methods/POST/"
	desiredTopic = "$iothub/twin/PATCH/properties/desired/"
	twinResTopic = "$iothub/twin/res/"
)

type answer struct {
	status  int
	version int64
	body    []byte
}

// Session is the connection of one device.
type Session struct {
	hub    *Hub
	device string

	mu      sync.Mutex
	holds   int // guarded by mu, as all below
	running bool
	conn    *mqttconn.Conn         // nil while down
	since   time.Time              // of conn's state
	change  chan struct{}          // closed when conn changes
	pending map[string]chan answer // by request id; closed when the connection ends
	request uint64
	last    string
	failed  bool // the last attempt to connect failed, and the next one has not succeeded
	stop    context.CancelFunc
	ignored uint64
}

// Device is the device's id.
func (s *Session) Device() string { return s.device }

// Up tells whether the session has a proven connection, and what the last failure was.
func (s *Session) Up() (bool, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil, s.last
}

func (s *Session) changed() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since
}

// Ignored counts what the hub sent outside its own topics.
func (s *Session) Ignored() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ignored
}

// Hold keeps the session open until release is called.
func (s *Session) Hold() (release func()) {
	s.mu.Lock()
	s.holds++
	s.mu.Unlock()
	s.ensure()
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.holds--; s.holds == 0 && s.stop != nil {
			s.stop()
			s.conn, s.failed = nil, false // the session ends: a request that comes now waits for its next connection
		}
	})
}

// ensure starts the session if somebody holds it and the hub runs.
func (s *Session) ensure() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hub.ctx == nil || s.running || s.holds == 0 {
		return
	}
	ctx, cancel := context.WithCancel(s.hub.ctx)
	s.running, s.stop, s.failed = true, cancel, false
	s.hub.group.Go(func() {
		s.run(ctx)
		cancel()
		s.mu.Lock()
		s.running, s.stop = false, nil
		s.mu.Unlock()
		s.ensure() // somebody may have held the session again while it ended
	})
}

func (s *Session) run(ctx context.Context) {
	back := upstream.NewBackoff()
	for ctx.Err() == nil {
		if s.hub.open.Wait(ctx) != nil {
			return
		}
		conn, expires, err := s.connect(ctx)
		if err == nil {
			up := time.Now()
			err = s.hold(ctx, conn, expires)
			if time.Since(up) >= upstream.Lasting {
				back.Reset()
			}
		} else if ctx.Err() == nil {
			s.fail()
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue // renewed
		}
		s.mu.Lock()
		same := s.last == err.Error()
		s.last = err.Error()
		s.mu.Unlock()
		if !same || !errors.As(err, new(*upstream.Unready)) { // files are looked at every few seconds
			s.hub.opt.Log.Warn("the hub session is down", "device", s.device, "err", err)
		}
		upstream.Pause(ctx, &back, err)
	}
}

// connect opens, subscribes and probes.
func (s *Session) connect(ctx context.Context) (*mqttconn.Conn, time.Time, error) {
	h := s.hub
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	expires := h.opt.Now().Add(h.opt.TokenLife)
	given, gw := h.opt.TLS, h.opt.Gateway
	if h.opt.Files != nil {
		var err error
		if given, gw, err = h.opt.Files(); err != nil {
			return nil, expires, &upstream.Unready{Err: err}
		}
	}
	password, cert := "", (*tls.Certificate)(nil)
	switch {
	case s.device != gw.Device:
		key, ok := h.opt.Keys(s.device)
		if !ok {
			return nil, expires, ErrNoIdentity
		}
		password = h.opt.Sign(h.opt.Host, s.device, key, expires)
	case gw.Certificate != nil:
		cert, expires = gw.Certificate, time.Time{}
	default:
		password = h.opt.Sign(h.opt.Host, s.device, gw.Key, expires)
	}
	conn, err := mqttconn.Connect(ctx, mqttconn.Options{
		Dial:     func(ctx context.Context) (net.Conn, error) { return h.dial(ctx, given, cert) },
		ClientID: s.device, Username: h.opt.Host + "/" + s.device + "/?api-version=" + apiVersion, Password: password,
		KeepAlive: h.opt.KeepAlive, MaxPacket: h.opt.MaxPacket, OnMessage: s.arrived,
	})
	if err != nil {
		return nil, expires, err
	}
	filters := []string{twinResTopic + "#", desiredTopic + "#", methodTopic + "#", "devices/" + s.device + "/messages/devicebound/#"}
	codes, err := conn.Subscribe(ctx, filters...)
	for i, c := range codes {
		if c > 1 {
			err = fmt.Errorf("the hub refuses %s", filters[i])
		}
	}
	if err == nil {
		// This GET of the twin is the probe. Its answer also has the changes of
		// desired properties that were missed while the connection was down.
		var twin []byte
		probe, cancel := context.WithTimeout(ctx, h.opt.ProbeWait)
		defer cancel()
		twin, err = s.get(probe, conn)
		var status *StatusError
		switch {
		case errors.As(err, &status): // an error status (throttling, for instance) is an answer too, so the probe came back
			err = nil
		case err == nil && h.opt.Handlers.Twin != nil:
			s.mu.Lock()
			s.failed = false // what the handler sends now waits for the connection that is about to be there
			s.mu.Unlock()
			h.opt.Handlers.Twin(s.device, twin)
		}
	}
	if err != nil {
		conn.Close()
		s.abandon()
		return nil, expires, err
	}
	return conn, expires, nil
}

func (h *Hub) dial(ctx context.Context, given *tls.Config, cert *tls.Certificate) (net.Conn, error) {
	c, err := h.opt.Dial(ctx, "tcp", h.opt.Address)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{}
	if given != nil {
		cfg = given.Clone()
	}
	cfg.ServerName = h.opt.Host // the certificate must be the hub's, wherever the connection leads
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	t := tls.Client(c, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return t, nil
}

// hold makes conn the session's connection and waits for its end. It returns nil if
// ctx ended, or if the token is about to expire and needs a new connection.
func (s *Session) hold(ctx context.Context, conn *mqttconn.Conn, expires time.Time) error {
	s.set(conn)
	defer func() {
		s.set(nil)
		conn.Close()
		s.abandon()
	}()
	var renew <-chan time.Time
	if !expires.IsZero() {
		t := time.NewTimer(expires.Sub(s.hub.opt.Now()) * 4 / 5)
		defer t.Stop()
		renew = t.C
	}
	tick := time.NewTicker(5 * time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-conn.Done():
			return conn.Err()
		case <-renew:
			return nil
		case <-tick.C: // an open socket does not prove that the hub answers: probe again
			probe, cancel := context.WithTimeout(ctx, s.hub.opt.ProbeWait)
			_, err := s.get(probe, conn)
			cancel()
			var status *StatusError
			if err != nil && !errors.As(err, &status) {
				return fmt.Errorf("the probe did not come back: %w", err)
			}
		}
	}
}

func (s *Session) set(conn *mqttconn.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn, s.since = conn, s.hub.opt.Now()
	if conn != nil {
		s.last, s.failed = "", false
	}
	close(s.change)
	s.change = make(chan struct{})
}

// fail notes that an attempt to connect failed, and wakes the callers of soon.
// Otherwise each request of a device would wait for its whole timeout while the hub
// cannot be reached.
func (s *Session) fail() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = true
	close(s.change)
	s.change = make(chan struct{})
}

// abandon ends the requests that the lost connection leaves unanswered.
func (s *Session) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ch := range s.pending {
		close(ch)
	}
	clear(s.pending)
}

// soon is wait for a request whose caller waits for the answer: it returns ErrOffline
// as soon as an attempt to connect has failed, instead of waiting for the next one.
func (s *Session) soon(ctx context.Context) (*mqttconn.Conn, error) {
	conn, err := s.await(ctx, true)
	if err != nil && !errors.Is(err, ErrOffline) {
		err = fmt.Errorf("%w: %w", ErrOffline, err)
	}
	return conn, err
}

// wait returns the connection as soon as there is one.
func (s *Session) wait(ctx context.Context) (*mqttconn.Conn, error) { return s.await(ctx, false) }

func (s *Session) await(ctx context.Context, hurried bool) (*mqttconn.Conn, error) {
	for {
		s.mu.Lock()
		conn, change, failed := s.conn, s.change, s.failed
		s.mu.Unlock()
		switch {
		case conn != nil:
			return conn, nil
		case failed && hurried:
			return nil, ErrOffline
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// TwinGet reads the twin at the hub. The session is held meanwhile; ctx bounds
// the wait for a connection too.
func (s *Session) TwinGet(ctx context.Context) ([]byte, error) {
	defer s.Hold()()
	conn, err := s.soon(ctx)
	if err != nil {
		return nil, err
	}
	return s.get(ctx, conn)
}

func (s *Session) get(ctx context.Context, conn *mqttconn.Conn) ([]byte, error) {
	a, err := s.ask(ctx, conn, func(rid string) string { return "$iothub/twin/GET/?$rid=" + rid }, nil)
	if err != nil {
		return nil, err
	}
	if a.status != 200 {
		return nil, &StatusError{a.status}
	}
	return a.body, nil
}

// PatchReported sends a patch of the reported properties and returns their new version.
func (s *Session) PatchReported(ctx context.Context, patch []byte) (version int64, err error) {
	defer s.Hold()()
	conn, err := s.soon(ctx)
	if err != nil {
		return 0, err
	}
	a, err := s.ask(ctx, conn, func(rid string) string { return "$iothub/twin/PATCH/properties/reported/?$rid=" + rid }, patch)
	if err != nil {
		return 0, err
	}
	if a.status != 204 && a.status != 200 {
		return 0, &StatusError{a.status}
	}
	return a.version, nil
}

func (s *Session) ask(ctx context.Context, conn *mqttconn.Conn, topic func(rid string) string, body []byte) (answer, error) {
	ch := make(chan answer, 1)
	s.mu.Lock()
	s.request++
	rid := strconv.FormatUint(s.request, 10)
	s.pending[rid] = ch
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.pending, rid)
		s.mu.Unlock()
	}()
	if err := conn.Publish(topic(rid), 0, false, body, nil); err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrOffline, err)
	}
	select {
	case a, ok := <-ch:
		if !ok {
			return answer{}, ErrOffline
		}
		if a.status == 429 { // docs/spec/device-update.md 5: the hub throttles
			s.hub.throttled.Store(time.Now().UnixNano())
		}
		return a, nil
	case <-conn.Done():
		return answer{}, ErrOffline
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
}

// Respond answers a direct method. ErrOffline: the caller at the hub will not get it any more.
func (s *Session) Respond(request string, status int, body []byte) error {
	if !validRequest(request) {
		return fmt.Errorf("method request id: %w", errInvalid)
	}
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	if conn == nil {
		return ErrOffline
	}
	return conn.Publish("$iothub/methods/res/"+strconv.Itoa(status)+"/?$rid="+request, 0, false, body, nil)
}
