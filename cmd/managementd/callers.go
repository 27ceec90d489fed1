package main

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/cmd/managementd/internal/hub"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/gateway/identity"
	"github.com/gatehouse/gatehouse/sync/management"
)

// callers proves who sends a request: a bearer token, or a device's
// SharedAccessSignature (docs/spec/semantics.md 7).
type callers struct {
	verifier *jwt.Verifier
	api      *management.Server
}

var errNoCredential = errors.New("no usable Authorization header")

func newCallers(s settings, signer *jwt.Issuer) (*callers, error) {
	set, err := signer.JWKS()
	if err != nil {
		return nil, err
	}
	keys, _, err := jwt.ParseKeys(set)
	if err != nil {
		return nil, err
	}
	v, err := jwt.NewVerifier(jwt.Options{
		Tenants:   []jwt.Tenant{{ID: s.Tenant, Issuers: []string{signer.URL()}, VerifiedDomains: s.Issuer.VerifiedDomains}},
		Audiences: []string{s.Issuer.Management}, Keys: func() jwt.Keys { return keys }, Now: time.Now,
	})
	if err != nil {
		return nil, err
	}
	return &callers{verifier: v}, nil
}

func (c *callers) authenticate(r *http.Request) (management.Caller, error) {
	if management.IsDeviceToken(r) {
		return c.api.AuthenticateDevice(r)
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return management.Caller{}, errNoCredential
	}
	claims, err := c.verifier.Verify(strings.TrimSpace(token))
	if err != nil {
		return management.Caller{}, err
	}
	return management.Caller{Subject: identity.Subject(claims), Name: claims.Object.String()}, nil
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
