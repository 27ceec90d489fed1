package admin

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"

	"golang.org/x/sys/unix"
)

// Caller is who asks.
type Caller struct {
	Name string // for the audit: "uid:1000", "loopback"
	May  Permission
}

// Identify says who a request is from and what that caller may do. An error, or
// None, refuses it.
type Identify func(*http.Request) (Caller, error)

type (
	peerKey   struct{}
	callerKey struct{}
)

// withPeer adds to the context of a unix socket's connection the uid of the
// process at its other end, as the kernel reports it.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || credErr != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, int(cred.Uid))
}

// peerCaller: whoever could open the socket may read; root, the daemon's own
// user and the configured operators may change things.
func (s *Server) peerCaller(r *http.Request) (Caller, error) {
	uid, ok := r.Context().Value(peerKey{}).(int)
	if !ok {
		return Caller{}, &Error{
			Status: http.StatusForbidden,
			What:   "the kernel does not say who is calling",
			Next:   "use the unix socket of this machine",
		}
	}
	c := Caller{Name: fmt.Sprintf("uid:%d", uid), May: Read}
	if uid == 0 || uid == s.o.Owner || slices.Contains(s.o.Operators, uid) {
		c.May = Operate
	}
	return c, nil
}

// loopbackCaller lets every process on this machine read. It refuses what a page
// of another site could send from an operator's browser: requests to another
// name that resolves to this machine (by Host), and requests that come from a
// link or script of that page (by Sec-Fetch-Site).
func loopbackCaller(r *http.Request) (Caller, error) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if host != "localhost" && host != "127.0.0.1" && host != "[::1]" && host != "::1" {
		return Caller{}, &Error{
			Status: http.StatusForbidden,
			What:   fmt.Sprintf("this page is not %q", clip(r.Host)),
			Next:   "open it as http://127.0.0.1:PORT or http://localhost:PORT",
		}
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		return Caller{}, &Error{Status: http.StatusForbidden, What: "another site's page may not read this", Next: "open the address yourself"}
	}
	return Caller{Name: "loopback", May: Read}, nil
}

func (s *Server) identified(h http.Handler, identify Identify) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := identify(r)
		if err == nil && c.May == None {
			err = &Error{Status: http.StatusForbidden, What: "no permission", Next: "ask for the right to read this gateway"}
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
	})
}

func caller(r *http.Request) Caller {
	c, _ := r.Context().Value(callerKey{}).(Caller)
	return c
}

// loopback is the handler of the loopback listener: the routes that only read,
// the status page, the metrics and the health.
func (s *Server) loopback() http.Handler {
	m := s.mux(Read)
	m.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if s.o.Sources.Health == nil {
			s.fail(w, r, errNotPlugged("health"))
			return
		}
		h, err := s.o.Sources.Health(r.Context())
		if err != nil {
			s.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if h.State == "failing" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = fmt.Fprintln(w, h.State)
	})
	if s.o.Metrics != nil {
		m.Handle("GET /metrics", s.o.Metrics)
	}
	if s.o.Console != nil {
		m.Handle("/", s.o.Console) // it refuses other methods itself: "GET /" would collide with "/v1/"
	}
	return m
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
