package broker_test

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/gatehouse/gatehouse/gateway/broker"
)

// timeless runs a test whose subject is time: with a clock that moves only
// when everything waits, and connections in memory, because the kernel knows
// no such clock. How busy the machine is changes nothing of the outcome.
func timeless(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// startInMemory is start with pipes for connections.
func startInMemory(t *testing.T, change ...func(*broker.Options)) *house {
	t.Helper()
	p := &pipes{ready: make(chan net.Conn), closed: make(chan struct{})}
	return run(t, &house{pipe: p}, p, change)
}

// pipes is a listener for connections in memory.
type pipes struct {
	ready  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.ready:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1883} }

// piped comes from an address, which is what the limits of a door count by.
type piped struct {
	net.Conn
	from string
}

func (p piped) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(p.from), Port: 1} }

func (p *pipes) dial() (net.Conn, error) { return p.dialFrom("127.0.0.1") }

func (p *pipes) dialFrom(addr string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.ready <- piped{far, addr}:
		return near, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
