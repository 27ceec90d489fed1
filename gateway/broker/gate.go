package broker

import (
	"io"
	"net"
	"time"
)

// gate is the only connection that the embedded library ever sees: it reads
// the one frame that the attach loop exposes, and what it writes goes into
// the ordered output buffer. Deadlines and closing are not the library's.
type gate struct {
	c  *conn
	in []byte
}

func (g *gate) Read(p []byte) (int, error) {
	if len(g.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, g.in)
	g.in = g.in[n:]
	return n, nil
}

func (g *gate) Write(p []byte) (int, error) {
	if !g.c.out.Control(p) {
		return 0, net.ErrClosed
	}
	return len(p), nil
}

func (g *gate) Close() error                     { return nil }
func (g *gate) LocalAddr() net.Addr              { return g.c.sock.LocalAddr() }
func (g *gate) RemoteAddr() net.Addr             { return g.c.sock.RemoteAddr() }
func (g *gate) SetDeadline(time.Time) error      { return nil }
func (g *gate) SetReadDeadline(time.Time) error  { return nil }
func (g *gate) SetWriteDeadline(time.Time) error { return nil }
