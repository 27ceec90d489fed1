package identity

import (
	"errors"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/credential/sas"
	credx509 "github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// proof is the credential that proved a principal, and when it expires.
type proof struct {
	kind    principal.CredentialKind
	id      string
	expires time.Time
}

func (f proof) put(p *principal.Principal) {
	p.Credential, p.CredentialID, p.Expires = f.kind, f.id, f.expires
}

// record finds the record that a client id names.
func (q *request) record(n name) (*device.Device, *device.Auth, *principal.Refusal) {
	d, ok := q.top.DeviceByHubID(n.device)
	if !ok {
		return nil, nil, refuse(message.BadUserNameOrPassword, "record-refused", "the device's record is not used: see health")
	}
	if n.module == "" {
		return d, &d.Auth, nil
	}
	m, ok := d.Module(n.module)
	if !ok {
		return nil, nil, refuse(message.BadUserNameOrPassword, "unknown-module", "")
	}
	return d, &m.Auth, nil
}

// registered authenticates the device or module that the client id names. The record's status
// is checked last, so that only a client with the right credential learns it.
func (q *request) registered(n name) (*principal.Principal, *principal.Refusal) {
	d, auth, r := q.record(n)
	if r != nil {
		return nil, r
	}
	if q.HasUser && !usernameNames(q.Username, n, func(host string) bool { return q.hostAccepted(host, auth.Kind) }) {
		if q.secret != "" && !sas.Looks(q.secret) {
			return nil, refuse(message.ClientIdentifierNotValid, "client-id-of-device", "someone else under a device's name")
		}
		return nil, refuse(message.BadUserNameOrPassword, "wrong-username", "the user name does not name the client id's principal")
	}
	proof, r := q.prove(d, n, auth)
	if r == nil && proof.kind == principal.SAS {
		r = q.certificateElse(n)
	}
	if r != nil {
		return nil, r
	}
	if d.Status != device.Active {
		return nil, refuse(message.NotAuthorized, "not-active", "")
	}
	p := &principal.Principal{
		Kind:     principal.Device,
		Key:      "device:" + n.device,
		Name:     d.Name,
		DeviceID: n.device,
		ModuleID: n.module,
		Node:     d.ID,
	}
	p.Subject.Is(model.Identity{Kind: model.DeviceID, Object: d.ID})
	if n.module != "" {
		p.Kind, p.Key = principal.Module, "module:"+n.String()
	}
	if p.Name == "" {
		p.Name = n.String()
	}
	proof.put(p)
	return p, nil
}

// prove verifies the one kind of credential that the record names.
func (q *request) prove(d *device.Device, n name, auth *device.Auth) (proof, *principal.Refusal) {
	switch auth.Kind {
	case device.AuthSAS:
		if n.module != "" {
			return q.verifySAS(sas.Module(q.auth.o.Hub, n.device, n.module), *auth)
		}
		return q.verifySAS(sas.Device(q.auth.o.Hub, n.device), *auth)
	case device.AuthSelfSigned, device.AuthCA:
		if q.secret != "" {
			return proof{}, refuse(message.BadUserNameOrPassword, "wrong-credential-kind",
				"the record names a certificate; the password must be empty")
		}
	default:
		return proof{}, refuse(message.BadUserNameOrPassword, "no-credential-registered", "")
	}
	leaf := leafOf(q.Credentials)
	if leaf == nil {
		return proof{}, refuse(message.BadUserNameOrPassword, "no-certificate", "")
	}
	print256 := credx509.Thumbprint(leaf)
	if auth.Kind == device.AuthSelfSigned {
		if err := credx509.SelfSigned(leaf, *auth, q.now, q.auth.o.AllowSHA1); err != nil {
			return proof{}, refuse(message.BadUserNameOrPassword, certificateReason(err), err.Error())
		}
		id := print256.String()
		if q.auth.o.AllowSHA1 {
			// The record may hold the SHA-256 or the SHA-1 thumbprint, and this may change while the
			// client is connected, so the id names both.
			id += sep + credx509.ThumbprintSHA1(leaf).String()
		}
		return proof{principal.X509SelfSigned, id, leaf.NotAfter}, nil
	}
	found, err := q.vouched(d, n)
	if err != nil {
		return proof{}, refuse(message.BadUserNameOrPassword, certificateReason(err), err.Error())
	}
	q.auth.noteShared(q.top, print256, n.String(), d.ID)
	return proof{principal.X509CA, pathID(print256.String(), found.Links), found.Expires}, nil
}

// vouched proves by the authorities for the device's place that the client certificate is that of n,
// which is the device d or a module of it.
func (q *request) vouched(d *device.Device, n name) (credx509.Proof, error) {
	return q.auth.authorities(q.top).Verify(q.TLS.PeerCertificates, n.String(), q.top.DevicePath(d), q.now)
}

func (q *request) verifySAS(r sas.Resource, auth device.Auth) (proof, *principal.Refusal) {
	if q.secret == "" {
		return proof{}, refuse(message.BadUserNameOrPassword, "no-password", "")
	}
	if !sas.Looks(q.secret) {
		return proof{}, refuse(message.BadUserNameOrPassword, "wrong-credential-kind", "the record names a shared access signature")
	}
	keys := []device.Secret{auth.Primary, auth.Secondary}
	t, err := sas.Parse(q.secret)
	if err == nil {
		var i int
		if i, err = t.Verify(r, q.now, q.auth.o.SASMaxLife, keys[0], keys[1]); err == nil {
			return proof{principal.SAS, [...]string{"primary", "secondary"}[i] + sep + keyID(keys[i]), t.Expires()}, nil
		}
	}
	return proof{}, refuse(message.BadUserNameOrPassword, sasReason(err), err.Error())
}

// sep separates the parts of a CredentialID.
const sep = ":"

// pathID names a certificate together with the authorities of the chain that proved it.
func pathID(thumbprint string, links []credx509.Link) string {
	parts := []string{thumbprint}
	for _, l := range links {
		parts = append(parts, l.Issuer, l.Serial)
	}
	return strings.Join(parts, sep)
}

func pathOf(id string) []credx509.Link {
	parts := strings.Split(id, sep)
	var links []credx509.Link
	for i := 1; i+1 < len(parts); i += 2 {
		links = append(links, credx509.Link{Issuer: parts[i], Serial: parts[i+1]})
	}
	return links
}

// reason returns the stable reason code of an error.
func reason(err error, codes map[error]string) string {
	for e, code := range codes {
		if errors.Is(err, e) {
			return code
		}
	}
	return "bad-credentials"
}

func sasReason(err error) string {
	return reason(err, map[error]string{
		sas.ErrMalformed: "malformed-token", sas.ErrPolicy: "policy-token", sas.ErrResource: "wrong-resource",
		sas.ErrSignature: "wrong-key", sas.ErrExpired: "expired", sas.ErrLife: "life-too-long",
	})
}

func certificateReason(err error) string {
	return reason(err, map[error]string{
		credx509.ErrNone: "no-certificate", credx509.ErrThumbprint: "unknown-certificate", credx509.ErrValidity: "expired",
		credx509.ErrUsage: "wrong-usage", credx509.ErrName: "wrong-name", credx509.ErrChain: "untrusted", credx509.ErrRevoked: "revoked",
	})
}

// TokenReason returns the stable reason code that the audit records for a refused bearer token.
func TokenReason(err error) string {
	return reason(err, map[error]string{
		jwt.ErrMalformed: "malformed-token", jwt.ErrAlgorithm: "wrong-algorithm", jwt.ErrKey: "unknown-signing-key",
		jwt.ErrSignature: "wrong-signature", jwt.ErrTenant: "wrong-tenant", jwt.ErrIssuer: "wrong-issuer",
		jwt.ErrAudience: "wrong-audience", jwt.ErrExpired: "expired", jwt.ErrNotYet: "not-yet-valid",
		jwt.ErrKind: "wrong-token-kind", jwt.ErrScope: "scope-missing",
	})
}
