package x509

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
)

// ErrAuthority is what every problem of a certificate authority's record wraps.
var ErrAuthority = errors.New("certificate authority")

// Authorities are the certificate authorities of the registry, parsed once.
// Immutable, safe for concurrent use.
type Authorities struct {
	// MissingEKU accepts a device's certificate that does not say for what it may be used (it has
	// no extended key usage extension). Set before the first use.
	MissingEKU bool

	all []*authority
}

type authority struct {
	id          space.ID
	path        space.Path
	cert        *x509.Certificate
	fingerprint string
	revoked     map[string]bool // by serial number, hexadecimal
	stale       time.Time       // when the list should have been replaced; zero: never or no list
	problem     error           // why the authority is not used; nil: it is used
}

// NewAuthorities parses the records. One that cannot be trusted (not a CA
// certificate, a revocation list that cannot be read, is not its own or is of a kind that
// names only part of the revoked) vouches for nobody; Problems says why.
func NewAuthorities(cas []device.CA) *Authorities {
	s := &Authorities{}
	for _, ca := range cas {
		a := &authority{id: ca.ID, path: ca.Path, fingerprint: Fingerprint(ca.DER)}
		a.problem = a.parse(ca)
		s.all = append(s.all, a)
	}
	return s
}

func (a *authority) parse(ca device.CA) error {
	fail := func(why string) error { return fmt.Errorf("%w %v: %s", ErrAuthority, ca.ID, why) }
	var err error
	if a.cert, err = x509.ParseCertificate(ca.DER); err != nil {
		return fail("certificate cannot be read")
	}
	if !a.cert.BasicConstraintsValid || !a.cert.IsCA || a.cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fail("not a CA certificate")
	}
	if ca.Path.IsZero() {
		return fail("no space path")
	}
	if len(ca.CRL) == 0 {
		return nil
	}
	crl, err := x509.ParseRevocationList(ca.CRL)
	if err != nil {
		return fail("revocation list cannot be read")
	}
	if err := crl.CheckSignatureFrom(a.cert); err != nil {
		return fail("revocation list is not signed by it")
	}
	for _, e := range crl.Extensions {
		if e.Critical { // delta lists and partitioned ones say so here
			return fail("revocation list of a kind that is not understood")
		}
	}
	a.stale = crl.NextUpdate
	a.revoked = make(map[string]bool, len(crl.RevokedCertificateEntries))
	for _, e := range crl.RevokedCertificateEntries {
		a.revoked[e.SerialNumber.Text(16)] = true
	}
	return nil
}

// Problems names the authorities that are not used, and the lists that are
// out of date at now. An old list is used all the same: the age of everything that came from the
// cloud is judged in one place, not per file (docs/spec/semantics.md 4.6).
func (s *Authorities) Problems(now time.Time) []error {
	var found []error
	for _, a := range s.all {
		switch {
		case a.problem != nil:
			found = append(found, a.problem)
		case now.Before(a.cert.NotBefore) || now.After(a.cert.NotAfter):
			found = append(found, fmt.Errorf("%w %v: expired or not valid yet", ErrAuthority, a.id))
		case !a.stale.IsZero() && now.After(a.stale):
			found = append(
				found,
				fmt.Errorf("%w %v: revocation list out of date since %s", ErrAuthority, a.id, a.stale.UTC().Format(time.RFC3339)),
			)
		}
	}
	return found
}

// Validity is from when until when an authority's certificate is good.
type Validity struct {
	ID, Space           string
	NotBefore, NotAfter time.Time
}

// Validities lists the authorities that are used, in the order of the records.
func (s *Authorities) Validities() []Validity {
	var list []Validity
	for _, a := range s.all {
		if a.problem == nil {
			list = append(list, Validity{
				ID:        a.id.String(),
				Space:     a.path.String(),
				NotBefore: a.cert.NotBefore,
				NotAfter:  a.cert.NotAfter,
			})
		}
	}
	return list
}

// Cover reports whether an authority that is used vouches for the place at.
func (s *Authorities) Cover(at space.Path) bool {
	return slices.ContainsFunc(s.all, func(a *authority) bool { return a.problem == nil && a.path.Covers(at) })
}

// byFingerprint finds an authority that vouches for the place at.
func (s *Authorities) byFingerprint(f string, at space.Path) *authority {
	for _, a := range s.all {
		if a.fingerprint == f && a.problem == nil && a.path.Covers(at) {
			return a
		}
	}
	return nil
}

// Fingerprint is the first half of the certificate's SHA-256, in hexadecimal. It tells
// authorities apart; it is not a thumbprint of a device's record.
func Fingerprint(der []byte) string {
	h := sha256.Sum256(der)
	return hex.EncodeToString(h[:16])
}
