package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
)

// handshakeTimeout bounds TLS and the wait for CONNECT to begin.
const handshakeTimeout = 10 * time.Second

// listener accepts, does the TLS handshake within a deadline and knows every
// open connection, so that stopping leaves nothing behind.
type listener struct {
	ln  net.Listener
	tls *tls.Config
	log *slog.Logger

	mu      sync.Mutex
	conns   map[net.Conn]struct{} // guarded by mu; nil once stopped
	serving sync.WaitGroup
}

func newListener(ln net.Listener, c *tls.Config, log *slog.Logger) *listener {
	c = c.Clone()
	c.ClientAuth = tls.RequestClientCert // judged against the identity, not against a pool
	if c.MinVersion < tls.VersionTLS12 {
		c.MinVersion = tls.VersionTLS12
	}
	return &listener{ln: ln, tls: c, log: log, conns: map[net.Conn]struct{}{}}
}

func (l *listener) Init(*slog.Logger) error { return nil }
func (l *listener) ID() string              { return "hub" }
func (l *listener) Address() string         { return l.ln.Addr().String() }
func (l *listener) Protocol() string        { return "tls" }

// Serve runs on a goroutine of the server.
func (l *listener) Serve(establish listeners.EstablishFn) {
	for {
		c, err := l.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			l.log.Warn("development IoT Hub: accept failed", "err", err)
			time.Sleep(50 * time.Millisecond) // out of descriptors: others will be freed
			continue
		}
		if !l.add(c) {
			_ = c.Close()
			return
		}
		go func() {
			defer l.remove(c)
			t := tls.Server(c, l.tls)
			_ = t.SetDeadline(time.Now().Add(handshakeTimeout))
			// stop closes the connection, which ends a handshake too.
			if err := t.HandshakeContext(context.Background()); err != nil {
				l.log.Debug("development IoT Hub: TLS handshake failed", "remote", c.RemoteAddr(), "err", err)
				return
			}
			_ = establish(l.ID(), t) // the hook has said why
		}()
	}
}

func (l *listener) add(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		return false
	}
	l.conns[c] = struct{}{}
	l.serving.Add(1)
	return true
}

func (l *listener) remove(c net.Conn) {
	_ = c.Close()
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
	l.serving.Done()
}

// stop closes everything and waits until every connection's goroutine is done.
func (l *listener) stop() {
	_ = l.ln.Close()
	l.mu.Lock()
	for c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
	l.mu.Unlock()
	l.serving.Wait()
}

// Close is called by the server after stop.
func (l *listener) Close(listeners.CloseFn) {}
