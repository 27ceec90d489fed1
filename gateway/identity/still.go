package identity

import (
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Still returns nil if the credential that proved p would be accepted now, and otherwise why
// the connection must end. It is called for every connected principal when the registry, the
// key set or the configuration changes, and when a credential expires. A device that was
// deleted and created again under the same name is a different device.
//
// Expiry is reported only if there is no other reason, because it ends a connection more
// gently: the will is published and the stored session is kept, which a revoked, disabled or
// deleted principal must not get.
func (a *Authenticator) Still(p *principal.Principal) *principal.Refusal {
	switch p.Kind {
	case principal.Upstream, principal.Gateway:
		return nil
	}
	if r := a.stillGood(p); r != nil {
		return r
	}
	if !p.Expires.IsZero() && !p.Expires.After(a.o.Now()) {
		return gone("expired")
	}
	return nil
}

// stillGood is Still without the check for expiry.
func (a *Authenticator) stillGood(p *principal.Principal) *principal.Refusal {
	t := a.o.Topology()
	if t == nil {
		return refuse(message.ServerUnavailable, "no-registry", "")
	}
	switch p.Kind {
	case principal.Device, principal.Module:
		return a.stillRegistered(t, p)
	case principal.Function:
		id, err := space.ParseID(strings.TrimPrefix(p.Key, "function:"))
		if err != nil {
			return gone("unknown-function")
		}
		f, ok := t.Function(id)
		if !ok {
			return gone("unknown-function")
		}
		return a.stillProved(t, p, f.Auth, space.Path{})
	case principal.User, principal.ServicePrincipal:
		if !a.o.Keys().Has(p.CredentialID) {
			return gone("unknown-signing-key")
		}
		return nil
	case principal.Local:
		for _, peer := range a.o.Peers {
			if peer.Name == p.CredentialID {
				return nil
			}
		}
		return gone("unknown-uid")
	}
	return gone("unknown-kind")
}

func (a *Authenticator) stillRegistered(t *device.Topology, p *principal.Principal) *principal.Refusal {
	d, ok := t.DeviceByHubID(p.DeviceID)
	switch {
	case !ok && t.HubIDClaimed(p.DeviceID):
		return gone("record-refused")
	case !ok || d.ID != p.Node:
		return gone("unknown-device")
	case d.Status != device.Active:
		return gone("not-active")
	}
	auth := d.Auth
	if p.Kind == principal.Module {
		m, ok := d.Module(p.ModuleID)
		if !ok {
			return gone("unknown-module")
		}
		auth = m.Auth
	}
	return a.stillProved(t, p, auth, t.DevicePath(d))
}

func (a *Authenticator) stillProved(t *device.Topology, p *principal.Principal, auth device.Auth, at space.Path) *principal.Refusal {
	thumb, rest, _ := strings.Cut(p.CredentialID, sep)
	switch {
	case auth.Kind == device.AuthSAS && p.Credential == principal.SAS:
		for _, k := range []device.Secret{auth.Primary, auth.Secondary} {
			if len(k) > 0 && keyID(k) == rest {
				return nil
			}
		}
		return gone("wrong-key")
	case auth.Kind == device.AuthSelfSigned && p.Credential == principal.X509SelfSigned:
		if print256, err := device.ParseThumbprint(thumb); err == nil && slices.Contains(auth.Thumbprints, print256) {
			return nil
		}
		if old, err := device.ParseThumbprintSHA1(rest); err == nil && a.o.AllowSHA1 && slices.Contains(auth.ThumbprintsSHA1, old) {
			return nil
		}
		return gone("unknown-certificate")
	case auth.Kind == device.AuthCA && p.Credential == principal.X509CA:
		if err := a.authorities(t).Good(pathOf(p.CredentialID), at); err != nil {
			return gone(certificateReason(err))
		}
		// That the certificate has since been registered for another record ends nothing.
		if print256, err := device.ParseThumbprint(thumb); err == nil {
			a.noteShared(t, print256, clientIDOf(p), p.Node)
		}
		return nil
	}
	return gone("wrong-credential-kind")
}

// clientIDOf is the only client id that a device or module may have.
func clientIDOf(p *principal.Principal) string { return name{p.DeviceID, p.ModuleID}.String() }

func gone(why string) *principal.Refusal { return refuse(message.NotAuthorized, why, "") }
