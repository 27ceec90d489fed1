package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/url"

	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/duapi"
	"github.com/gatehouse/gatehouse/gateway/identity"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// restActors are the REST listener; none without api.address.
func (d *daemon) restActors() ([]actor, error) {
	c := d.cfg.API
	if c.Address == "" {
		return nil, nil
	}
	server, err := d.restServer()
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	l := tls.NewListener(d.doors.api, d.doors.api.TLS())
	return []actor{{name: "api", run: func(ctx context.Context) error { return server.Serve(ctx, l) }}}, nil
}

func (d *daemon) restServer() (*duapi.Server, error) {
	house, err := d.restHouse()
	if err != nil {
		return nil, err
	}
	o := duapi.Options{
		Gateway: house, Instance: d.cfg.Instance.DeviceUpdate.Name(), Online: d.cloudAnswers,
		Audit: d.ledger.Audit, Log: d.log, Now: d.clock.Now,
	}
	if u := d.cfg.DeviceUpdate; u.Endpoint != "" {
		if o.Endpoint, err = url.Parse(u.Endpoint); err != nil {
			return nil, fmt.Errorf("deviceUpdate.endpoint: %w", err)
		}
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		if u.CA != "" {
			if o.TLS.RootCAs, err = tlsfile.Pool(u.CA); err != nil {
				return nil, fmt.Errorf("deviceUpdate.ca: %w", err)
			}
		}
	}
	return duapi.New(o)
}

// cloudAnswers tells whether the cloud was in sight at the last sync.
func (d *daemon) cloudAnswers() bool {
	return d.replica != nil && d.replica.Status().Health.Code == replica.InStep
}

// restHouse is duapi.Gateway: the tokens of the Device Update audience, and the
// same rights and guard that the deployment topics meet.
type restHouse struct {
	d      *daemon
	tokens *jwt.Verifier
}

var _ duapi.Gateway = (*restHouse)(nil)

func (d *daemon) restHouse() (*restHouse, error) {
	c := d.cfg.Identity
	o := jwt.Options{Audiences: c.Audiences.DeviceUpdate, Scope: c.Scope, Keys: d.keys.Keys, Now: d.clock.Now}
	for _, t := range c.Tenants {
		o.Tenants = append(o.Tenants, jwt.Tenant{ID: t.ID, Issuers: t.Issuers, VerifiedDomains: t.VerifiedDomains})
	}
	tokens, err := jwt.NewVerifier(o)
	if err != nil {
		return nil, err
	}
	return &restHouse{d: d, tokens: tokens}, nil
}

// Prove implements duapi.Gateway.
func (h *restHouse) Prove(token string) (*principal.Principal, error) {
	c, err := h.tokens.Verify(token)
	if err != nil {
		return nil, &duapi.Refused{Reason: identity.TokenReason(err), Detail: err.Error()}
	}
	p, ok := identity.Bearer(c)
	if !ok {
		return nil, &duapi.Refused{Reason: "wrong-token-kind"}
	}
	return p, nil
}

// May implements duapi.Gateway.
func (h *restHouse) May(ctx context.Context, p *principal.Principal, action update.Action) update.Decision {
	return h.d.rights.May(ctx, access.Initiator(p), action, "")
}

// Known implements duapi.Gateway.
func (h *restHouse) Known(id string) bool {
	_, ok := h.d.policy.Topology().DeviceByHubID(id)
	return ok
}

// Holders implements duapi.Gateway.
func (h *restHouse) Holders(deployment string) []string {
	var ids []string
	for _, dev := range h.d.policy.Topology().Data().Devices {
		if dev.HubID == "" || !h.Known(dev.HubID) {
			continue
		}
		s := h.d.guard.State(dev.HubID)
		if s.Pending != nil && s.Pending.ID == deployment || s.Current != nil && s.Current.ID == deployment {
			ids = append(ids, dev.HubID)
		}
	}
	return ids
}

// Local implements duapi.Gateway.
func (h *restHouse) Local(ctx context.Context, p *principal.Principal, r update.Request) (update.Answer, error) {
	r.Who = access.Initiator(p)
	return h.d.guard.Local(ctx, r)
}
