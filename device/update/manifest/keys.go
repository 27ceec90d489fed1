package manifest

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// RootKey is one trusted root.
type RootKey struct {
	Kid string
	Key *rsa.PublicKey
}

// Bounds of an RSA modulus in bits: a shorter one can be broken, and a longer one
// costs too much time to verify.
const (
	minBits = 2048
	maxBits = 4096
)

// exponent is the only public exponent in use; the agent insists on it too
// before it looks a key up among the disabled ones (docs/spec/device-update.md 4.2).
const exponent = 65537

func newKey(modulus string) (*rsa.PublicKey, error) {
	n, err := decodeAny(modulus)
	if err != nil {
		return nil, fmt.Errorf("modulus: %w", err)
	}
	k := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: exponent}
	if bits := k.N.BitLen(); bits < minBits || bits > maxBits {
		return nil, fmt.Errorf("modulus of %d bits, want %d to %d", bits, minBits, maxBits)
	}
	if k.N.Bit(0) == 0 {
		return nil, errors.New("even modulus")
	}
	return k, nil
}

// ParseRoots reads roots from a JWK or a JWK set: for test roots and for roots
// of an operator's own, which are trusted only because somebody configured them.
func ParseRoots(jwks []byte) ([]RootKey, error) {
	v, err := strictjson.Parse(jwks, strictjson.Limits{})
	if err != nil {
		return nil, err
	}
	keys := v.Get("keys").Items()
	if v.Get("keys").Kind() == strictjson.Absent {
		keys = []strictjson.Value{v}
	}
	var roots []RootKey
	for i, k := range keys {
		kid, _ := k.Get("kid").Str()
		if kid == "" {
			return nil, fmt.Errorf("root %d has no kid", i+1)
		}
		key, err := parseJWK(k)
		if err != nil {
			return nil, fmt.Errorf("root %s: %w", kid, err)
		}
		roots = append(roots, RootKey{kid, key})
	}
	if len(roots) == 0 {
		return nil, errors.New("no root key")
	}
	return roots, nil
}

func parseJWK(v strictjson.Value) (*rsa.PublicKey, error) {
	if kty, _ := v.Get("kty").Str(); kty != "RSA" {
		return nil, errors.New("kty is not RSA")
	}
	if alg := v.Get("alg"); alg.Kind() != strictjson.Absent {
		if s, _ := alg.Str(); s != algorithm {
			return nil, errors.New("alg is not " + algorithm)
		}
	}
	if e, _ := v.Get("e").Str(); e != "AQAB" {
		return nil, errors.New("e is not AQAB")
	}
	n, _ := v.Get("n").Str()
	return newKey(n)
}

// disabledHashes are the forms in which a root key package may name a signing
// key: SHA-256 over its PKCS#1 DER (what the agent's test uses) or over its
// SubjectPublicKeyInfo. Both are looked for (docs/spec/device-update.md 4.2).
func disabledHashes(k *rsa.PublicKey) ([2][sha256.Size]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		return [2][sha256.Size]byte{}, err
	}
	return [2][sha256.Size]byte{sha256.Sum256(x509.MarshalPKCS1PublicKey(k)), sha256.Sum256(spki)}, nil
}

var errBase64 = errors.New("malformed base64")

// decodeAny reads base64 in either alphabet, padded or not: genuine keys come
// in the standard one, the specification asks for the other.
func decodeAny(s string) ([]byte, error) {
	s = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(s), "=")
	return decode(base64.RawStdEncoding, s)
}

// decodeSegment reads a segment of a compact JWS: URL alphabet, no padding.
func decodeSegment(s string) ([]byte, error) { return decode(base64.RawURLEncoding, s) }

func decode(e *base64.Encoding, s string) ([]byte, error) {
	// The decoder skips line breaks, so that one text would have many spellings.
	if s == "" || strings.ContainsAny(s, "\r\n") {
		return nil, errBase64
	}
	b, err := e.Strict().DecodeString(s)
	if err != nil {
		return nil, errBase64
	}
	return b, nil
}
