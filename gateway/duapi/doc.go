// Package duapi is Device Update's REST API, api-version 2022-10-01, as far as
// its four deployment actions go (docs/spec/semantics.md 5.1, docs/spec/device-update.md 2.1):
//
//	GET  /deviceUpdate/{instance}/management/devices/{device}
//	PUT  /deviceUpdate/{instance}/management/groups/{group}/deployments/{deployment}
//	POST /deviceUpdate/{instance}/management/groups/{group}/deviceClassSubgroups/{class}/deployments/{deployment}:cancel
//	POST /deviceUpdate/{instance}/management/groups/{group}/deviceClassSubgroups/{class}/deployments/{deployment}:retry
//
// A request is judged in this order: route (404, 405), token (401),
// api-version and the rest of its form (400), instance (404), right (403).
// Each refusal and each allowed action is audited. Nothing is forwarded or done here before
// it was decided for the instance that the gateway is configured for; a request
// that names another instance is not decided by that one's rights.
//
// What is forwarded is built anew from the parsed request, never copied: one
// path, one api-version, one checked body, and the caller's own token, which goes
// to the configured https host and nowhere else; no redirect is followed.
// When the cloud cannot be reached (no connection was made, so nothing can have
// happened there), the gateway does what it can by itself. When a connection
// broke after it was made, the outcome is unknown and said so (504): doing
// it here as well could do it twice. Only reading falls back then, too.
//
// Offline a deployment is known by its id alone: the gateway knows neither
// groups nor device classes, so cancel and retry act on its own devices that
// have that deployment.
package duapi

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Refused is why a token is not accepted; Reason is a stable code.
type Refused struct{ Reason, Detail string }

func (r *Refused) Error() string { return r.Reason + ": " + r.Detail }

// Gateway is what the gateway itself knows and does.
type Gateway interface {
	// Prove finds out whose the token is; a *Refused otherwise. It does not wait.
	Prove(token string) (*principal.Principal, error)
	// May decides the action at the instance. It does not wait.
	May(ctx context.Context, p *principal.Principal, action update.Action) update.Decision
	// Known tells whether this gateway has the device.
	Known(device string) bool
	// Holders are the gateway's devices for which the deployment waits or is current.
	Holders(deployment string) []string
	// Local does what can be done without the cloud; it decides again.
	Local(ctx context.Context, p *principal.Principal, r update.Request) (update.Answer, error)
}

// Options of a Server.
type Options struct {
	Gateway  Gateway
	Instance string // the configured instance's name
	// Endpoint is the cloud's https host; nil: nothing is forwarded.
	Endpoint *url.URL
	TLS      *tls.Config // towards the cloud; nil: the system's authorities
	// Online tells whether the cloud can be reached; asked only without an Endpoint.
	Online func() bool
	Audit  func(message.AuditRecord)
	Log    *slog.Logger
	Now    func() time.Time
}

// Server is an http.Handler; safe for concurrent use.
type Server struct {
	o     Options
	cloud *http.Client
	turns chan struct{}
}

// The bounds of the surface.
const (
	maxInFlight = 64
	maxRequest  = 64 << 10
	maxAnswer   = 1 << 20
	connectTime = 5 * time.Second
	forwardTime = 30 * time.Second
)

// New checks the options. It does no I/O.
func New(o Options) (*Server, error) {
	if o.Gateway == nil || o.Instance == "" || o.Audit == nil || o.Online == nil {
		return nil, errors.New("duapi: Gateway, Instance, Audit and Online are needed")
	}
	if e := o.Endpoint; e != nil && (e.Scheme != "https" || e.Host == "" || e.User != nil) {
		return nil, errors.New("duapi: the endpoint must be an https host")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Server{o: o, cloud: cloudClient(o.TLS), turns: make(chan struct{}, maxInFlight)}, nil
}

// Close lets go of idle connections to the cloud.
func (s *Server) Close() { s.cloud.CloseIdleConnections() }
