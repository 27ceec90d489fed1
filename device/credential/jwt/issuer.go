package jwt

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"github.com/gatehouse/gatehouse/device/space"
)

// Issuer issues access tokens in Entra's v2 form, for development: whoever
// trusts its key set trusts everything that it signs. Safe for concurrent use.
type Issuer struct {
	key    *rsa.PrivateKey
	kid    string
	tenant space.ID
	url    string
	now    func() time.Time
}

// NewIssuer issues for one tenant. url is the issuer; empty means the
// tenant's Entra v2 issuer.
func NewIssuer(key *rsa.PrivateKey, tenant space.ID, url string, now func() time.Time) (*Issuer, error) {
	sum, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	if url == "" {
		url = entraIssuers(tenant)[1]
	}
	return &Issuer{key: key, kid: base64.RawURLEncoding.EncodeToString(sum), tenant: tenant, url: url, now: now}, nil
}

// URL is the issuer that its tokens name.
func (i *Issuer) URL() string { return i.url }

// Mint says what a token shall say.
type Mint struct {
	Kind     Kind
	Object   space.ID
	Audience string
	Scope    string // users; DefaultScope if empty
	UPN      string // users
	Guest    bool   // users
	Name     string
	Groups   []space.ID // nil: no groups claim
	Life     time.Duration
}

// Mint issues a token.
func (i *Issuer) Mint(m Mint) (string, error) {
	now := i.now()
	claims := map[string]any{
		"iss": i.url, "tid": i.tenant, "oid": m.Object, "aud": m.Audience, "ver": "2.0",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(m.Life).Unix(),
	}
	switch m.Kind {
	case User:
		// A pairwise subject, as Entra's: never the object id.
		claims["sub"] = "user-" + m.Object.String()
		claims["scp"], claims["acct"] = m.Scope, 0
		if m.Scope == "" {
			claims["scp"] = DefaultScope
		}
		if m.UPN != "" {
			claims["upn"] = m.UPN
		}
		if m.Guest {
			claims["acct"] = 1
		}
	case ServicePrincipal:
		claims["sub"], claims["idtyp"] = m.Object, "app"
	default:
		return "", fmt.Errorf("mint: %w", ErrKind)
	}
	if m.Name != "" {
		claims["name"] = m.Name
	}
	if m.Groups != nil {
		claims["groups"] = m.Groups
	}
	s, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: i.key, KeyID: i.kid}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	return josejwt.Signed(s).Claims(claims).Serialize()
}

// JWKS is the public key set, in the form that ParseKeys reads.
func (i *Issuer) JWKS() ([]byte, error) {
	public, err := jose.JSONWebKey{Key: i.key.Public(), KeyID: i.kid, Algorithm: string(jose.RS256), Use: "sig"}.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var members map[string]any
	if err := json.Unmarshal(public, &members); err != nil {
		return nil, err
	}
	members["issuer"] = i.url
	return json.MarshalIndent(map[string]any{"keys": []any{members}}, "", "  ")
}

// NewKey makes a signing key.
func NewKey() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }

// MarshalKey writes a signing key as PEM (PKCS #8). It is a secret.
func MarshalKey(k *rsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// UnmarshalKey reads what MarshalKey wrote.
func UnmarshalKey(b []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("signing key: no PEM")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("signing key: not PKCS #8")
	}
	r, ok := k.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("signing key: not RSA")
	}
	return r, nil
}
