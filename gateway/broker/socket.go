package broker

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// socket is a connection after its TLS or WebSocket handshake, on which MQTT is read and written.
// Close does the closing handshake, for at most the time flush, and sees to it that the client can
// still read the last packet that was written (B33): a TCP socket that is closed with unread
// input resets the connection, and data that the client has not read yet is lost.
type socket struct {
	net.Conn           // where MQTT is read and written
	door     *admitted // the connection as it was accepted
	tls      *tls.ConnectionState
	ws       *websocket.Conn
	peerUID  int
	flush    time.Duration

	mu      sync.Mutex // guards the fields below
	ended   bool       // interrupt was called
	probing int        // calls of probe that no call of probed has ended
	idle    int        // while probing: the keep-alive idle time of the kernel before, in seconds; 0: off
}

type halfCloser interface{ CloseWrite() error }

func (s *socket) Close() error {
	if c, ok := s.Conn.(halfCloser); ok {
		_ = s.SetWriteDeadline(time.Now().Add(s.flush))
		_ = c.CloseWrite() // TLS: close_notify
	}
	if s.ws != nil {
		// The closing handshake waits for the client. That is allowed here, because this is the
		// writer's goroutine and never a publisher's.
		return s.door.part(s.ws, websocket.StatusNormalClosure, "", s.flush)
	}
	raw := s.door.Conn
	if c, ok := raw.(halfCloser); ok {
		_ = c.CloseWrite()
	}
	_ = raw.SetReadDeadline(time.Now().Add(s.flush))
	_, _ = io.CopyN(io.Discard, raw, 1<<20)
	return s.door.Close()
}

// part does the closing handshake of a WebSocket and closes. The library bounds
// its parts, but not how long the rest of a frame may take to come.
func (c *admitted) part(ws *websocket.Conn, code websocket.StatusCode, reason string, bound time.Duration) error {
	_ = c.SetDeadline(time.Now().Add(bound))
	_ = ws.Close(code, reason)
	return c.Close()
}

// Abort closes the connection without a closing handshake.
func (s *socket) Abort() error { return s.door.Close() }

// SetReadDeadline sets the deadline of the next Read, unless interrupt was called: the reading
// goroutine, which sets a deadline before it waits, must not undo the one that ends its wait.
func (s *socket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil
	}
	return s.Conn.SetReadDeadline(t)
}

// interrupt makes a blocked Read return, and every later one. On a WebSocket it does
// nothing to a blocked Read: the closing handshake still has to read.
func (s *socket) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.ws == nil {
		_ = s.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// probeIdle is for how many seconds nothing may have been heard of a peer before the kernel
// probes it: the least that it takes.
const probeIdle = 1

// probe makes the kernel ask at once, and again whenever the peer was silent for a second, whether
// the peer is there, until probed is called. answers tells what came of it.
//
// A server cannot send PINGREQ, and what MQTT lets it send is either answered by no client (QoS 0)
// or changes what the client sees. When the client last sent a frame says nothing either: it may be
// silent for its whole keep alive. So the question is TCP's own, a keep-alive probe: a segment
// without data, which the peer's kernel must acknowledge (RFC 9293, 3.8.4), whatever its client is
// doing, and which works the same below TLS and WebSocket. TCP_KEEPIDLE (tcp(7)) says after how
// many seconds of silence it is sent; Linux sends it at once if the connection has been silent for
// longer than a value that is being set. While sent data is unacknowledged the kernel repeats that
// instead, which asks the same. When the last segment came stands in TCP_INFO.
//
// What this cannot see: a proxy between client and gateway answers for a client that is gone, and a
// stopped process has a kernel that answers. A client that is asked over a unix socket, or on a
// system other than Linux, counts as there.
func (s *socket) probe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.probing++; s.probing == 1 {
		s.idle = keepAlive(s.door.Conn, probeIdle)
	}
}

// probeAgain repeats a probe that may have been lost. After TCP_KEEPCNT unanswered ones (9, as the Go
// library sets it) Linux ends the connection itself, which is later than answers gives it up.
func (s *socket) probeAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.probing > 0 {
		keepAlive(s.door.Conn, probeIdle)
	}
}

// probed ends what probe began: the kernel asks as seldom as before.
func (s *socket) probed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.probing--; s.probing == 0 {
		keepAlive(s.door.Conn, s.idle)
	}
}

// answers tells whether the peer of a connection that has been probed for so long may still be
// there. It is not if it has hung up, or if it has been silent for within since it was asked: when
// the probe began if it had been silent for probeIdle then, or else after that time of silence.
func (s *socket) answers(probedFor, within time.Duration) bool {
	if s.hungUp() {
		return false
	}
	silent, known := silence(s.door.Conn)
	return !known || probedFor < within || silent < probeIdle*time.Second+within
}

// hungUp tells whether the peer has closed the connection. The reader learns that only when it
// has read everything before, and not while it waits for something else.
func (s *socket) hungUp() bool { return closedByPeer(s.door.Conn) }
