package manifest

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// Bounds of a root key package; the genuine one has 4 KB.
const (
	maxPackage = 256 << 10
	maxRoots   = 32
)

// Package is a verified root key package. Immutable.
type Package struct {
	Version       int64
	Published     int64 // seconds since 1970
	Test          bool
	DisabledRoots []string
	// Raw is the package as it came: what the caller keeps for the next start.
	Raw          []byte
	roots        []RootKey
	disabledKeys map[[sha256.Size]byte]struct{}
	digest       [sha256.Size]byte // of the signed bytes
}

// parsePackage reads a package and checks that every built-in root signed it:
// over the compact form of "protected", keys in their order, signature i
// belonging to the i-th root named (docs/spec/device-update.md 4.3).
func (v *Verifier) parsePackage(raw []byte) (*Package, error) {
	bad := func(detail string) (*Package, error) { return nil, refuse(BadPackage, detail) }
	doc, err := strictjson.Parse(bytes.Clone(raw), strictjson.Limits{Bytes: maxPackage, Depth: 8})
	if err != nil {
		return bad(err.Error())
	}
	protected := doc.Get("protected")
	if protected.Kind() != strictjson.Object || doc.Get("signatures").Kind() != strictjson.Array {
		return bad("want protected and signatures")
	}
	var signed bytes.Buffer
	if err := json.Compact(&signed, protected.Raw()); err != nil {
		return bad(err.Error())
	}
	p := &Package{Raw: bytes.Clone(raw), digest: sha256.Sum256(signed.Bytes())}
	if err := p.read(protected); err != nil {
		return nil, err
	}
	if err := v.checkSignatures(p, doc.Get("signatures").Items()); err != nil {
		return nil, err
	}
	if p.Test && !v.allowTest {
		return nil, refuse(TestPackage, "")
	}
	return p, nil
}

func (v *Verifier) checkSignatures(p *Package, signatures []strictjson.Value) error {
	if len(v.builtIn) == 0 {
		return refuse(BadPackage, "no built-in root to verify with")
	}
	for _, root := range v.builtIn {
		i := slices.IndexFunc(p.roots, func(r RootKey) bool { return r.Kid == root.Kid })
		if i < 0 || i >= len(signatures) {
			return refuse(BadSignature, "the package is not signed by "+root.Kid)
		}
		if str(signatures[i].Get("alg")) != algorithm {
			return refuse(BadAlgorithm, "alg is not "+algorithm)
		}
		sig, err := decodeSegment(str(signatures[i].Get("sig")))
		if err != nil || rsa.VerifyPKCS1v15(root.Key, crypto.SHA256, p.digest[:], sig) != nil {
			return refuse(BadSignature, "the package is not signed by "+root.Kid)
		}
	}
	return nil
}

// read takes the content of "protected".
func (p *Package) read(v strictjson.Value) error {
	var ok bool
	if p.Version, ok = v.Get("version").Int(); !ok || p.Version < 0 {
		return refuse(BadPackage, "version is no integer")
	}
	if p.Published, ok = v.Get("published").Int(); !ok {
		return refuse(BadPackage, "published is no integer")
	}
	switch t := v.Get("isTest"); t.Kind() {
	case strictjson.Absent:
	case strictjson.Bool:
		p.Test = t.IsTrue()
	default:
		return refuse(BadPackage, "isTest is no boolean")
	}
	for _, k := range v.Get("disabledRootKeys").Items() {
		kid, ok := k.Str()
		if !ok {
			return refuse(BadPackage, "disabledRootKeys holds no key id")
		}
		p.DisabledRoots = append(p.DisabledRoots, kid)
	}
	for _, list := range []string{"disabledRootKeys", "disabledSigningKeys"} {
		if v.Get(list).Kind() != strictjson.Array {
			return refuse(BadPackage, list+" is no list")
		}
	}
	p.disabledKeys = map[[sha256.Size]byte]struct{}{}
	for _, k := range v.Get("disabledSigningKeys").Items() {
		hash, err := decodeAny(str(k.Get("hash")))
		// A key named in a way that is not understood could never be recognised as disabled.
		if str(k.Get("alg")) != "SHA256" || err != nil || len(hash) != sha256.Size {
			return refuse(BadPackage, "a disabled signing key is not named by SHA256")
		}
		p.disabledKeys[[sha256.Size]byte(hash)] = struct{}{}
	}
	return p.readRoots(v.Get("rootKeys"))
}

func (p *Package) readRoots(v strictjson.Value) error {
	if v.Kind() != strictjson.Object || len(v.Members()) == 0 || len(v.Members()) > maxRoots {
		return refuse(BadPackage, fmt.Sprintf("want 1 to %d rootKeys", maxRoots))
	}
	for _, m := range v.Members() {
		if str(m.Value.Get("keyType")) != "RSA" {
			return refuse(BadPackage, "a root key is not RSA")
		}
		if e, ok := m.Value.Get("e").Int(); !ok || e != exponent {
			return refuse(BadPackage, "a root key's exponent is not 65537")
		}
		key, err := newKey(str(m.Value.Get("n")))
		if err != nil {
			return refuse(BadPackage, "root key: "+err.Error())
		}
		p.roots = append(p.roots, RootKey{m.Name, key})
	}
	return nil
}
