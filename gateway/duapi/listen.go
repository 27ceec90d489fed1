package duapi

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxConnections is how many connections may be open at once, so that clients without any
// right cannot use up the gateway's file descriptors.
const maxConnections = 256

// Serve answers on l, which must be a TLS listener, until ctx ends. Then it waits a moment for
// the requests that are still being answered.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       20 * time.Second,
		WriteTimeout:      forwardTime + 20*time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // only failed handshakes, with which anybody could fill the journal
	}
	ended := make(chan error, 1)
	go func() {
		ended <- h.Serve(&limited{Listener: l, slots: make(chan struct{}, maxConnections), closed: make(chan struct{})})
	}()
	defer s.Close()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := h.Shutdown(last)
	if err != nil {
		err = errors.Join(err, h.Close())
	}
	if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// limited accepts no more connections than there are slots.
type limited struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

// Accept waits for a free slot first: what is not accepted waits in the kernel.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &counted{Conn: c, leave: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close also ends an Accept that waits for a slot.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type counted struct {
	net.Conn
	leave func()
}

// Close gives the slot back, once.
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
