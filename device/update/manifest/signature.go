package manifest

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// algorithm is the only one accepted; it is never taken from the token.
const algorithm = "RS256"

// MaxSignature bounds updateManifestSignature; genuine ones have 2,405 bytes.
const MaxSignature = 16 << 10

// Signer is who signed: the root's and the signing key's ids.
type Signer struct{ Root, Key string }

type compact struct {
	header, payload strictjson.Value
	signed          string // header and payload as sent, which the signature covers
	signature       []byte
}

// parseCompact splits a compact JWS and reads its two objects.
func parseCompact(s string) (compact, error) {
	parts := strings.Split(s, ".")
	if len(s) > MaxSignature || len(parts) != 3 {
		return compact{}, refuse(BadStructure, "want three segments")
	}
	c := compact{signed: s[:len(parts[0])+1+len(parts[1])]}
	for i, into := range []*strictjson.Value{&c.header, &c.payload} {
		text, err := decodeSegment(parts[i])
		if err != nil {
			return compact{}, refuse(BadStructure, "segment is not base64url")
		}
		v, err := strictjson.Parse(text, strictjson.Limits{Bytes: MaxSignature, Depth: 4, Values: 64})
		if err != nil || v.Kind() != strictjson.Object {
			return compact{}, refuse(BadStructure, "segment is not a JSON object")
		}
		*into = v
	}
	var err error
	if c.signature, err = decodeSegment(parts[2]); err != nil {
		return compact{}, refuse(BadStructure, "signature is not base64url")
	}
	if alg, _ := c.header.Get("alg").Str(); alg != algorithm {
		return compact{}, refuse(BadAlgorithm, "alg is not "+algorithm)
	}
	// RFC 7515, 4.1.11: what is critical and not understood must be refused.
	if c.header.Get("crit").Kind() != strictjson.Absent {
		return compact{}, refuse(BadStructure, "critical header parameters")
	}
	return c, nil
}

func (c compact) verify(key *rsa.PublicKey) error {
	sum := sha256.Sum256([]byte(c.signed))
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], c.signature) != nil {
		return refuse(BadSignature, "")
	}
	return nil
}

// VerifySignature checks that a trusted root vouches for the key that signed
// exactly these bytes, in the agent's order (docs/spec/device-update.md 4.2).
// It says nothing of the content: Verify does both.
func (v *Verifier) VerifySignature(manifest []byte, signature string) (Signer, error) {
	trust := v.trust.Load()
	outer, err := parseCompact(signature)
	if err != nil {
		return Signer{}, err
	}
	sjwk, ok := outer.header.Get("sjwk").Str()
	if !ok {
		return Signer{}, refuse(BadStructure, "no sjwk")
	}
	inner, err := parseCompact(sjwk)
	if err != nil {
		return Signer{}, err
	}
	kid, _ := inner.header.Get("kid").Str()
	root, err := trust.root(kid)
	if err != nil {
		return Signer{}, err
	}
	if err := inner.verify(root); err != nil {
		return Signer{}, &Error{BadSignature, "the root does not vouch for the signing key"}
	}
	key, err := parseJWK(inner.payload)
	if err != nil {
		return Signer{}, refuse(BadSigningKey, err.Error())
	}
	hashes, err := disabledHashes(key)
	if err != nil {
		return Signer{}, refuse(BadSigningKey, err.Error())
	}
	for _, h := range hashes {
		if _, disabled := trust.disabledKeys[h]; disabled {
			return Signer{}, refuse(DisabledSigningKey, "")
		}
	}
	if err := outer.verify(key); err != nil {
		return Signer{}, &Error{BadSignature, "the signing key did not sign this"}
	}
	want, err := decodeAny(str(outer.payload.Get("sha256")))
	if err != nil || len(want) != sha256.Size {
		return Signer{}, refuse(BadStructure, "the payload names no SHA-256")
	}
	if got := sha256.Sum256(manifest); subtle.ConstantTimeCompare(got[:], want) != 1 {
		return Signer{}, refuse(HashMismatch, "")
	}
	return Signer{Root: kid, Key: str(inner.payload.Get("kid"))}, nil
}

func str(v strictjson.Value) string {
	s, _ := v.Str()
	return s
}
