package identity

import (
	"errors"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/credential/sas"
	credx509 "github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// The MQTT 5 authentication methods: with BearerMethod the authentication data is a bearer
// token, with SASMethod a shared access signature. Either can also be sent as the password.
const (
	BearerMethod = "OAUTH2-JWT" //nolint:gosec // the name of a method, not a secret
	SASMethod    = "SAS"
)

// request is one authentication, judged against one state of the registry.
type request struct {
	*principal.Credentials
	auth *Authenticator
	top  *device.Topology
	now  time.Time

	secret string // password or authentication data
}

// readSecret finds the secret: the password or the authentication data. A client that sends
// both is refused, even if both would be accepted.
func (q *request) readSecret() *principal.Refusal {
	switch {
	case q.AuthMethod == "" && len(q.AuthData) > 0:
		return refuse(message.ProtocolError, "auth-data-without-method", "")
	case q.AuthMethod == "":
		if q.HasPass {
			q.secret = string(q.Password)
		}
		return nil
	case q.AuthMethod != BearerMethod && q.AuthMethod != SASMethod:
		return refuse(message.BadAuthenticationMethod, "unknown-auth-method", "")
	case q.HasPass && len(q.Password) > 0:
		return refuse(message.BadUserNameOrPassword, "two-credentials", "a password and authentication data")
	}
	q.secret = string(q.AuthData)
	if (q.AuthMethod == SASMethod) != sas.Looks(q.secret) {
		return refuse(message.BadUserNameOrPassword, "bad-credentials", "authentication data of another method")
	}
	return nil
}

// certificateElse refuses a client certificate beside a password that proved somebody else than the
// device or module which the certificate would connect: its one common name is the name of a record
// that names an authority, and an authority for this place has issued it. own is the device or module
// that the password proved, zero for anybody else.
//
// Nothing else that another record says of the certificate counts. Whoever may register a device
// could otherwise enter the thumbprint of any certificate and so shut its owner out.
func (q *request) certificateElse(own name) *principal.Refusal {
	leaf := leafOf(q.Credentials)
	if leaf == nil {
		return nil
	}
	cn, _ := credx509.CommonName(leaf)
	n, ok := nameOf(q.top, cn)
	if !ok || n == own {
		return nil
	}
	if d, auth, r := q.record(n); r == nil && auth.Kind == device.AuthCA {
		if _, err := q.vouched(d, n); err == nil { // else no authority has issued it for that device, and it names nobody
			return refuse(message.BadUserNameOrPassword, "two-principals", "the certificate names another than the password")
		}
	}
	return nil
}

// local reports whether the peer is a process of this machine. A connection with a network
// address or with TLS is not, whatever its uid field holds.
func (q *request) local() bool {
	return q.PeerUID >= 0 && !q.Remote.IsValid() && q.TLS == nil
}

// peer authenticates a process of this machine by its uid, which the kernel reports.
func (q *request) peer() (*principal.Principal, *principal.Refusal) {
	p, ok := q.auth.o.Peers[PeerAt{q.Listener, q.PeerUID}]
	if !ok {
		return nil, refuse(message.NotAuthorized, "unknown-uid", "")
	}
	if q.secret != "" {
		return nil, refuse(message.BadUserNameOrPassword, "two-credentials", "a uid and a password")
	}
	return &principal.Principal{
		Kind:         principal.Local,
		Key:          "local:" + p.Name,
		Name:         p.Name,
		Subject:      p.Subject,
		Credential:   principal.PeerUID,
		CredentialID: p.Name,
	}, nil
}

// bearerShown reports whether the secret is a bearer token, good or bad.
func (q *request) bearerShown() bool { return q.AuthMethod == BearerMethod || jwt.Looks(q.secret) }

// functionShown reports whether user name and signature both name one user-defined function. No
// device or module has such a signature, whatever its id is.
func (q *request) functionShown() bool {
	id, ok := functionName(q.Username, q.auth.o.Hub)
	if !ok || !sas.Looks(q.secret) {
		return false
	}
	t, err := sas.Parse(q.secret)
	return err == nil && t.For(sas.Function(q.auth.o.Hub, id))
}

func (q *request) function() (*principal.Principal, *principal.Refusal) {
	text, _ := functionName(q.Username, q.auth.o.Hub)
	id, err := space.ParseID(text)
	if err != nil {
		return nil, refuse(message.BadUserNameOrPassword, "unknown-function", "")
	}
	f, ok := q.top.Function(id)
	if !ok {
		return nil, refuse(message.BadUserNameOrPassword, "unknown-function", "")
	}
	if f.Auth.Kind != device.AuthSAS {
		return nil, refuse(message.BadUserNameOrPassword, "no-credential-registered", "")
	}
	// The signature covers the id as the client wrote it, in upper or lower case.
	proof, r := q.verifySAS(sas.Function(q.auth.o.Hub, text), f.Auth)
	if r == nil {
		r = q.certificateElse(name{})
	}
	if r != nil {
		return nil, r
	}
	p := &principal.Principal{Kind: principal.Function, Key: "function:" + id.String(), Name: f.Name}
	p.Subject.Is(model.Identity{Kind: model.UserDefinedFunctionID, Object: id})
	proof.put(p)
	return p, nil
}

// bearer authenticates a user or a service principal by its bearer token.
func (q *request) bearer() (*principal.Principal, *principal.Refusal) {
	switch {
	case q.secret == "" && leafOf(q.Credentials) == nil:
		return nil, refuse(message.BadUserNameOrPassword, "no-credentials", "")
	case q.secret == "" || sas.Looks(q.secret):
		return nil, refuse(message.BadUserNameOrPassword, "unknown-device", "no device has this client id")
	}
	c, err := q.auth.tokens.Verify(q.secret)
	if err != nil {
		if errors.Is(err, jwt.ErrKey) && q.auth.o.Keys().Len() == 0 {
			return nil, refuse(message.ServerUnavailable, "no-key-set", "no key to verify tokens with")
		}
		return nil, refuse(message.BadUserNameOrPassword, TokenReason(err), err.Error())
	}
	if r := q.certificateElse(name{}); r != nil {
		return nil, r
	}
	p, ok := Bearer(c)
	if !ok {
		return nil, refuse(message.BadUserNameOrPassword, "wrong-token-kind", "")
	}
	return p, nil
}

// Bearer returns the principal that a verified token proves, on MQTT and on REST alike; false
// for a kind of token that proves none.
func Bearer(c *jwt.Claims) (*principal.Principal, bool) {
	p := &principal.Principal{
		Name:         c.Name,
		Subject:      Subject(c),
		Credential:   principal.JWT,
		CredentialID: c.KeyID,
		Expires:      c.Expires,
	}
	owner := c.Tenant.String() + "/" + c.Object.String()
	switch c.Kind {
	case jwt.User:
		p.Kind, p.Key = principal.User, "user:"+owner
	case jwt.ServicePrincipal:
		p.Kind, p.Key = principal.ServicePrincipal, "sp:"+owner
	default:
		return nil, false
	}
	return p, true
}

// Subject returns the identities of a verified token by which rights are decided: user, tenant
// and verified domain for a member of the tenant, only the user for a guest.
func Subject(c *jwt.Claims) model.Subject {
	s := model.Subject{Object: c.Object, Groups: c.Groups, GroupsKnown: c.GroupsKnown}
	if c.Kind == jwt.ServicePrincipal {
		s.Identities = []model.Identity{{Kind: model.ServicePrincipalID, Object: c.Object, Tenant: c.Tenant}}
		return s
	}
	s.Identities = []model.Identity{{Kind: model.UserID, Object: c.Object, Tenant: c.Tenant}}
	if c.Member {
		s.Identities = append(s.Identities, model.Identity{Kind: model.TenantID, Object: c.Tenant})
		if c.Domain != "" {
			s.Identities = append(s.Identities, model.Identity{Kind: model.DomainName, Domain: c.Domain, Tenant: c.Tenant})
		}
	}
	return s
}
