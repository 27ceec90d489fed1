package main

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/cmd/managementd/internal/hub"
	"github.com/gatehouse/gatehouse/cmd/managementd/internal/issuer"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/gateway/identity"
	"github.com/gatehouse/gatehouse/sync/management"
)

// callers proves who sends a request: a bearer token, or a device's
// SharedAccessSignature (docs/spec/semantics.md 7).
type callers struct {
	verifier  *jwt.Verifier
	arm       *jwt.Verifier // for tokens of Azure Resource Manager
	authority *issuer.Issuer
	api       *management.Server
}

var (
	errNoCredential = errors.New("no usable Authorization header")
	errEnded        = errors.New("the managed identity is switched off")
)

func newCallers(s settings, signer *jwt.Issuer, authority *issuer.Issuer) (*callers, error) {
	set, err := signer.JWKS()
	if err != nil {
		return nil, err
	}
	keys, _, err := jwt.ParseKeys(set)
	if err != nil {
		return nil, err
	}
	verifier := func(audiences ...string) (*jwt.Verifier, error) {
		return jwt.NewVerifier(jwt.Options{
			Tenants:   []jwt.Tenant{{ID: s.Tenant, Issuers: signer.URLs(), VerifiedDomains: s.Issuer.VerifiedDomains}},
			Audiences: audiences, Keys: func() jwt.Keys { return keys }, Now: time.Now,
		})
	}
	c := &callers{authority: authority}
	if c.verifier, err = verifier(s.Issuer.managementAudiences()...); err != nil {
		return nil, err
	}
	c.arm, err = verifier(append(issuer.BothSpellings(authority.ARM()), s.ARM.Audiences...)...)
	return c, err
}

func (c *callers) authenticate(r *http.Request) (management.Caller, error) {
	if management.IsDeviceToken(r) {
		return c.api.AuthenticateDevice(r)
	}
	subject, err := c.bearer(c.verifier, r)
	return management.Caller{Subject: subject, Name: subject.Object.String()}, err
}

// authenticateARM proves who sends a request to Azure Resource Manager.
func (c *callers) authenticateARM(r *http.Request) (model.Subject, error) { return c.bearer(c.arm, r) }

func (c *callers) bearer(v *jwt.Verifier, r *http.Request) (model.Subject, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return model.Subject{}, errNoCredential
	}
	claims, err := v.Verify(strings.TrimSpace(token))
	if err != nil {
		return model.Subject{}, err
	}
	if c.authority.Ended(claims.Object) {
		return model.Subject{}, errEnded
	}
	return identity.Subject(claims), nil
}

// identities is the development hub's look-up of devices, in the management API's store.
func identities(api *management.Server) func(hub.ID) (hub.Identity, bool) {
	return func(id hub.ID) (hub.Identity, bool) {
		d, ok := api.DeviceByHubID(id.Device)
		if !ok || d.Status != device.Active {
			return hub.Identity{}, false
		}
		auth := d.Auth
		if id.Module != "" {
			m, ok := d.Module(id.Module)
			if !ok {
				return hub.Identity{}, false
			}
			auth = m.Auth
		}
		var known hub.Identity
		for _, key := range []device.Secret{auth.Primary, auth.Secondary} {
			if len(key) > 0 {
				known.Keys = append(known.Keys, key)
			}
		}
		for _, t := range auth.Thumbprints {
			known.Thumbprints = append(known.Thumbprints, t)
		}
		return known, true
	}
}
