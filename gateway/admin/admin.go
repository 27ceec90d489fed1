// Package admin serves operators over HTTP: the whole API on a unix socket, and
// its routes that only read on a loopback address, together with the status
// page, /metrics and /healthz.
//
// One table (routes.go) says which method and path needs which permission and
// which function answers. The answers come from Sources, which the composition
// root sets; a source that is nil makes its route answer 501 and does not keep
// the daemon from starting. Each listener has one Identify, which decides what
// a caller may do. On the unix socket it goes by the uid that the kernel
// reports (SO_PEERCRED). On loopback the caller is unknown: it may only read,
// and a request with a foreign Host name or from another site's page is refused,
// because a page in an operator's browser could otherwise read the gateway (DNS
// rebinding). Every requested change is audited, also if it is refused.
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
	// Audit is called for every requested change; nil: changes are not audited.
	Audit func(message.AuditRecord)
	Log   *slog.Logger
}

// Server answers operators. Use New.
type Server struct {
	o      Options
	socket http.Handler // everything
	local  http.Handler // the part that is served on loopback
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
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends the requests that follow the audit
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
