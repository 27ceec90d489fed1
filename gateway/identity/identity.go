// Package identity authenticates credentials: it turns them into a Principal, or refuses them.
//
// The credential says of which kind the client is. A bearer token proves a user or a service
// principal, a shared access signature for a function proves that function, and the uid of a
// process of this machine proves the peer that the configuration names. To all of these the client
// id is only a label, so that nobody loses it to a device record that is created later.
//
// Everybody else is a device or module, and the client id names its record. Only the kind of
// credential that this record names is tried, without fallback to another kind, and it is compared
// with nothing but this record: a thumbprint in another record proves nothing and refuses nobody.
// Whatever else the client presented (a user name, a certificate beside a password) must name the
// same principal or be absent.
//
// An Authenticator is safe for concurrent use. It holds no connection state, does no I/O and
// never waits: Options give it the current state of everything it needs. If that state is
// missing or unreadable, authentication is refused (0x88), never granted. No secret appears in
// an error or a log.
package identity

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	credx509 "github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Options of an Authenticator.
type Options struct {
	// Hub is the host name of the IoT hub that this gateway stands for. Shared access signatures
	// are issued for it.
	Hub string
	// Topology returns the current registry; nil while there is none.
	Topology func() *device.Topology
	// Keys returns the current key set by which bearer tokens are verified.
	Keys func() jwt.Keys
	// Now is the clock by which credentials are judged (docs/spec/semantics.md 4.5).
	Now func() time.Time

	Tenants    []jwt.Tenant
	Audiences  []string                  // accepted in bearer tokens of MQTT clients
	Scope      string                    // jwt.DefaultScope if empty
	Algorithms []jose.SignatureAlgorithm // RS256 if empty
	Leeway     time.Duration

	// SASMaxLife is how far in the future a shared access signature may expire. Zero refuses all
	// of them.
	SASMaxLife time.Duration
	AllowSHA1  bool
	// MissingEKU accepts certificates of registered authorities that do not limit their use.
	MissingEKU bool
	// Served returns the certificate that a listener serves, nil if it has none. A device with a
	// certificate may begin its user name with one of the DNS names in it. Nil: none.
	Served func(listener string) *x509.Certificate
	// SharedFound is called after SharedCertificates has a new entry. It must not wait. Nil: nobody.
	SharedFound func()
	// Peers maps processes of this machine to principals, separately for each unix-socket
	// listener.
	Peers map[PeerAt]Peer
}

// PeerAt is a uid of this machine that connects to a given listener.
type PeerAt struct {
	Listener string
	UID      int
}

// Peer is the principal that a uid of this machine stands for. Name is unique.
type Peer struct {
	Name    string
	Subject model.Subject
}

// Authenticator authenticates clients. Use New.
type Authenticator struct {
	o      Options
	tokens *jwt.Verifier
	cas    atomic.Pointer[parsedCAs]
	shared sharedCertificates
}

// parsedCAs are the parsed certificate authorities of a topology. Topologies share the list
// while it does not change, so it is parsed once for all of them.
type parsedCAs struct {
	from []device.CA
	set  *credx509.Authorities
}

// New checks the options and returns an Authenticator. It does no I/O.
func New(o Options) (*Authenticator, error) {
	if o.Hub == "" || o.Topology == nil || o.Keys == nil || o.Now == nil {
		return nil, errors.New("identity: hub, topology, keys and clock are needed")
	}
	uids := make(map[string]int)
	for at, p := range o.Peers {
		if uid, taken := uids[p.Name]; p.Name == "" || taken && uid != at.UID {
			return nil, errors.New("identity: each peer needs a name of its own")
		}
		uids[p.Name] = at.UID
	}
	v, err := jwt.NewVerifier(jwt.Options{
		Tenants:    o.Tenants,
		Audiences:  o.Audiences,
		Scope:      o.Scope,
		Algorithms: o.Algorithms,
		Leeway:     o.Leeway,
		Keys:       o.Keys,
		Now:        o.Now,
	})
	if err != nil {
		return nil, err
	}
	return &Authenticator{o: o, tokens: v}, nil
}

// Authenticate returns the principal that c proves, or a *principal.Refusal. It is called at
// CONNECT, and again for an MQTT 5 AUTH packet, for which the caller puts the packet's data
// into a copy of the CONNECT's credentials and compares the principals by Key.
func (a *Authenticator) Authenticate(_ context.Context, c *principal.Credentials) (*principal.Principal, error) {
	p, r := a.authenticate(c)
	if r != nil {
		return nil, r
	}
	return p, nil
}

func (a *Authenticator) authenticate(c *principal.Credentials) (*principal.Principal, *principal.Refusal) {
	t := a.o.Topology()
	if t == nil {
		return nil, refuse(message.ServerUnavailable, "no-registry", "nothing is known yet about devices")
	}
	q := &request{Credentials: c, auth: a, top: t, now: a.o.Now()}
	if r := q.readSecret(); r != nil {
		return nil, r
	}
	who, recorded := nameOf(t, c.ClientID)
	if recorded && !q.local() && !q.bearerShown() && !q.functionShown() {
		return q.registered(who)
	}
	// The client id is only a label. It becomes part of keys, logs and sometimes topics, so
	// wildcards and control characters are refused. A slash is legal.
	if err := checkLabel(c.ClientID); err != nil {
		return nil, refuse(message.ClientIdentifierNotValid, "bad-client-id", err.Error())
	}
	_, function := functionName(c.Username, a.o.Hub)
	switch {
	case q.local():
		return q.peer()
	case function && !q.bearerShown():
		return q.function()
	}
	return q.bearer()
}

// authorities returns the parsed certificate authorities of the topology t.
func (a *Authenticator) authorities(t *device.Topology) *credx509.Authorities {
	cas := t.CAs()
	if p := a.cas.Load(); p != nil && sameList(p.from, cas) {
		return p.set
	}
	p := &parsedCAs{from: cas, set: credx509.NewAuthorities(cas)}
	p.set.MissingEKU = a.o.MissingEKU
	a.cas.Store(p)
	return p.set
}

// Problems returns an error for each certificate authority of the registry that is not used or
// is out of date, for health.
func (a *Authenticator) Problems() []error {
	t := a.o.Topology()
	if t == nil {
		return nil
	}
	return a.authorities(t).Problems(a.o.Now())
}

// Ending lists from when until when the certificate authorities of the registry are good, those aside
// that Problems names.
func (a *Authenticator) Ending() []credx509.Validity {
	t := a.o.Topology()
	if t == nil {
		return nil
	}
	now := a.o.Now()
	return slices.DeleteFunc(a.authorities(t).Validities(), func(v credx509.Validity) bool {
		return now.Before(v.NotBefore) || now.After(v.NotAfter)
	})
}

func sameList(a, b []device.CA) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func refuse(code byte, reason, detail string) *principal.Refusal {
	return &principal.Refusal{Code: code, Reason: reason, Detail: detail}
}

// keyID names a shared key without revealing it. It does not depend on whether the record holds
// the key as primary or secondary, so swapping the two ends no connection.
func keyID(key device.Secret) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("gatehouse: name of this key"))
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func leafOf(c *principal.Credentials) *x509.Certificate {
	if c.TLS == nil || len(c.TLS.PeerCertificates) == 0 {
		return nil
	}
	return c.TLS.PeerCertificates[0]
}
