package broker

import (
	"io"
	"log/slog"
	"net"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
)

// newServer makes the embedded library's server: with one hook, without its inline client, with no
// limits but this broker's, with its housekeeping as rare as possible, and without a log, because it
// logs payloads (B11, B12, B13, B16, B25, B26).
func (b *Broker) newServer() *mqtt.Server {
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumClientWritesPending = 1
	caps.MaximumMessageExpiryInterval = 0
	caps.MaximumPacketSize = uint32(b.o.MaxPacket) + 5
	caps.ReceiveMaximum = uint16(b.o.ReceiveMaximum)
	caps.TopicAliasMaximum = 0
	caps.MinimumProtocolVersion = 4
	s := mqtt.New(&mqtt.Options{
		Capabilities:             caps,
		Logger:                   slog.New(slog.DiscardHandler),
		InlineClient:             false,
		ClientNetReadBufferSize:  16,
		ClientNetWriteBufferSize: 16,
		SysTopicResendInterval:   24 * 3600,
	})
	_ = s.AddHook(&hook{b: b}, nil) // cannot fail: it has no configuration
	return s
}

// libraryConn is the only connection that the embedded library ever sees. It
// reads the bytes of the one frame that the library is to work on, and what it
// writes goes into the connection's ordered output buffer. Deadlines and
// closing are not the library's. It lasts as long as its frame.
type libraryConn struct {
	c     *conn
	frame *controlFrame // the one being worked on; nil while the library works on none
}

func (l *libraryConn) Read(p []byte) (int, error) {
	if l.frame == nil || len(l.frame.unread) == 0 {
		return 0, io.EOF
	}
	n := copy(p, l.frame.unread)
	l.frame.unread = l.frame.unread[n:]
	return n, nil
}

func (l *libraryConn) Write(p []byte) (int, error) {
	if !l.c.out.Control(p) {
		return 0, net.ErrClosed
	}
	return len(p), nil
}

func (l *libraryConn) Close() error                     { return nil }
func (l *libraryConn) LocalAddr() net.Addr              { return l.c.sock.LocalAddr() }
func (l *libraryConn) RemoteAddr() net.Addr             { return l.c.sock.RemoteAddr() }
func (l *libraryConn) SetDeadline(time.Time) error      { return nil }
func (l *libraryConn) SetReadDeadline(time.Time) error  { return nil }
func (l *libraryConn) SetWriteDeadline(time.Time) error { return nil }
