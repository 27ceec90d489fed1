package x509

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
)

var (
	now   = time.Unix(1800000000, 0)
	year  = 365 * 24 * time.Hour
	floor = space.Root.Join(space.ID{1})
	room  = floor.Join(space.ID{2})
	other = space.Root.Join(space.ID{3})
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func authority1(p Pair, at space.Path, crl []byte) device.CA {
	return device.CA{ID: space.ID{9}, Path: at, DER: p.Cert.Raw, CRL: crl}
}

func TestVerify(t *testing.T) {
	start := now.Add(-time.Hour)
	root := must(NewCA("root", start, year))
	stranger := must(NewCA("root", start, year))
	sub := must(root.SubCA("sub", start, year))
	sub2 := must(sub.SubCA("sub2", start, year))
	sub3 := must(sub2.SubCA("sub3", start, year))
	oldSub := must(root.SubCA("old", start.Add(-year), year))
	good := must(root.Client("dev1", start, year, nil))
	bySub := must(sub.Client("dev1", start, year, nil))
	revoked := must(root.Client("dev1", start, year, nil))
	subRevoked := must(root.SubCA("revoked", start, year))
	crl := must(root.CRL(1, start, year, revoked.Cert.SerialNumber, subRevoked.Cert.SerialNumber))
	set := NewAuthorities([]device.CA{authority1(root, floor, crl)})
	if ps := set.Problems(now); len(ps) > 0 {
		t.Fatal(ps)
	}
	leaf := func(change func(*x509.Certificate)) []*x509.Certificate {
		return []*x509.Certificate{must(root.Client("dev1", start, year, change)).Cert}
	}
	one := func(p ...Pair) (c []*x509.Certificate) {
		for _, x := range p {
			c = append(c, x.Cert)
		}
		return c
	}
	san := func(names ...asn1.RawValue) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: oidSubjectAlt, Value: must(asn1.Marshal(names))}}
		}
	}
	dns := func(s string) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(s)}
	}
	for _, c := range []struct {
		name  string
		chain []*x509.Certificate
		want  error
		as    string // "dev1" if empty
		at    space.Path
	}{
		{name: "good", chain: one(good)},
		{name: "below the authority's place", chain: one(good), at: room},
		{name: "over an intermediate", chain: one(bySub, sub)},
		{name: "at the limit of the chain", chain: one(must(sub2.Client("dev1", start, year, nil)), sub2, sub)},
		{name: "SAN agrees", chain: leaf(func(c *x509.Certificate) { c.DNSNames = []string{"dev1"} })},
		{name: "module", chain: one(must(root.Client("dev1/m", start, year, nil))), as: "dev1/m"},
		{name: "nothing presented", want: ErrNone},
		{name: "another device", chain: one(must(root.Client("dev2", start, year, nil))), want: ErrName},
		{name: "dev10 for dev1", chain: one(must(root.Client("dev10", start, year, nil))), want: ErrName},
		{name: "dev1 for dev10", chain: one(good), as: "dev10", want: ErrName},
		{name: "name in another case", chain: one(must(root.Client("DEV1", start, year, nil))), want: ErrName},
		{name: "device for its module", chain: one(good), as: "dev1/m", want: ErrName},
		{name: "no CN", chain: one(must(root.Client("", start, year, nil))), as: "", want: ErrName},
		{
			name:  "several CNs, the right one first",
			chain: leaf(func(c *x509.Certificate) { c.Subject = names("dev1", "dev2") }), want: ErrName,
		},
		{
			name:  "several CNs, the right one last",
			chain: leaf(func(c *x509.Certificate) { c.Subject = names("dev2", "dev1") }), want: ErrName,
		},
		{name: "the same CN twice", chain: leaf(func(c *x509.Certificate) { c.Subject = names("dev1", "dev1") }), want: ErrName},
		{name: "wildcard", chain: one(must(root.Client("dev*", start, year, nil))), want: ErrName},
		{name: "wildcard, asked for", chain: one(must(root.Client("dev*", start, year, nil))), as: "dev*", want: ErrName},
		{name: "NUL", chain: one(must(root.Client("dev1\x00.evil", start, year, nil))), want: ErrName},
		{name: "NUL, asked for", chain: one(must(root.Client("dev1\x00", start, year, nil))), as: "dev1\x00", want: ErrName},
		{name: "SAN says another", chain: leaf(func(c *x509.Certificate) { c.DNSNames = []string{"dev2"} }), want: ErrName},
		{name: "SAN says both", chain: leaf(func(c *x509.Certificate) { c.DNSNames = []string{"dev1", "dev2"} }), want: ErrName},
		{name: "SAN wildcard", chain: leaf(func(c *x509.Certificate) { c.DNSNames = []string{"*"} }), want: ErrName},
		{name: "SAN address", chain: leaf(func(c *x509.Certificate) { c.IPAddresses = []net.IP{{10, 0, 0, 1}} }), want: ErrName},
		{name: "SAN URI", chain: leaf(func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "urn", Opaque: "dev1"}} }), want: ErrName},
		{
			name:  "SAN of a form that Go does not parse",
			chain: leaf(san(dns("dev1"), asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 8, Bytes: []byte{42, 3}})),
			want:  ErrName,
		},
		{
			name:  "SAN of another form, the same text",
			chain: leaf(san(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, Bytes: []byte("dev1")})),
			want:  ErrName,
		},
		{name: "SAN with NUL", chain: leaf(san(dns("dev1\x00"))), want: ErrName},
		{
			name:  "for servers",
			chain: leaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
			want:  ErrUsage,
		},
		{name: "for nothing named", chain: leaf(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), want: ErrUsage},
		{
			name:  "for anything",
			chain: leaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }),
			want:  ErrUsage,
		},
		{
			name:  "an authority itself",
			chain: leaf(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), want: ErrUsage,
		},
		{name: "expired", chain: one(must(root.Client("dev1", now.Add(-2*time.Hour), time.Hour, nil))), want: ErrValidity},
		{name: "not yet", chain: one(must(root.Client("dev1", now.Add(time.Minute), time.Hour, nil))), want: ErrValidity},
		{name: "intermediate expired", chain: one(must(oldSub.Client("dev1", start, year, nil)), oldSub), want: ErrChain},
		{name: "a stranger of the same name", chain: one(must(stranger.Client("dev1", start, year, nil))), want: ErrChain},
		{
			name:  "a stranger that brings its authority",
			chain: one(must(stranger.Client("dev1", start, year, nil)), stranger), want: ErrChain,
		},
		{name: "self-signed", chain: one(must(NewSelfSigned("dev1", start, year))), want: ErrChain},
		{name: "issued by a device", chain: one(must(good.Client("dev1", start, year, nil)), good), want: ErrChain},
		{name: "intermediate missing", chain: one(bySub), want: ErrChain},
		{name: "chain too long", chain: one(must(sub3.Client("dev1", start, year, nil)), sub3, sub2, sub), want: ErrChain},
		{name: "flood of certificates", chain: one(good, sub, sub, sub, sub, sub, sub, sub, sub), want: ErrChain},
		{name: "another place", chain: one(good), at: other, want: ErrChain},
		{name: "above the authority's place", chain: one(good), at: space.Root, want: ErrChain},
		{name: "revoked", chain: one(revoked), want: ErrRevoked},
		{name: "intermediate revoked", chain: one(must(subRevoked.Client("dev1", start, year, nil)), subRevoked), want: ErrRevoked},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.as == "" && c.name != "no CN" {
				c.as = "dev1"
			}
			if c.at.IsZero() {
				c.at = floor
			}
			p, err := set.Verify(c.chain, c.as, c.at, now)
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err == nil && (p.CA != (space.ID{9}) || len(p.Links) == 0 || set.Good(p.Links, c.at) != nil || !p.Expires.After(now)) {
				t.Errorf("%+v", p)
			}
		})
	}
	if _, err := set.Verify(one(good), "dev1", space.Path{}, now); !errors.Is(err, ErrChain) {
		t.Errorf("a device at no place: %v", err)
	}
	// What was proved is judged again when the registry changes.
	p := must(set.Verify(one(bySub, sub), "dev1", room, now))
	for _, c := range []struct {
		name string
		cas  []device.CA
		at   space.Path
		want error
	}{
		{"unchanged", []device.CA{authority1(root, floor, crl)}, room, nil},
		{"authority removed", nil, room, ErrChain},
		{"authority moved", []device.CA{authority1(root, other, crl)}, room, ErrChain},
		{"device moved", []device.CA{authority1(root, floor, crl)}, other, ErrChain},
		{
			"intermediate revoked",
			[]device.CA{authority1(root, floor, must(root.CRL(2, start, year, sub.Cert.SerialNumber)))}, room,
			ErrRevoked,
		},
		{
			"certificate revoked by the intermediate",
			[]device.CA{authority1(root, floor, nil), authority1(sub, other, must(sub.CRL(2, start, year, bySub.Cert.SerialNumber)))},
			room, ErrRevoked,
		},
	} {
		if err := NewAuthorities(c.cas).Good(p.Links, c.at); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if set.Good(nil, room) == nil {
		t.Error("a path of no certificate is good")
	}
}

func names(cns ...string) pkix.Name {
	var n pkix.Name
	for _, cn := range cns {
		n.ExtraNames = append(n.ExtraNames, pkix.AttributeTypeAndValue{Type: oidCommonName, Value: cn})
	}
	return n
}

func TestSelfSigned(t *testing.T) {
	start := now.Add(-time.Hour)
	good := must(NewSelfSigned("whoever", start, year))
	other := must(NewSelfSigned("whoever", start, year))
	old := must(NewSelfSigned("d", start.Add(-year), time.Hour))
	ca := must(NewCA("ca", start, year))
	server := must(ca.Server(start, year, "d", "127.0.0.1"))
	free := must(ca.Client("d", start, year, func(c *x509.Certificate) { c.ExtKeyUsage = nil }))
	record := func(p Pair) device.Auth {
		return device.Auth{Kind: device.AuthSelfSigned, Thumbprints: []device.Thumbprint{{1}, Thumbprint(p.Cert)}}
	}
	sha1 := device.Auth{Kind: device.AuthSelfSigned, ThumbprintsSHA1: []device.ThumbprintSHA1{ThumbprintSHA1(good.Cert)}}
	for _, c := range []struct {
		name string
		leaf *x509.Certificate
		auth device.Auth
		sha1 bool
		want error
	}{
		{"registered", good.Cert, record(good), false, nil},
		{"no limit of use", free.Cert, record(free), false, nil},
		{"none", nil, record(good), false, ErrNone},
		{"another of the same name", other.Cert, record(good), false, ErrThumbprint},
		{"nothing registered", good.Cert, device.Auth{}, true, ErrThumbprint},
		{"expired", old.Cert, record(old), false, ErrValidity},
		{"for servers", server.Cert, record(server), false, ErrUsage},
		{"SHA-1, not allowed", good.Cert, sha1, false, ErrThumbprint},
		{"SHA-1, allowed", good.Cert, sha1, true, nil},
	} {
		if err := SelfSigned(c.leaf, c.auth, now, c.sha1); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	future := must(NewSelfSigned("d", now.Add(time.Hour), year))
	if err := SelfSigned(future.Cert, record(future), now, false); !errors.Is(err, ErrValidity) {
		t.Errorf("not yet valid: %v", err)
	}
}

func TestBrokenAuthoritiesVouchForNobody(t *testing.T) {
	start := now.Add(-time.Hour)
	root := must(NewCA("root", start, year))
	other := must(NewCA("root", start, year))
	leaf := must(root.Client("dev1", start, year, nil))
	indirect := must(x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: start, NextUpdate: now.Add(year),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}},
	}, root.Cert, root.Key))
	for _, c := range []struct {
		name string
		ca   device.CA
	}{
		{"no certificate", device.CA{ID: space.ID{9}, Path: floor}},
		{"garbage", device.CA{ID: space.ID{9}, Path: floor, DER: []byte("x")}},
		{"a device's certificate", authority1(leaf, floor, nil)},
		{"no place", authority1(root, space.Path{}, nil)},
		{"unreadable list", authority1(root, floor, []byte("x"))},
		{"another's list", authority1(root, floor, must(other.CRL(1, start, year)))},
		{"delta list", authority1(root, floor, indirect)},
	} {
		s := NewAuthorities([]device.CA{c.ca})
		if ps := s.Problems(now); len(ps) != 1 || !errors.Is(ps[0], ErrAuthority) {
			t.Errorf("%s: problems %v", c.name, ps)
		}
		if _, err := s.Verify([]*x509.Certificate{leaf.Cert}, "dev1", floor, now); err == nil {
			t.Errorf("%s: vouches", c.name)
		}
	}
	s := NewAuthorities([]device.CA{authority1(root, floor, must(root.CRL(1, start, time.Minute)))})
	if len(s.Problems(now)) != 1 {
		t.Error("a list out of date is not reported")
	}
	if _, err := s.Verify([]*x509.Certificate{leaf.Cert}, "dev1", floor, now); err != nil {
		t.Errorf("a list out of date locks everyone out: %v", err)
	}
	if len(s.Problems(now.Add(2*year))) != 1 {
		t.Error("an expired authority is not reported")
	}
}

func TestPairSurvivesPEM(t *testing.T) {
	p := must(NewCA("root", now, year))
	cert, key, err := p.PEM()
	if err != nil {
		t.Fatal(err)
	}
	q := must(ParsePair(cert, key))
	if !q.Cert.Equal(p.Cert) || !q.Key.Equal(p.Key) {
		t.Error("another pair came back")
	}
	_, strange, _ := must(NewCA("root", now, year)).PEM()
	for _, bad := range [][2][]byte{{nil, key}, {cert, nil}, {cert, strange}, {key, key}, {cert, cert}} {
		if _, err := ParsePair(bad[0], bad[1]); err == nil {
			t.Error("a broken pair is accepted")
		}
	}
	if _, err := p.Server(now, year); err == nil {
		t.Error("a server without a host")
	}
}

func FuzzVerify(f *testing.F) {
	start := now.Add(-time.Hour)
	root := must(NewCA("root", start, year))
	good := must(root.Client("dev1", start, year, nil))
	s := NewAuthorities([]device.CA{authority1(root, floor, nil)})
	f.Add(good.Cert.Raw)
	f.Add(root.Cert.Raw)
	f.Add([]byte{0x30, 0x82})
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		if _, err := s.Verify([]*x509.Certificate{c}, "dev1", floor, now); err == nil && !c.Equal(good.Cert) {
			t.Errorf("%x is believed", der)
		}
		if SelfSigned(c, device.Auth{Thumbprints: []device.Thumbprint{{1}}}, now, true) == nil {
			t.Error("a thumbprint that nobody has")
		}
	})
}

func FuzzAuthority(f *testing.F) {
	root := must(NewCA("root", now, year))
	f.Add(root.Cert.Raw, must(root.CRL(1, now, year, big.NewInt(7))))
	f.Add([]byte{0x30}, []byte{})
	f.Fuzz(func(t *testing.T, der, crl []byte) {
		s := NewAuthorities([]device.CA{{ID: space.ID{9}, Path: floor, DER: der, CRL: crl}})
		if a := s.all[0]; a.problem == nil && !a.cert.IsCA {
			t.Error("not an authority")
		}
	})
}
