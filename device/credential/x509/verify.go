// Package x509 verifies the client certificates of devices and modules:
// self-signed ones by the thumbprint in the record, others by the certificate
// authorities of the registry, each of which vouches only for devices at its
// space path and below. It also issues certificates for development (issue.go).
//
// TLS has proved that the peer holds the key; nothing else that TLS found out is
// used, so a resumed connection is judged like a new one. Everything here is a
// pure function of the chain, the registry and the time given.
package x509

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // only for records that hold nothing else, by setting
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
)

// What can be wrong with a certificate.
var (
	ErrNone       = errors.New("no certificate")
	ErrThumbprint = errors.New("certificate not registered")
	ErrValidity   = errors.New("certificate expired or not valid yet")
	ErrUsage      = errors.New("certificate not for client authentication")
	ErrName       = errors.New("certificate names another, several or nobody")
	ErrChain      = errors.New("no path to a certificate authority for this place")
	ErrRevoked    = errors.New("certificate revoked")
)

// MaxChain is how many certificates a path may have, device and authority included.
const MaxChain = 4

// maxPresented is how many certificates a peer may present; a longer chain is refused
// before it is looked at.
const maxPresented = 8

// Thumbprint is the SHA-256 of the certificate.
func Thumbprint(c *x509.Certificate) device.Thumbprint { return sha256.Sum256(c.Raw) }

// ThumbprintSHA1 is the SHA-1 of the certificate.
func ThumbprintSHA1(c *x509.Certificate) device.ThumbprintSHA1 {
	return sha1.Sum(c.Raw) //nolint:gosec // see the import
}

// SelfSigned proves a certificate by its thumbprint in the record. The record
// names the very certificate, so its names and issuer mean nothing; it must be valid at now, and
// if it limits its use, client authentication must be among the uses.
// SHA-1 thumbprints count only with allowSHA1.
func SelfSigned(leaf *x509.Certificate, a device.Auth, now time.Time, allowSHA1 bool) error {
	if leaf == nil {
		return ErrNone
	}
	if !slices.Contains(a.Thumbprints, Thumbprint(leaf)) &&
		(!allowSHA1 || !slices.Contains(a.ThumbprintsSHA1, ThumbprintSHA1(leaf))) {
		return ErrThumbprint
	}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return ErrValidity
	}
	if limited := len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) > 0; limited && !forClients(leaf) {
		return ErrUsage
	}
	return nil
}

// Proof is a path that was found.
type Proof struct {
	CA      space.ID
	Links   []Link    // from the device's certificate up to the one that the authority issued
	Expires time.Time // when the first certificate on the path expires
}

// Link is one certificate of a path, as a revocation list names it.
type Link struct {
	Issuer string // Fingerprint of the issuer's certificate
	Serial string // hexadecimal
}

// Verify proves that the chain, the device's certificate first, names exactly
// name and leads to an authority that vouches for the place at.
func (s *Authorities) Verify(chain []*x509.Certificate, name string, at space.Path, now time.Time) (Proof, error) {
	if len(chain) == 0 {
		return Proof{}, ErrNone
	}
	if len(chain) > maxPresented {
		return Proof{}, fmt.Errorf("%w: %d certificates presented", ErrChain, len(chain))
	}
	leaf := chain[0]
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return Proof{}, ErrValidity
	}
	if leaf.IsCA || !forClients(leaf) && !(s.MissingEKU && !limitsUse(leaf)) {
		return Proof{}, ErrUsage
	}
	if err := checkName(leaf, name); err != nil {
		return Proof{}, err
	}
	roots, rest := x509.NewCertPool(), x509.NewCertPool()
	for _, a := range s.all {
		if a.problem == nil && a.path.Covers(at) {
			roots.AddCert(a.cert)
		}
	}
	for _, c := range chain[1:] {
		rest.AddCert(c)
	}
	paths, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: rest, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return Proof{}, fmt.Errorf("%w: %s", ErrChain, plain(err))
	}
	return s.pick(paths, at)
}

// pick takes the first path that is short enough and has no revoked
// certificate. One revoked path does not spoil another: the same key may have been
// certified twice.
func (s *Authorities) pick(paths [][]*x509.Certificate, at space.Path) (Proof, error) {
	err := fmt.Errorf("%w: longer than %d", ErrChain, MaxChain)
	for _, path := range paths {
		if len(path) < 2 || len(path) > MaxChain {
			continue
		}
		p := Proof{Expires: path[0].NotAfter}
		for i, c := range path {
			if c.NotAfter.Before(p.Expires) {
				p.Expires = c.NotAfter
			}
			if i > 0 {
				p.Links = append(p.Links, Link{Issuer: Fingerprint(c.Raw), Serial: path[i-1].SerialNumber.Text(16)})
			}
		}
		if e := s.Good(p.Links, at); e != nil {
			err = e
			continue
		}
		p.CA = s.byFingerprint(Fingerprint(path[len(path)-1].Raw), at).id
		return p, nil
	}
	return Proof{}, err
}

// Good tells whether a path that was proved before still leads to an authority that
// vouches for the place at, and none of its certificates has been revoked.
func (s *Authorities) Good(links []Link, at space.Path) error {
	if len(links) == 0 || s.byFingerprint(links[len(links)-1].Issuer, at) == nil {
		return ErrChain
	}
	for _, l := range links {
		for _, a := range s.all {
			if a.fingerprint == l.Issuer && a.revoked[l.Serial] {
				return ErrRevoked
			}
		}
	}
	return nil
}

// limitsUse reports whether the certificate has the extension that lists its uses.
func limitsUse(c *x509.Certificate) bool {
	return slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidExtKeyUsage) })
}

func forClients(c *x509.Certificate) bool {
	return slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
}

var (
	oidCommonName  = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidSubjectAlt  = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidExtKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// CommonName is the one CN of a certificate; false if it has none or several.
func CommonName(c *x509.Certificate) (string, bool) {
	name, n := "", 0
	for _, a := range c.Subject.Names {
		if a.Type.Equal(oidCommonName) {
			n++
			name, _ = a.Value.(string)
		}
	}
	return name, n == 1 && name != ""
}

// checkName wants exactly one CN, equal to name byte for byte, and of the
// subject alternative names, if there are any, each to be a DNS name that says the same.
// Other forms (addresses, URIs) cannot agree with a device id, so they disagree.
func checkName(leaf *x509.Certificate, name string) error {
	cn, ok := CommonName(leaf)
	if !ok || cn != name || name == "" || strings.ContainsAny(cn, "*\x00") {
		return ErrName
	}
	for _, e := range leaf.Extensions {
		if !e.Id.Equal(oidSubjectAlt) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &names); err != nil || len(rest) > 0 {
			return ErrName
		}
		for _, n := range names {
			if n.Class != asn1.ClassContextSpecific || n.Tag != 2 || !bytes.Equal(n.Bytes, []byte(name)) {
				return ErrName
			}
		}
	}
	return nil
}

// plain describes a verification error without text from the certificate, which the
// peer may have chosen.
func plain(err error) string {
	var (
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &unknown):
		return "unknown authority"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "a certificate on the path has expired"
	}
	return "invalid path"
}
