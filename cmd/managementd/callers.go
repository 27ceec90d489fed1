package main

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/cmd/managementd/internal/hub"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/credential/sas"
	"github.com/gatehouse/gatehouse/gateway/identity"
	"github.com/gatehouse/gatehouse/sync/management"
)

// maxTokenLife bounds how far ahead a device's token may reach.
const maxTokenLife = 366 * 24 * time.Hour

// callers proves who sends a request: a bearer token, or a device's
// SharedAccessSignature (semantics.md 7).
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
	header := r.Header.Get("Authorization")
	scheme, rest, _ := strings.Cut(header, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		claims, err := c.verifier.Verify(strings.TrimSpace(rest))
		if err != nil {
			return management.Caller{}, err
		}
		return management.Caller{Subject: identity.Subject(claims), Name: claims.Object.String()}, nil
	case strings.EqualFold(scheme, "SharedAccessSignature"):
		return c.device(header)
	}
	return management.Caller{}, errNoCredential
}

// device accepts a Digital Twins device token as that DeviceId.
func (c *callers) device(header string) (management.Caller, error) {
	token, err := sas.ParseDeviceToken(header)
	if err != nil {
		return management.Caller{}, err
	}
	d, ok := c.api.DeviceByHardwareID(token.ID)
	if !ok || d.Status != device.Active {
		return management.Caller{}, errNoCredential
	}
	key, ok := c.api.KeyFor(d.Space, token.KeyVersion)
	if !ok {
		return management.Caller{}, errNoCredential
	}
	if err := token.Verify(key, time.Now(), maxTokenLife); err != nil {
		return management.Caller{}, err
	}
	return management.Caller{
		Subject: model.Subject{Identities: []model.Identity{{Kind: model.DeviceID, Object: d.ID}}},
		Name:    d.HubID,
	}, nil
}

// identities is how the development hub looks devices up.
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
