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
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"github.com/gatehouse/gatehouse/device/space"
)

// Issuer issues access tokens in Entra's v2 and v1 form, for development: whoever
// trusts its key set trusts everything that it signs. Safe for concurrent use.
type Issuer struct {
	key    *rsa.PrivateKey
	kid    string // of v2 tokens
	kidV1  string // of v1 tokens: a key of the set names one issuer, so that each form has an id of its own
	tenant space.ID
	url    string
	urlV1  string // "": no issuer of v1 tokens belongs to url
	now    func() time.Time
}

// NewIssuer issues for one tenant. url is the issuer; empty means the
// tenant's Entra v2 issuer. A url that ends in /v2.0, as Entra's does, has an issuer
// of v1 tokens as well: the same text up to that slash.
func NewIssuer(key *rsa.PrivateKey, tenant space.ID, url string, now func() time.Time) (*Issuer, error) {
	sum, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	i := &Issuer{key: key, kid: base64.RawURLEncoding.EncodeToString(sum), tenant: tenant, url: url, now: now}
	switch base, versioned := strings.CutSuffix(url, "v2.0"); {
	case url == "":
		i.urlV1, i.url, i.kidV1 = entraIssuers(tenant)[0], entraIssuers(tenant)[1], i.kid
	case versioned && strings.HasSuffix(base, "/"):
		i.urlV1, i.kidV1 = base, i.kid+"-v1"
	}
	return i, nil
}

// URL is the issuer that its v2 tokens name.
func (i *Issuer) URL() string { return i.url }

// URLs are the issuers that its tokens name: of v2 tokens, and of v1 tokens if it issues such.
func (i *Issuer) URLs() []string {
	if i.urlV1 == "" {
		return []string{i.url}
	}
	return []string{i.url, i.urlV1}
}

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
	Version  int    // of the token's form: 1 or 2; 0: 2
	Client   string // the application that asked: azp, in the v1 form appid; "": neither
	Resource string // xms_mirid, the ARM id of a managed identity; "": no such claim
}

// Mint issues a token.
func (i *Issuer) Mint(m Mint) (string, error) {
	claims := i.times(m.Life)
	claims["iss"], claims["tid"], claims["oid"], claims["aud"], claims["ver"] = i.url, i.tenant, m.Object, m.Audience, "2.0"
	kid, client := i.kid, "azp"
	if m.Version == 1 {
		if i.urlV1 == "" {
			return "", fmt.Errorf("mint: %w: %s has no v1 form", ErrIssuer, i.url)
		}
		claims["iss"], claims["ver"], kid, client = i.urlV1, "1.0", i.kidV1, "appid"
	}
	if m.Client != "" {
		claims[client] = m.Client
	}
	if m.Resource != "" {
		claims["xms_mirid"] = m.Resource
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
	return i.sign(kid, claims)
}

// MintID says what an ID token (OpenID Connect Core 2) shall say.
type MintID struct {
	Client string // the application that it is for: aud
	Nonce  string // of the authorization request; "": there was none
	Object space.ID
	UPN    string
	Name   string
	Life   time.Duration
}

// MintID issues an ID token. It is a statement for the application, and no surface accepts it as an access token,
// because its audience is the application.
func (i *Issuer) MintID(m MintID) (string, error) {
	claims := i.times(m.Life)
	claims["iss"], claims["tid"], claims["oid"], claims["aud"], claims["ver"] = i.url, i.tenant, m.Object, m.Client, "2.0"
	claims["sub"], claims["preferred_username"], claims["upn"] = "user-"+m.Object.String(), m.UPN, m.UPN
	if m.Name != "" {
		claims["name"] = m.Name
	}
	if m.Nonce != "" {
		claims["nonce"] = m.Nonce
	}
	return i.sign(i.kid, claims)
}

func (i *Issuer) times(life time.Duration) map[string]any {
	now := i.now()
	return map[string]any{"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(life).Unix()}
}

func (i *Issuer) sign(kid string, claims map[string]any) (string, error) {
	s, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: i.key, KeyID: kid}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	return josejwt.Signed(s).Claims(claims).Serialize()
}

// JWKS is the public key set, in the form that ParseKeys reads.
func (i *Issuer) JWKS() ([]byte, error) {
	keys := []any{}
	add := func(kid, issuer string) error {
		public, err := jose.JSONWebKey{Key: i.key.Public(), KeyID: kid, Algorithm: string(jose.RS256), Use: "sig"}.MarshalJSON()
		if err != nil {
			return err
		}
		var members map[string]any
		if err := json.Unmarshal(public, &members); err != nil {
			return err
		}
		members["issuer"] = issuer
		keys = append(keys, members)
		return nil
	}
	err := add(i.kid, i.url)
	if i.urlV1 != "" && i.kidV1 != i.kid {
		err = errors.Join(err, add(i.kidV1, i.urlV1))
	}
	if err != nil {
		return nil, err
	}
	return json.MarshalIndent(map[string]any{"keys": keys}, "", "  ")
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
