package identity_test

import (
	"cmp"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	credx509 "github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/identity"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// scene is what a scenario builds: the registry, the certificates and the authenticator under test.
type scene struct {
	data   device.Data
	top    *device.Topology
	now    time.Time
	keys   jwt.Keys
	roots  map[string]credx509.Pair
	certs  map[string][]credx509.Pair // with what stands between
	auth   *identity.Authenticator
	known  map[string]*principal.Principal
	spaces map[string]space.ID
}

func build(t *testing.T, d *door) *scene {
	h := &scene{
		now:    now,
		roots:  map[string]credx509.Pair{},
		certs:  map[string][]credx509.Pair{},
		known:  map[string]*principal.Principal{},
		spaces: map[string]space.ID{},
	}
	for _, a := range d.World.Authorities {
		h.roots[a.Name] = must(credx509.NewCA(a.Name, now.Add(-time.Hour), 10000*time.Hour))
	}
	for _, c := range d.World.Certificates {
		h.certs[c.Name] = h.issue(&c)
	}
	for i, a := range d.World.Authorities {
		ca := device.CA{ID: space.ID{9, 15: byte(i)}, Path: h.path(a.At), DER: h.roots[a.Name].Cert.Raw}
		for _, r := range a.Revoked {
			ca.CRL = h.revoke(a.Name, r)
		}
		h.data.CAs = append(h.data.CAs, ca)
	}
	for i, r := range d.World.Devices {
		at := cmp.Or(r.At, "site")
		h.path(at)
		v := device.Device{
			ID:         space.ID{10, 15: byte(i + 1)},
			HubID:      r.ID,
			Name:       r.ID,
			HardwareID: r.Hardware,
			Status:     statusOf(t, r.Status),
			Space:      h.spaces[at],
			Auth:       h.authOf(t, r),
		}
		for _, m := range r.Modules {
			m.ID = r.ID + "/" + m.ID
			_, name, _ := strings.Cut(m.ID, "/")
			v.Modules = append(v.Modules, device.Module{ID: name, Auth: h.authOf(t, m)})
		}
		h.data.Devices = append(h.data.Devices, v)
	}
	h.data.Functions = []device.Function{{ID: fn, Name: "fn", Auth: h.authOf(t, record{ID: "fn", Auth: "sas"})}}
	problems := h.rebuild()
	var reasons []string
	for _, p := range problems {
		reasons = append(reasons, p.Reason)
	}
	slices.Sort(reasons)
	if !slices.Equal(reasons, d.World.Problems) {
		t.Errorf("health names %v, want %q", problems, d.World.Problems)
	}
	h.keys = publish()
	audiences := d.World.Audiences
	if audiences == nil {
		audiences = []string{"gatehouse"}
	}
	h.auth = must(identity.New(identity.Options{
		Hub:        host,
		Topology:   func() *device.Topology { return h.top },
		Keys:       func() jwt.Keys { return h.keys },
		Now:        func() time.Time { return h.now },
		Tenants:    []jwt.Tenant{{ID: home, VerifiedDomains: []string{"example.com"}, Issuers: d.World.Issuers}},
		Audiences:  audiences,
		Scope:      d.World.Scope,
		SASMaxLife: 24 * time.Hour,
		AllowSHA1:  d.World.AllowSHA1,
		MissingEKU: d.World.MissingEKU,
		Served: func(listener string) *x509.Certificate {
			if listener != "mqtts" {
				return nil
			}
			return &x509.Certificate{DNSNames: d.World.Served, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 7)}}
		},
		Peers: map[identity.PeerAt]identity.Peer{{Listener: "local", UID: 1000}: {Name: "admin"}},
	}))
	return h
}

// publish is the key set: the home tenant's key under its v2 issuer, and
// another tenant's under its own.
func publish() jwt.Keys {
	var keys []any
	for kid, issuer := range map[string]string{"": "https://login.microsoftonline.com/" + home.String() + "/v2.0",
		"foreign": "https://login.microsoftonline.com/" + other.String() + "/v2.0"} {
		var members map[string]any
		text := must(jose.JSONWebKey{Key: signers()[kid].Public(), KeyID: "kid-" + kid, Algorithm: "RS256", Use: "sig"}.MarshalJSON())
		if err := json.Unmarshal(text, &members); err != nil {
			panic(err)
		}
		members["issuer"] = issuer
		keys = append(keys, members)
	}
	set, _, err := jwt.ParseKeys(must(json.Marshal(map[string]any{"keys": keys})))
	if err != nil {
		panic(err)
	}
	return set
}

func (h *scene) path(text string) space.Path {
	p := space.Root
	var parent space.ID
	for name := range strings.SplitSeq(text, "/") {
		id, ok := h.spaces[name]
		if !ok {
			id = space.NewID()
			h.spaces[name] = id
			h.data.Spaces = append(h.data.Spaces, device.Space{ID: id, Parent: parent})
		}
		p, parent = p.Join(id), id
	}
	h.spaces[text] = parent
	return p
}

func (h *scene) rebuild() []device.Problem {
	var problems []device.Problem
	h.top, problems = device.NewTopology(h.data, device.Options{})
	return problems
}

func statusOf(t *testing.T, text string) device.Status {
	t.Helper()
	s, ok := map[string]device.Status{"": device.Active, "active": device.Active, "disabled": device.Disabled,
		"provisioning": device.Provisioning, "offline": device.Offline}[text]
	if !ok {
		t.Fatalf("status %q", text)
	}
	return s
}

func keyOf(name string) device.Secret {
	return device.Secret("the key of " + name + ", of some thirty bytes")
}

func (h *scene) authOf(t *testing.T, r record) device.Auth {
	t.Helper()
	switch r.Auth {
	case "sas":
		return device.Auth{Kind: device.AuthSAS, Primary: keyOf(r.ID), Secondary: keyOf(r.ID + " second")}
	case "self-signed":
		return device.Auth{Kind: device.AuthSelfSigned, Thumbprints: []device.Thumbprint{credx509.Thumbprint(h.leaf(t, r.Certificate))}}
	case "self-signed-sha1":
		return device.Auth{Kind: device.AuthSelfSigned,
			ThumbprintsSHA1: []device.ThumbprintSHA1{credx509.ThumbprintSHA1(h.leaf(t, r.Certificate))}}
	case "ca":
		return device.Auth{Kind: device.AuthCA}
	case "":
		return device.Auth{}
	}
	t.Fatalf("auth %q", r.Auth)
	return device.Auth{}
}

func (h *scene) leaf(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	if len(h.certs[name]) == 0 {
		t.Fatalf("no certificate %q", name)
	}
	return h.certs[name][0].Cert
}

func (h *scene) issue(c *certificate) []credx509.Pair {
	from, life := now.Add(-time.Hour), c.Life
	if life == 0 {
		life = 1000 * time.Hour
	}
	change := func(x *x509.Certificate) {
		switch c.Use {
		case "server":
			x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		case "none":
			x.ExtKeyUsage = nil
		}
		x.DNSNames = c.SAN
		if len(c.CN) != 0 {
			x.Subject = pkix.Name{}
			for _, cn := range c.CN {
				x.Subject.ExtraNames = append(x.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: []int{2, 5, 4, 3}, Value: cn})
			}
		}
	}
	if c.By == "" {
		return []credx509.Pair{must(credx509.NewSelfSigned(c.Name, from, life))}
	}
	parent := h.roots[c.By]
	var between []credx509.Pair
	for i := range c.Via {
		parent = must(parent.SubCA(fmt.Sprint("between ", i), from, life))
		between = append(between, parent)
	}
	slices.Reverse(between)
	return append([]credx509.Pair{must(parent.Client(c.Name, from, life, change))}, between...)
}

func (h *scene) revoke(ca, name string) []byte {
	return must(h.roots[ca].CRL(1, now.Add(-time.Hour), 1000*time.Hour, h.certs[name][0].Cert.SerialNumber))
}
