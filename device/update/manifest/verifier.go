// Package manifest decides whether an update may be trusted: it reads update
// manifests, verifies their signatures up to a trusted root, applies root key
// packages, and checks the unsigned file URLs (docs/spec/device-update.md 3.7
// and 4).
//
// A Verifier is safe for concurrent use: readers work on one immutable
// snapshot of the trust, a new package swaps it. Nothing here does I/O or reads a
// clock; what was accepted must be kept by the caller (Package, UsePackage at start).
package manifest

import (
	"crypto/rsa"
	"crypto/sha256"
	"slices"
	"sync"
	"sync/atomic"
)

// Options of a Verifier.
type Options struct {
	// Roots are the built-in roots; nil means ProductionRoots. Test roots are
	// trusted only by naming them here.
	Roots []RootKey
	// Extra roots are trusted to sign manifests, for development; they have
	// no say over root key packages.
	Extra []RootKey
	// AllowTestPackages accepts root key packages marked isTest.
	AllowTestPackages bool
}

// Verifier holds the trust.
type Verifier struct {
	allowTest bool
	builtIn   []RootKey
	extra     []RootKey
	trust     atomic.Pointer[trust]
	swap      sync.Mutex // one UsePackage at a time: the version comparison and the swap are one step
}

// trust is immutable.
type trust struct {
	roots         map[string]*rsa.PublicKey
	disabledRoots []string
	disabledKeys  map[[sha256.Size]byte]struct{}
	pkg           *Package
}

// NewVerifier trusts the built-in roots and no package yet.
func NewVerifier(o Options) *Verifier {
	if o.Roots == nil {
		o.Roots = ProductionRoots()
	}
	v := &Verifier{allowTest: o.AllowTestPackages, builtIn: slices.Clone(o.Roots), extra: slices.Clone(o.Extra)}
	v.trust.Store(v.derive(nil))
	return v
}

// derive combines built-in roots and a verified package; a built-in root wins over one of the same name.
func (v *Verifier) derive(p *Package) *trust {
	t := &trust{roots: map[string]*rsa.PublicKey{}, pkg: p}
	if p != nil {
		for _, r := range p.roots {
			t.roots[r.Kid] = r.Key
		}
		t.disabledRoots, t.disabledKeys = p.DisabledRoots, p.disabledKeys
	}
	for _, r := range slices.Concat(v.extra, v.builtIn) {
		t.roots[r.Kid] = r.Key
	}
	return t
}

func (t *trust) root(kid string) (*rsa.PublicKey, error) {
	if kid == "" {
		return nil, refuse(MissingRoot, "")
	}
	if slices.Contains(t.disabledRoots, kid) {
		return nil, refuse(DisabledRoot, kid)
	}
	key, ok := t.roots[kid]
	if !ok {
		return nil, refuse(UnknownRoot, clip(kid))
	}
	return key, nil
}

// Verify is what an apply needs: the signature is good and the content is a
// supported manifest.
func (v *Verifier) Verify(manifest []byte, signature string) (*Manifest, Signer, error) {
	if len(manifest) > MaxManifest {
		return nil, Signer{}, refuse(BadManifest, "too large")
	}
	signer, err := v.VerifySignature(manifest, signature)
	if err != nil {
		return nil, Signer{}, err
	}
	m, err := Parse(manifest)
	if err != nil {
		return nil, signer, err
	}
	return m, signer, nil
}

// Package is the root key package in use; nil before the first.
func (v *Verifier) Package() *Package { return v.trust.Load().pkg }

// UsePackage verifies a root key package and, if it is not older than the one
// in use, applies it from now on. The agent itself keeps no highest version, so
// that a replayed genuine package re-enables what a later one disabled; here
// it does not (docs/spec/device-update.md 4.3).
func (v *Verifier) UsePackage(raw []byte) (*Package, error) {
	p, err := v.parsePackage(raw)
	if err != nil {
		return nil, err
	}
	v.swap.Lock()
	defer v.swap.Unlock()
	if old := v.Package(); old != nil {
		if p.Version < old.Version {
			return nil, refuse(OldPackage, "")
		}
		if p.Version == old.Version && p.digest != old.digest {
			return nil, refuse(OldPackage, "another package of the same version is in use")
		}
	}
	v.trust.Store(v.derive(p))
	return p, nil
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
