// Package identity turns credentials into a Principal, or refuses them.
//
// The client id names the identity first. If a record has that name, only the
// one kind of credential that the record names is tried, and everything else that was
// presented (user name, another credential) must name the same principal or be
// absent: there is no fallback, no second chance and no merging of names.
// Everybody else proves themselves with a bearer token, or, for a
// user-defined function, with a token of its own; their client id is a label, which may
// not be a device's name.
//
// An Authenticator is safe for concurrent use. It holds no connection state,
// does no I/O and never waits: what it needs is given by Options as the state of the
// moment. A missing or unreadable state refuses (0x88), it never allows. Secrets reach
// neither an error nor a log.
package identity

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
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
	// Hub is the host name of the hub that this gateway stands for.
	Hub string
	// Topology is the registry of the moment; nil while there is none.
	Topology func() *device.Topology
	// Keys is the key set of the moment.
	Keys func() jwt.Keys
	// Now is the clock by which everything is judged (docs/spec/semantics.md 4.5).
	Now func() time.Time

	Tenants    []jwt.Tenant
	Audiences  []string                  // of the MQTT surface
	Scope      string                    // jwt.DefaultScope if empty
	Algorithms []jose.SignatureAlgorithm // RS256 if empty
	Leeway     time.Duration

	// SASMaxLife is the longest life of a shared access signature from now
	// on; zero refuses all of them.
	SASMaxLife time.Duration
	AllowSHA1  bool
	// Peers are the unix-socket peers. What one listener accepts, another does not.
	Peers map[PeerAt]Peer
}

// PeerAt is a uid of this machine at the socket of a listener.
type PeerAt struct {
	Listener string
	UID      int
}

// Peer is who a uid of this machine is. Name is unique.
type Peer struct {
	Name    string
	Subject model.Subject
}

// Authenticator proves who is at the other end.
type Authenticator struct {
	o      Options
	tokens *jwt.Verifier
	cas    atomic.Pointer[parsedCAs]
}

// parsedCAs are the authorities of one topology; topologies share the list as
// long as it does not change, so it is parsed once.
type parsedCAs struct {
	from []device.CA
	set  *credx509.Authorities
}

// New checks the options.
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

// Authenticate proves c, or refuses it with a *principal.Refusal. It is used
// at CONNECT and again for an MQTT 5 AUTH, whose data the caller puts into a copy of the
// CONNECT's credentials; whether the same principal came out is for the
// caller to compare (Key).
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
	if r := q.readCertificate(); r != nil {
		return nil, r
	}
	if who, ok := nameOf(t, c.ClientID); ok {
		return q.registered(who)
	}
	// A client id that is nobody's is a label. It is put into keys, logs and
	// perhaps topics, so it may not hold what widens one; a slash is legal.
	if err := checkLabel(c.ClientID); err != nil {
		return nil, refuse(message.ClientIdentifierNotValid, "bad-client-id", err.Error())
	}
	switch {
	case q.local():
		return q.peer()
	case q.functionNamed():
		return q.function()
	}
	return q.bearer()
}

// authorities are those of the topology t.
func (a *Authenticator) authorities(t *device.Topology) *credx509.Authorities {
	cas := t.CAs()
	if p := a.cas.Load(); p != nil && sameList(p.from, cas) {
		return p.set
	}
	p := &parsedCAs{from: cas, set: credx509.NewAuthorities(cas)}
	a.cas.Store(p)
	return p.set
}

// Problems names the certificate authorities of the moment that are not used
// or are out of date, for health.
func (a *Authenticator) Problems() []error {
	t := a.o.Topology()
	if t == nil {
		return nil
	}
	return a.authorities(t).Problems(a.o.Now())
}

func sameList(a, b []device.CA) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func refuse(code byte, reason, detail string) *principal.Refusal {
	return &principal.Refusal{Code: code, Reason: reason, Detail: detail}
}

// keyID names a shared key without revealing it, so that a rolled key is
// recognised wherever it stands in the record.
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
