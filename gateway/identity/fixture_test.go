package identity

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/credential/sas"
	credx509 "github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

const (
	hub      = "demo-hub.azure-devices.net"
	audience = "api://gatehouse"
	hour     = time.Hour
)

var (
	now    = time.Unix(1800000000, 0)
	home   = space.MustID("7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001")
	ann    = space.MustID("3cdfde07-bc16-40d9-bed3-66d49a8f52ae")
	funcID = space.MustID("dfaac54c-f583-4dd2-b45d-8d4bbc0aa1ac")
	floor  = space.ID{1}
	attic  = space.ID{2}
	keyOf  = func(s string) device.Secret { return device.Secret("key of " + s + ", 32 bytes or thereabouts") }
	signer = sync.OnceValue(func() *rsa.PrivateKey { return must(jwt.NewKey()) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// fixture is a gateway's world: a registry, a key set, certificates.
type fixture struct {
	data   device.Data
	top    *device.Topology
	keys   jwt.Keys
	now    time.Time
	issuer *jwt.Issuer
	root   credx509.Pair
	certs  map[string]credx509.Pair
	auth   *Authenticator
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{now: now, certs: make(map[string]credx509.Pair)}
	clock := func() time.Time { return f.now }
	start := now.Add(-hour)
	f.root = must(credx509.NewCA("root", start, 1000*hour))
	for _, n := range []string{"self1", "self2", "selfmod"} {
		f.certs[n] = must(credx509.NewSelfSigned(n, start, 100*hour))
	}
	for _, n := range []string{"ca1", "ca2", "sas1", "ca1/m", "nobody"} {
		f.certs[n] = must(f.root.Client(n, start, 100*hour, nil))
	}
	pinned := func(n string) device.Auth {
		return device.Auth{Kind: device.AuthSelfSigned, Thumbprints: []device.Thumbprint{credx509.Thumbprint(f.certs[n].Cert)}}
	}
	sasAuth := func(n string) device.Auth {
		return device.Auth{Kind: device.AuthSAS, Primary: keyOf(n), Secondary: keyOf(n + " 2")}
	}
	dev := func(n byte, hubID string, a device.Auth, mods ...device.Module) device.Device {
		return device.Device{
			ID:      space.ID{n, 15: n},
			HubID:   hubID,
			Name:    hubID,
			Space:   floor,
			Status:  device.Active,
			Auth:    a,
			Modules: mods,
		}
	}
	f.data = device.Data{
		Spaces: []device.Space{{ID: floor}, {ID: attic}},
		Devices: []device.Device{
			dev(10, "sas1", sasAuth("sas1"), device.Module{ID: "m", Auth: sasAuth("sas1/m")}),
			dev(11, "sas10", sasAuth("sas10")),
			dev(12, "self1", pinned("self1"), device.Module{ID: "m", Auth: pinned("selfmod")}),
			dev(13, "self2", pinned("self2")),
			dev(14, "ca1", device.Auth{Kind: device.AuthCA}, device.Module{ID: "m", Auth: device.Auth{Kind: device.AuthCA}}),
			dev(15, "ca2", device.Auth{Kind: device.AuthCA}),
			dev(16, "dup", sasAuth("dup")), dev(17, "dup", sasAuth("dup")),
			dev(18, "none", device.Auth{}),
		},
		Functions: []device.Function{{ID: funcID, Name: "f", Space: floor, Auth: sasAuth("f")}},
		CAs:       []device.CA{{ID: space.ID{9}, Path: space.Root.Join(floor), DER: f.root.Cert.Raw}},
	}
	f.rebuild()
	f.issuer = must(jwt.NewIssuer(signer(), home, "", clock))
	f.keys, _, _ = jwt.ParseKeys(must(f.issuer.JWKS()))
	f.auth = must(New(Options{
		Hub:        hub,
		Topology:   func() *device.Topology { return f.top },
		Keys:       func() jwt.Keys { return f.keys },
		Now:        clock,
		Tenants:    []jwt.Tenant{{ID: home, VerifiedDomains: []string{"example.com"}}},
		Audiences:  []string{audience},
		SASMaxLife: 24 * hour,
		Peers:      map[PeerAt]Peer{{"local", 1000}: {Name: "admin", Subject: model.Subject{Object: ann}}},
	}))
	return f
}

func (f *fixture) rebuild() { f.top, _ = device.NewTopology(f.data, device.Options{}) }

// change edits one device and rebuilds.
func (f *fixture) change(hubID string, edit func(*device.Device)) {
	for i := range f.data.Devices {
		if f.data.Devices[i].HubID == hubID {
			edit(&f.data.Devices[i])
		}
	}
	f.rebuild()
}

func (f *fixture) token(m jwt.Mint) string {
	if m.Audience == "" {
		m.Audience = audience
	}
	if m.Life == 0 {
		m.Life = hour
	}
	if m.Kind == jwt.NoPrincipal {
		m.Kind = jwt.User
	}
	m.Object = ann
	return must(f.issuer.Mint(m))
}

func deviceToken(id, key string) string {
	return sas.Issue(sas.Device(hub, id), keyOf(key), now.Add(hour))
}

// creds are network credentials with a client id; the options add to them.
func creds(clientID string, with ...func(*principal.Credentials)) *principal.Credentials {
	c := &principal.Credentials{
		Listener: "mqtts",
		Remote:   netip.MustParseAddrPort("192.0.2.1:1"),
		PeerUID:  -1,
		Version:  4,
		ClientID: clientID,
	}
	for _, w := range with {
		w(c)
	}
	return c
}

func user(s string) func(*principal.Credentials) {
	return func(c *principal.Credentials) { c.HasUser, c.Username = true, s }
}

func pass(s string) func(*principal.Credentials) {
	return func(c *principal.Credentials) { c.HasPass, c.Password = true, []byte(s) }
}

func method(name, data string) func(*principal.Credentials) {
	return func(c *principal.Credentials) { c.Version, c.AuthMethod, c.AuthData = 5, name, []byte(data) }
}

func cert(ps ...credx509.Pair) func(*principal.Credentials) {
	return func(c *principal.Credentials) {
		c.TLS = &tls.ConnectionState{}
		for _, p := range ps {
			c.TLS.PeerCertificates = append(c.TLS.PeerCertificates, []*x509.Certificate{p.Cert}...)
		}
	}
}

func uid(n int) func(*principal.Credentials) {
	return func(c *principal.Credentials) { c.Listener, c.PeerUID, c.Remote = "local", n, netip.AddrPort{} }
}

func (f *fixture) try(c *principal.Credentials) (*principal.Principal, *principal.Refusal) {
	p, err := f.auth.Authenticate(context.Background(), c)
	var r *principal.Refusal
	if err != nil && !errors.As(err, &r) {
		panic(err)
	}
	return p, r
}
