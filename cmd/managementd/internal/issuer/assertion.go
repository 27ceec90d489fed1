package issuer

import (
	"crypto/rsa"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" // RFC 7523 2.2
	// exchangeAudience is what a token of another issuer is for that is presented here.
	exchangeAudience = "api://AzureADTokenExchange"
	// maxAssertion is the longest life of an assertion; clients sign for ten minutes.
	maxAssertion = 24 * time.Hour
	// skew is how far a client's clock may be off.
	skew = 5 * time.Minute
)

// asserted judges a client assertion (RFC 7523 3): signed by the key of a certificate of the account, or issued by an
// issuer that one of its federated credentials names.
func (i *Issuer) asserted(p *party, r request) *fault {
	wrong := func(number int, text string) *fault {
		return &fault{http.StatusUnauthorized, "invalid_client", number, text}
	}
	if r.form.Get("client_assertion_type") != assertionType {
		return bad("invalid_request", 900144, "client_assertion_type must be "+assertionType)
	}
	raw := r.form.Get("client_assertion")
	t, err := josejwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256})
	if err != nil || len(t.Headers) != 1 {
		return wrong(50027, "the client assertion is no JWT that is signed by RS256 or PS256")
	}
	var unverified josejwt.Claims
	if err := t.UnsafeClaimsWithoutVerification(&unverified); err != nil {
		return wrong(50027, "the client assertion cannot be read")
	}
	var claims josejwt.Claims
	audience := r.at
	if f, ok := p.federation(unverified); ok {
		if err := t.Claims(f.keys, &claims); err != nil {
			return wrong(700211, "no key of the federated credential signed the client assertion")
		}
		audience = exchangeAudience
	} else {
		key, ok := p.certificateFor(t.Headers[0], i.o.Now())
		if !ok {
			return wrong(700027, "the client assertion names no certificate of the account that is valid now")
		}
		if err := t.Claims(key, &claims); err != nil {
			return wrong(700027, "the client assertion is not signed by the key of the certificate that it names")
		}
		if claims.Issuer != claims.Subject || !strings.EqualFold(claims.Subject, p.id) {
			return wrong(700021, "iss and sub of the client assertion are not the client id")
		}
	}
	if len(claims.Audience) != 1 || claims.Audience[0] != audience {
		return wrong(700021, "aud of the client assertion is not "+audience)
	}
	now := i.o.Now()
	switch {
	case claims.Expiry == nil, !now.Before(claims.Expiry.Time().Add(skew)),
		claims.Expiry.Time().Sub(now) > maxAssertion:
		return wrong(700024, "the client assertion is over, or names no end, or one that is too far")
	case claims.NotBefore != nil && now.Add(skew).Before(claims.NotBefore.Time()),
		claims.IssuedAt != nil && now.Add(skew).Before(claims.IssuedAt.Time()):
		return wrong(700024, "the client assertion is not valid yet: look at the clocks")
	}
	return nil
}

// federation is the federated credential that the claims name. It is chosen before the signature is verified, with
// the keys of that very credential.
func (p *party) federation(c josejwt.Claims) (federated, bool) {
	for _, f := range p.federated {
		if f.issuer == c.Issuer && f.subject == c.Subject {
			return f, true
		}
	}
	return federated{}, false
}

// certificateFor is the key of the account's certificate that the header names by its thumbprint. A certificate that
// the header itself carries (x5c) is not looked at: every client names the thumbprint as well.
func (p *party) certificateFor(h jose.Header, now time.Time) (*rsa.PublicKey, bool) {
	sha1Name, _ := h.ExtraHeaders["x5t"].(string)
	sha256Name, _ := h.ExtraHeaders["x5t#S256"].(string)
	for _, c := range p.certificates {
		one, two := thumbprints(c)
		if !isThumbprint(sha256Name, two[:]) && !isThumbprint(sha1Name, one[:]) {
			continue
		}
		key, ok := c.PublicKey.(*rsa.PublicKey)
		return key, ok && !now.Before(c.NotBefore) && !now.After(c.NotAfter)
	}
	return nil, false
}

// isThumbprint compares a thumbprint in any of the four base64 alphabets: az pads base64url, MSAL-Go writes standard
// base64, msal-node base64url (docs/spec/azure-today.md 0).
func isThumbprint(text string, want []byte) bool {
	text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
	got, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && len(got) > 0 && subtle.ConstantTimeCompare(got, want) == 1
}
