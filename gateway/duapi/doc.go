// Package duapi serves the part of Device Update's REST API (api-version 2022-10-01) that
// the four deployment actions need (docs/spec/semantics.md 5.1, docs/spec/device-update.md 2.1):
//
//	GET  /deviceUpdate/{instance}/management/devices/{device}
//	PUT  /deviceUpdate/{instance}/management/groups/{group}/deployments/{deployment}
//	POST /deviceUpdate/{instance}/management/groups/{group}/deviceClassSubgroups/{class}/deployments/{deployment}:cancel
//	POST /deviceUpdate/{instance}/management/groups/{group}/deviceClassSubgroups/{class}/deployments/{deployment}:retry
//
// A request is checked in this order: route (404, 405), token (401), api-version
// and the rest of its form (400), instance (404), right (403). A refusal because of
// the token, the instance or the right is audited, and so is every allowed action. Rights
// are decided at the configured instance only, and a request that names another
// instance is refused before, because those rights say nothing about it.
//
// A forwarded request is built anew from the parsed one and never copied: one
// path, one api-version, one checked body, and the caller's own token, which is sent
// to the configured https host only; no redirect is followed.
// If no connection to the cloud could be made, nothing can have happened there,
// and the gateway does what it can by itself. If a connection broke after it was made,
// the outcome is unknown and the answer says so (504), because the gateway could
// otherwise do the same thing a second time. Only a GET is then answered from here.
//
// Without the cloud a deployment is identified by its id alone. The gateway knows
// neither groups nor device classes, so cancel and retry apply to those of its own
// devices that have the deployment.
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

// Refused says why a token is not accepted. Reason is a stable code, for the audit.
type Refused struct{ Reason, Detail string }

func (r *Refused) Error() string { return r.Reason + ": " + r.Detail }

// Gateway is what the API needs of the gateway: to verify tokens, to decide rights, and to carry
// out actions without the cloud.
type Gateway interface {
	// Prove verifies the token and returns its principal. If the token is not accepted, the
	// error is a *Refused. Prove does not wait.
	Prove(token string) (*principal.Principal, error)
	// May decides whether p may do the action at the configured instance. It does not wait.
	May(ctx context.Context, p *principal.Principal, action update.Action) update.Decision
	// Known reports whether the device is in this gateway's registry.
	Known(device string) bool
	// Holders returns the devices of this gateway for which the deployment waits, or which
	// were shown it last.
	Holders(deployment string) []string
	// Local carries out what can be done without the cloud. It decides the right again.
	Local(ctx context.Context, p *principal.Principal, r update.Request) (update.Answer, error)
}

// Options of a Server.
type Options struct {
	Gateway  Gateway
	Instance string // the configured instance's name
	// Endpoint is the https host of Device Update in the cloud; nil: nothing is forwarded.
	Endpoint *url.URL
	TLS      *tls.Config // of connections to Endpoint; nil: the system's authorities are trusted
	// Over is what requests to Endpoint are sent over, made of the transport that New has set up; nil: that itself.
	Over func(*http.Transport) http.RoundTripper
	// Online reports whether the cloud can be reached. It is called only if Endpoint is nil.
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

// The limits of requests, and of what they wait for.
const (
	maxInFlight = 64
	maxRequest  = 64 << 10
	maxAnswer   = 1 << 20
	connectTime = 5 * time.Second
	forwardTime = 30 * time.Second
)

// New checks the options and returns a server. It does no I/O.
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
	return &Server{o: o, cloud: cloudClient(o.TLS, o.Over), turns: make(chan struct{}, maxInFlight)}, nil
}

// Close closes idle connections to the cloud.
func (s *Server) Close() { s.cloud.CloseIdleConnections() }
