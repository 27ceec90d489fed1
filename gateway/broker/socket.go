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

	mu    sync.Mutex // guards ended
	ended bool       // interrupt was called
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
