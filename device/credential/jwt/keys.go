package jwt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// maxJWKS bounds a key set; Entra's has about 20 KiB.
const maxJWKS = 1 << 20

// ErrKeySet is what every error about a key set wraps.
var ErrKeySet = errors.New("key set")

// Keys is an immutable set of verification keys, each with the issuer that it
// says it belongs to. The zero Keys verifies nothing.
type Keys struct{ byID map[string]key }

type key struct {
	public any // *rsa.PublicKey or *ecdsa.PublicKey
	alg    jose.SignatureAlgorithm
	issuer string // may hold the placeholder {tenantid}
}

// Len is the number of usable keys.
func (k Keys) Len() int { return len(k.byID) }

// Has tells whether the set holds a usable key with that id.
func (k Keys) Has(kid string) bool {
	_, ok := k.byID[kid]
	return ok
}

// ParseKeys reads a JWKS (RFC 7517) as Entra publishes it: with a member
// `issuer` in each key, which the original format does not know. Keys that cannot be
// used are left out, each with its reason: no kid, a kid given twice (all of
// them), no issuer, not a signature key, symmetric or private, RSA below 2048 bits, a
// curve other than P-256. The error is for a set that cannot be read at all.
func ParseKeys(b []byte) (Keys, []error, error) {
	if len(b) > maxJWKS {
		return Keys{}, nil, fmt.Errorf("%w: %d bytes, at most %d", ErrKeySet, len(b), maxJWKS)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return Keys{}, nil, fmt.Errorf("%w: %w", ErrKeySet, err)
	}
	out := Keys{byID: make(map[string]key, len(set.Keys))}
	seen := make(map[string]int)
	var problems []error
	for i, raw := range set.Keys {
		kid, k, err := parseKey(raw)
		if seen[kid]++; err == nil && seen[kid] > 1 {
			delete(out.byID, kid)
			err = errors.New("kid given twice")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%w: key %d: %w", ErrKeySet, i+1, err))
			continue
		}
		out.byID[kid] = k
	}
	return out, problems, nil
}

func parseKey(raw json.RawMessage) (string, key, error) {
	var j jose.JSONWebKey
	if err := j.UnmarshalJSON(raw); err != nil {
		return "", key{}, errors.New("unreadable or of an unknown type")
	}
	var extra struct {
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal(raw, &extra); err != nil || extra.Issuer == "" {
		return j.KeyID, key{}, errors.New("no issuer")
	}
	k := key{issuer: extra.Issuer}
	switch p := j.Key.(type) {
	case *rsa.PublicKey:
		if p.N.BitLen() < 2048 {
			return j.KeyID, key{}, fmt.Errorf("RSA with %d bits, at least 2048 are needed", p.N.BitLen())
		}
		k.public, k.alg = p, jose.RS256
	case *ecdsa.PublicKey:
		if p.Curve != elliptic.P256() {
			return j.KeyID, key{}, errors.New("curve other than P-256")
		}
		k.public, k.alg = p, jose.ES256
	default:
		return j.KeyID, key{}, errors.New("neither an RSA nor an EC public key")
	}
	switch {
	case j.KeyID == "":
		return "", key{}, errors.New("no kid")
	case j.Use != "" && j.Use != "sig":
		return j.KeyID, key{}, errors.New("not for signatures")
	case j.Algorithm != "" && j.Algorithm != string(k.alg):
		return j.KeyID, key{}, errors.New("of another algorithm")
	}
	return j.KeyID, k, nil
}
