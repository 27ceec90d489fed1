// Package manifesttest signs updates for development, demonstrations and
// tests: an authority of its own with two roots and one signing key, in
// exactly the form of the genuine ones. Its roots are trusted only by a
// verifier that names them; no production verifier ever does.
package manifesttest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/gatehouse/gatehouse/device/update/manifest"
)

// The key ids of a development authority.
const (
	RootA      = "GATEHOUSE.DEV.A.R.T"
	RootB      = "GATEHOUSE.DEV.B.R.T"
	SigningKey = "GATEHOUSE.DEV.R.ST"
)

const keyBits = 2048 // genuine keys have 3072; these are made at every first start

// Authority holds the private keys. Safe for concurrent use.
type Authority struct{ rootA, rootB, signing *rsa.PrivateKey }

// New makes an authority with fresh keys.
func New() (*Authority, error) {
	var a Authority
	for _, k := range []**rsa.PrivateKey{&a.rootA, &a.rootB, &a.signing} {
		key, err := rsa.GenerateKey(rand.Reader, keyBits)
		if err != nil {
			return nil, err
		}
		*k = key
	}
	return &a, nil
}

// Marshal writes the keys as PEM, to be kept in a development folder.
func (a *Authority) Marshal() []byte {
	var out []byte
	for _, k := range []*rsa.PrivateKey{a.rootA, a.rootB, a.signing} {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)})...)
	}
	return out
}

// Load reads what Marshal wrote.
func Load(text []byte) (*Authority, error) {
	var a Authority
	for _, k := range []**rsa.PrivateKey{&a.rootA, &a.rootB, &a.signing} {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, errors.New("development update keys: fewer than three PEM blocks")
		}
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("development update keys: %w", err)
		}
		*k = key
	}
	return &a, nil
}

// Roots are the public roots, for manifest.Options.
func (a *Authority) Roots() []manifest.RootKey {
	return []manifest.RootKey{{Kid: RootA, Key: &a.rootA.PublicKey}, {Kid: RootB, Key: &a.rootB.PublicKey}}
}

// JWKS are the public roots as manifest.ParseRoots reads them.
func (a *Authority) JWKS() []byte {
	var keys []any
	for _, r := range a.Roots() {
		keys = append(keys, map[string]string{"kty": "RSA", "kid": r.Kid, "alg": "RS256", "e": "AQAB",
			"n": base64.RawURLEncoding.EncodeToString(r.Key.N.Bytes())})
	}
	return mustJSON(map[string]any{"keys": keys})
}

// SigningPublicKey is the key that signs manifests, so that it can be disabled.
func (a *Authority) SigningPublicKey() *rsa.PublicKey { return &a.signing.PublicKey }

// Sign makes the updateManifestSignature of exactly these bytes.
func (a *Authority) Sign(text []byte) string { return a.SignWithHeader(text, "") }

// SignWithHeader is Sign with more members, each followed by a comma, in the
// outer header.
func (a *Authority) SignWithHeader(text []byte, more string) string {
	sum := sha256.Sum256(text)
	jwk := fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AQAB","alg":"RS256","kid":%q}`,
		base64.StdEncoding.EncodeToString(a.signing.N.Bytes()), SigningKey)
	sjwk := Compact(a.rootA, fmt.Sprintf(`{"alg":"RS256","kid":%q}`, RootA), jwk)
	return Compact(a.signing, fmt.Sprintf(`{"alg":"RS256",%s"sjwk":%q}`, more, sjwk),
		fmt.Sprintf(`{"sha256":%q}`, base64.StdEncoding.EncodeToString(sum[:])))
}

// Compact is a compact JWS over any header and payload: also for the ones
// that must be refused.
func Compact(key *rsa.PrivateKey, header, payload string) string {
	e := base64.RawURLEncoding
	signed := e.EncodeToString([]byte(header)) + "." + e.EncodeToString([]byte(payload))
	return signed + "." + e.EncodeToString(sign(key, []byte(signed)))
}

func sign(key *rsa.PrivateKey, text []byte) []byte {
	sum := sha256.Sum256(text)
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		panic("signing with a development key: " + err.Error())
	}
	return sig
}

// Package describes a root key package.
type Package struct {
	Version       int64
	Test          bool
	DisabledRoots []string
	DisabledKeys  [][]byte // SHA-256 hashes
}

// RootKeyPackage signs a root key package with both roots.
func (a *Authority) RootKeyPackage(p Package) []byte {
	e := base64.RawURLEncoding
	disabled, keys := []string{}, []any{}
	disabled = append(disabled, p.DisabledRoots...)
	for _, h := range p.DisabledKeys {
		keys = append(keys, map[string]string{"alg": "SHA256", "hash": e.EncodeToString(h)})
	}
	root := func(k *rsa.PrivateKey) string {
		return fmt.Sprintf(`{"keyType":"RSA","n":%q,"e":65537}`, e.EncodeToString(k.N.Bytes()))
	}
	protected := fmt.Sprintf(
		`{"isTest":%t,"version":%d,"published":1675972876,"disabledRootKeys":%s,"disabledSigningKeys":%s,"rootKeys":{%q:%s,%q:%s}}`,
		p.Test,
		p.Version,
		mustJSON(disabled),
		mustJSON(keys),
		RootA,
		root(a.rootA),
		RootB,
		root(a.rootB),
	)
	return fmt.Appendf(nil, `{"protected":%s,"signatures":[{"alg":"RS256","sig":%q},{"alg":"RS256","sig":%q}]}`,
		protected, e.EncodeToString(sign(a.rootA, []byte(protected))), e.EncodeToString(sign(a.rootB, []byte(protected))))
}

// Update describes a simple update: one step, one file.
type Update struct {
	ID                  manifest.UpdateID
	Manufacturer, Model string
	FileID, FileName    string
	Content             []byte
	Created             string // RFC 3339
}

// Manifest writes the version 5 manifest of an update.
func (u Update) Manifest() []byte {
	sum := sha256.Sum256(u.Content)
	return fmt.Appendf(
		nil,
		`{"manifestVersion":"5","updateId":{"provider":%q,"name":%q,"version":%q},"compatibility":[{"manufacturer":%q,"model":%q}],`+
			`"instructions":{"steps":[{"handler":"microsoft/swupdate:1","files":[%q],"handlerProperties":{"installedCriteria":%q}}]},`+
			`"files":{%q:{"fileName":%q,"sizeInBytes":%d,"hashes":{"sha256":%q}}},"createdDateTime":%q}`,
		u.ID.Provider,
		u.ID.Name,
		u.ID.Version,
		u.Manufacturer,
		u.Model,
		u.FileID,
		u.ID.Version,
		u.FileID,
		u.FileName,
		len(u.Content),
		base64.StdEncoding.EncodeToString(sum[:]),
		u.Created,
	)
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("marshalling plain values: " + err.Error())
	}
	return b
}

// SignWithKey is a signature whose signing key is described by any text: the
// root vouches for it, whatever it says. Only good for being refused.
func (a *Authority) SignWithKey(jwk string) string {
	sjwk := Compact(a.rootA, fmt.Sprintf(`{"alg":"RS256","kid":%q}`, RootA), jwk)
	return Compact(a.signing, fmt.Sprintf(`{"alg":"RS256","sjwk":%q}`, sjwk), `{"sha256":""}`)
}
