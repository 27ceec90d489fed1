// Package jwt verifies Entra access tokens (v1 and v2) without a network: the
// keys arrive from elsewhere as a JWKS, and an unknown kid is an answer, never
// a reason to fetch. It also issues such tokens for development (issuer.go).
//
// Rules (docs/spec/semantics.md 1.5): algorithms are listed by the caller, never taken from
// the token; a kid is needed; the issuer is exactly one of an allow-listed
// tenant and the signing key belongs to that issuer; the audience is one of
// the surface's. Anything unclear about the token refuses it; anything unclear about
// membership makes the user a guest, and about groups makes them unknown.
//
// A Verifier is immutable and safe for concurrent use. Errors never hold the
// token or a claim that could be one.
package jwt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"github.com/gatehouse/gatehouse/device/space"
)

// What can be wrong with a token.
var (
	ErrMalformed = errors.New("malformed token")
	ErrAlgorithm = errors.New("algorithm not allowed")
	ErrKey       = errors.New("unknown signing key")
	ErrSignature = errors.New("wrong signature")
	ErrTenant    = errors.New("tenant not allowed")
	ErrIssuer    = errors.New("wrong issuer")
	ErrAudience  = errors.New("wrong audience")
	ErrExpired   = errors.New("token expired")
	ErrNotYet    = errors.New("token not valid yet")
	ErrKind      = errors.New("neither a delegated nor an application token")
	ErrScope     = errors.New("scope missing")
)

const (
	maxToken = 32 << 10
	// MaxLeeway bounds Options.Leeway.
	MaxLeeway = 5 * time.Minute
	// DefaultScope is the scope that a delegated token must hold.
	DefaultScope = "user_impersonation"
)

// Tenant is a tenant whose tokens are accepted.
type Tenant struct {
	ID space.ID
	// Issuers are accepted besides the tenant's Entra v1 and v2 issuer, exact text.
	Issuers []string
	// VerifiedDomains are the domains by which DomainName may match
	// ("example.com", a leading @ is allowed).
	VerifiedDomains []string
}

// Options of a Verifier, one for each surface.
type Options struct {
	Tenants    []Tenant
	Audiences  []string                  // exact text
	Scope      string                    // DefaultScope if empty
	Algorithms []jose.SignatureAlgorithm // RS256 if empty; RS256 and ES256 are known
	Leeway     time.Duration             // for exp and nbf
	Keys       func() Keys               // returns the keys that are trusted now
	Now        func() time.Time
}

// Verifier verifies the tokens of one surface.
type Verifier struct {
	o       Options
	tenants map[space.ID]tenant
}

type tenant struct {
	entra, issuers []string
	domains        []string
}

// NewVerifier checks the options.
func NewVerifier(o Options) (*Verifier, error) {
	if o.Scope == "" {
		o.Scope = DefaultScope
	}
	if len(o.Algorithms) == 0 {
		o.Algorithms = []jose.SignatureAlgorithm{jose.RS256}
	}
	for _, a := range o.Algorithms {
		if a != jose.RS256 && a != jose.ES256 {
			return nil, fmt.Errorf("%w: %s: RS256 and ES256 are known", ErrAlgorithm, a)
		}
	}
	if o.Leeway < 0 || o.Leeway > MaxLeeway {
		return nil, fmt.Errorf("leeway %v: at most %v", o.Leeway, MaxLeeway)
	}
	if o.Keys == nil || o.Now == nil {
		return nil, errors.New("keys and clock are needed")
	}
	v := &Verifier{o: o, tenants: make(map[space.ID]tenant)}
	for _, t := range o.Tenants {
		if t.ID.IsZero() || slices.Contains(t.Issuers, "") {
			return nil, errors.New("a tenant needs an id and no empty issuer")
		}
		x := tenant{entra: entraIssuers(t.ID)}
		x.issuers = append(slices.Clone(x.entra), t.Issuers...)
		for _, d := range t.VerifiedDomains {
			x.domains = append(x.domains, strings.ToLower(strings.TrimPrefix(d, "@")))
		}
		v.tenants[t.ID] = x
	}
	return v, nil
}

// entraIssuers are the v1 and the v2 issuer of a tenant in Entra's public cloud;
// those of other clouds are configured.
func entraIssuers(tid space.ID) []string {
	return []string{
		"https://sts.windows.net/" + tid.String() + "/",
		"https://login.microsoftonline.com/" + tid.String() + "/v2.0",
	}
}

// compact is the alphabet of the three parts of a token (RFC 7515 3.1): base64url without padding.
const compact = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// Looks tells whether a password is meant as a token, so that it is judged as one: three parts in
// the alphabet of the compact serialisation, and perhaps white space around them, which Verify
// refuses. It proves nothing.
func Looks(password string) bool {
	parts := strings.Split(strings.TrimSpace(password), ".")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" {
		return false
	}
	return !slices.ContainsFunc(parts, func(p string) bool { return strings.Trim(p, compact) != "" })
}

// Verify proves a token (compact serialisation) and returns what it says. White space in or around
// the token is refused: the library ignores it, others do not, and a token has one spelling.
func (v *Verifier) Verify(token string) (*Claims, error) {
	if len(token) > maxToken || strings.ContainsFunc(token, unicode.IsSpace) {
		return nil, ErrMalformed
	}
	t, err := josejwt.ParseSigned(token, v.o.Algorithms)
	var unlisted *jose.ErrUnexpectedSignatureAlgorithm
	if errors.As(err, &unlisted) {
		return nil, ErrAlgorithm
	}
	if err != nil || len(t.Headers) != 1 {
		return nil, ErrMalformed
	}
	h := t.Headers[0]
	if typ, ok := h.ExtraHeaders[jose.HeaderType]; ok && typ != "JWT" && typ != "at+jwt" {
		return nil, ErrMalformed
	}
	k, ok := v.o.Keys().byID[h.KeyID]
	if !ok { // also without a kid: no key is held under ""
		return nil, ErrKey
	}
	// The key's own algorithm, not the token's, says how it may be used.
	if string(k.alg) != h.Algorithm {
		return nil, ErrAlgorithm
	}
	var w payload
	if err := t.Claims(k.public, &w); err != nil {
		if errors.Is(err, jose.ErrCryptoFailure) {
			return nil, ErrSignature
		}
		return nil, ErrMalformed
	}
	c, err := v.judge(&w, k)
	if err != nil {
		return nil, err
	}
	c.KeyID = h.KeyID
	return c, nil
}

func (v *Verifier) judge(w *payload, k key) (*Claims, error) {
	tid, err := space.ParseID(w.TenantID)
	if err != nil {
		return nil, fmt.Errorf("%w: tid", ErrMalformed)
	}
	t, ok := v.tenants[tid]
	if !ok {
		return nil, ErrTenant
	}
	if !slices.Contains(t.issuers, w.Issuer) || !t.owns(k, tid, w.Issuer) {
		return nil, ErrIssuer
	}
	if len(w.Audience) != 1 || !slices.Contains(v.o.Audiences, w.Audience[0]) {
		return nil, ErrAudience
	}
	if w.Expires == nil || w.NotBefore == nil {
		return nil, fmt.Errorf("%w: exp and nbf are needed", ErrMalformed)
	}
	now, expires := v.o.Now(), w.Expires.Time().Add(v.o.Leeway)
	if !expires.After(now) {
		return nil, ErrExpired
	}
	if w.NotBefore.Time().Add(-v.o.Leeway).After(now) {
		return nil, ErrNotYet
	}
	c, err := v.claims(w, tid, t)
	if err != nil {
		return nil, err
	}
	c.Expires = expires
	return c, nil
}

// owns tells whether the signing key belongs to the issuer of the token. Entra
// publishes one set for v1 and v2, every key under the v2 issuer, either of one tenant or with
// {tenantid} in its place.
func (t tenant) owns(k key, tid space.ID, issuer string) bool {
	owner := strings.ReplaceAll(k.issuer, "{tenantid}", tid.String())
	return owner == issuer || slices.Contains(t.entra, owner) && slices.Contains(t.entra, issuer)
}
