package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"

	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/actors"
	"github.com/gatehouse/gatehouse/gateway/duapi"
	"github.com/gatehouse/gatehouse/gateway/identity"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// restActors is the actor of the REST listener; there is none without api.address.
func (d *daemon) restActors() ([]actors.Actor, error) {
	c := d.cfg.API
	if c.Address == "" {
		return nil, nil
	}
	server, err := d.restServer()
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	l := tls.NewListener(d.doors.api, d.doors.api.TLS())
	return []actors.Actor{{Name: "api", Run: func(ctx context.Context) error { return server.Serve(ctx, l) }}}, nil
}

func (d *daemon) restServer() (*duapi.Server, error) {
	gateway, err := d.restGateway()
	if err != nil {
		return nil, err
	}
	o := duapi.Options{
		Gateway: gateway, Instance: d.cfg.Instance.DeviceUpdate.Name(), Online: d.cloudAnswers,
		Audit: d.ledger.Audit, Log: d.log, Now: d.clock.Now,
	}
	if u := d.cfg.DeviceUpdate; u.Endpoint != "" {
		if o.Endpoint, err = url.Parse(u.Endpoint); err != nil {
			return nil, fmt.Errorf("deviceUpdate.endpoint: %w", err)
		}
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		o.Over = func(t *http.Transport) http.RoundTripper { return tlsfile.Trusting(u.CA, t) }
	}
	return duapi.New(o)
}

// cloudAnswers tells whether the cloud answered at the last sync.
func (d *daemon) cloudAnswers() bool {
	return d.replica != nil && d.replica.Status().Health.Code == replica.InStep
}

// restGateway makes the parts of the REST API. It accepts tokens of the Device Update
// audience, and decides by the same rights and the same guard as the deployment topics.
func (d *daemon) restGateway() (*duapi.Parts, error) {
	c := d.cfg.Identity
	tokens, err := jwt.NewVerifier(jwt.Options{
		Tenants:   identity.Tenants(c),
		Audiences: c.Audiences.DeviceUpdate,
		Scope:     c.Scope,
		Keys:      d.keys.Keys,
		Now:       d.clock.Now,
	})
	if err != nil {
		return nil, err
	}
	return &duapi.Parts{
		Token: func(token string) (*principal.Principal, error) {
			c, err := tokens.Verify(token)
			if err != nil {
				return nil, &duapi.Refused{Reason: identity.TokenReason(err), Detail: err.Error()}
			}
			p, ok := identity.Bearer(c)
			if !ok {
				return nil, &duapi.Refused{Reason: "wrong-token-kind"}
			}
			return p, nil
		},
		Initiator: access.Initiator,
		Rights:    d.rights,
		Guard:     d.guard,
		Topology:  d.policy.Topology,
	}, nil
}
