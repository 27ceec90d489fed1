// Package admin is the operator's door: HTTP over a unix socket, and a
// read-only part of it on loopback together with the status page, /metrics
// and /healthz.
//
// One table (routes.go) says which method and path needs which permission and
// who answers. The answers come from Sources, which the composition root
// plugs in; a source that is missing makes its route answer 501, never the
// daemon fail. Who may do what is decided by one Identify per listener: on the unix
// socket by the uid that the kernel reports (SO_PEERCRED); on loopback nobody
// is known, so it reads only and refuses other Host names and other sites'
// pages (DNS rebinding). Every change that is asked for is audited, refused
// ones included.
//
// Handlers run concurrently; Sources must allow it. The constructors start
// nothing; the Serve methods run until their context ends and leave no
// goroutine behind.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Permission is what a caller may do.
type Permission uint8

// The permissions; each includes those before it.
const (
	None Permission = iota
	Read
	Operate
)

// Options of a Server.
type Options struct {
	Sources Sources
	// Owner is the daemon's own uid; it, root and Operators may operate.
	Owner     int
	Operators []int
	// Console and Metrics are served on loopback at / and /metrics; nil: not.
	Console, Metrics http.Handler
	// Audit hears of every change that is asked for; nil: nobody does.
	Audit func(message.AuditRecord)
	Log   *slog.Logger
}

// Server answers operators. Use New.
type Server struct {
	o      Options
	socket http.Handler // everything
	local  http.Handler // what loopback may see
}

// New returns a server.
func New(o Options) *Server {
	if o.Audit == nil {
		o.Audit = func(message.AuditRecord) {}
	}
	s := &Server{o: o}
	s.socket = s.mux(Operate)
	s.local = s.loopback()
	return s
}

// StatusJSON is the body of GET /v1/status, for the status page.
func (s *Server) StatusJSON(ctx context.Context) ([]byte, error) {
	if s.o.Sources.Status == nil {
		return nil, errNotPlugged("status")
	}
	st, err := s.o.Sources.Status(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(st)
}

// ServeSocket answers on a unix socket until ctx ends.
func (s *Server) ServeSocket(ctx context.Context, l net.Listener) error {
	return s.serve(ctx, l, s.identified(s.socket, s.peerCaller))
}

// ServeLoopback answers read-only on a loopback TCP socket until ctx ends. A
// listener on any other address is an error.
func (s *Server) ServeLoopback(ctx context.Context, l net.Listener) error {
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		_ = l.Close()
		return &Error{
			Status: http.StatusForbidden,
			What:   "the status page must not leave this machine",
			Where:  l.Addr().String(),
			Next:   "set admin.address to 127.0.0.1:PORT",
		}
	}
	return s.serve(ctx, l, s.identified(s.local, loopbackCaller))
}

func (s *Server) serve(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends followers
		ConnContext:       withPeer,
		ErrorLog:          slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if srv.Shutdown(deadline) != nil {
		_ = srv.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
