package jwt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse/gatehouse/device/space"
)

var (
	home     = space.MustID("7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001")
	foreign  = space.MustID("7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1002")
	object   = space.MustID("3cdfde07-bc16-40d9-bed3-66d49a8f52ae")
	group    = space.MustID("dfaac54c-f583-4dd2-b45d-8d4bbc0aa1ac")
	now      = time.Unix(1800000000, 0)
	clock    = func() time.Time { return now }
	testKey  = sync.OnceValue(mustKey)
	otherKey = sync.OnceValue(mustKey)
)

const (
	aud = "api://gatehouse"
	v1  = "https://sts.windows.net/7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001/"
	v2  = "https://login.microsoftonline.com/7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001/v2.0"
)

func mustKey() *rsa.PrivateKey {
	k, err := NewKey()
	if err != nil {
		panic(err)
	}
	return k
}

type m = map[string]any

// token signs claims; with changes delete what is nil.
func token(t testing.TB, alg jose.SignatureAlgorithm, key any, kid string, changes ...m) string {
	t.Helper()
	claims := m{
		"iss": v2, "aud": aud, "tid": home, "oid": object, "sub": "pairwise", "scp": "other user_impersonation",
		"exp": now.Unix() + 3600, "nbf": now.Unix(), "iat": now.Unix(), "upn": "Ann@Example.com", "ver": "2.0",
	}
	for _, c := range changes {
		for k, v := range c {
			if claims[k] = v; v == nil {
				delete(claims, k)
			}
		}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return sign(t, alg, key, kid, string(payload))
}

func sign(t testing.TB, alg jose.SignatureAlgorithm, key any, kid, payload string) string {
	t.Helper()
	s, err := jose.NewSigner(
		jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}},
		(&jose.SignerOptions{}).WithType("JWT"),
	)
	if err != nil {
		t.Fatal(err)
	}
	j, err := s.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	out, err := j.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// set is a JWKS in Entra's form: each key with kid and issuer.
func set(t testing.TB, keys ...any) Keys {
	t.Helper()
	var raw []any
	for i := 0; i < len(keys); i += 3 {
		b, err := jose.JSONWebKey{Key: keys[i], KeyID: keys[i+1].(string), Use: "sig"}.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var j m
		if err := json.Unmarshal(b, &j); err != nil {
			t.Fatal(err)
		}
		if iss := keys[i+2].(string); iss != "" {
			j["issuer"] = iss
		}
		raw = append(raw, j)
	}
	b, err := json.Marshal(m{"keys": raw})
	if err != nil {
		t.Fatal(err)
	}
	k, _, err := ParseKeys(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func verifier(t testing.TB, keys Keys, algs ...jose.SignatureAlgorithm) *Verifier {
	t.Helper()
	v, err := NewVerifier(Options{
		Tenants:    []Tenant{{ID: home, Issuers: []string{"https://dev.example/"}, VerifiedDomains: []string{"@Example.com", "other.org"}}},
		Audiences:  []string{aud, "https://api.adu.microsoft.com/"},
		Algorithms: algs, Leeway: time.Minute,
		Keys: func() Keys { return keys }, Now: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

const anyTenant = "https://login.microsoftonline.com/{tenantid}/v2.0"

func TestDelegatedMember(t *testing.T) {
	k := testKey()
	v := verifier(t, set(t, k.Public(), "k1", anyTenant))
	c, err := v.Verify(token(t, jose.RS256, k, "k1", m{"groups": []any{group}}))
	if err != nil {
		t.Fatal(err)
	}
	if c.Kind != User || c.Tenant != home || c.Object != object || !c.Member || c.Domain != "@example.com" ||
		!c.GroupsKnown || len(c.Groups) != 1 || c.Groups[0] != group ||
		!c.Expires.Equal(now.Add(time.Hour+time.Minute)) || c.KeyID != "k1" || c.Name != "Ann@Example.com" {
		t.Errorf("%+v", c)
	}
}

func TestKindsMembersDomainsGroups(t *testing.T) {
	k := testKey()
	v := verifier(t, set(t, k.Public(), "k1", anyTenant))
	app := m{"scp": nil, "upn": nil, "idtyp": "app"}
	for _, c := range []struct {
		name   string
		change m
		kind   Kind // NoPrincipal: refused
		member bool
		domain string
		groups bool
	}{
		{"v1 issuer", m{"iss": v1}, User, true, "@example.com", false},
		{"audience list of one", m{"aud": []string{aud}}, User, true, "@example.com", false},
		{"idtyp user", m{"idtyp": "user"}, User, true, "@example.com", false},
		{
			"no upn",
			m{"upn": nil, "email": "a@example.com", "preferred_username": "a@example.com", "unique_name": "a@example.com"},
			User, true, "", false,
		},
		{"domain not verified", m{"upn": "a@example.org"}, User, true, "", false},
		{"domain below a verified one", m{"upn": "a@sub.example.com"}, User, true, "", false},
		{"domain ends like a verified one", m{"upn": "a@badexample.com"}, User, true, "", false},
		{"two at signs", m{"upn": "a@evil.org@example.com"}, User, true, "", false},
		{"nobody at a domain", m{"upn": "@example.com"}, User, true, "", false},
		{"acct 0", m{"acct": 0}, User, true, "@example.com", false},
		{"own idp", m{"idp": v1}, User, true, "@example.com", false},
		{"guest: acct 1", m{"acct": 1}, User, false, "", false},
		{"guest: acct as text", m{"acct": "1"}, User, false, "", false},
		{"guest: acct unknown", m{"acct": true}, User, false, "", false},
		{"guest: #EXT#", m{"upn": "bob_evil.org#ext#@example.com"}, User, false, "", false},
		{"guest: foreign idp", m{"idp": "https://sts.windows.net/7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1002/"}, User, false, "", false},
		{"guest: live.com", m{"idp": "live.com"}, User, false, "", false},
		{"application by idtyp", app, ServicePrincipal, false, "", false},
		{"application with a upn of its own", m{"scp": nil, "idtyp": "app", "upn": "a@example.com"}, ServicePrincipal, false, "", false},
		{"application by sub", m{"scp": nil, "upn": nil, "sub": object}, ServicePrincipal, false, "", false},
		{"no scp, sub of its own", m{"scp": nil}, NoPrincipal, false, "", false},
		{"empty scp, oid = sub", m{"scp": "", "sub": object}, NoPrincipal, false, "", false},
		{"application and delegated", m{"idtyp": "app"}, NoPrincipal, false, "", false},
		{"user without scp", m{"scp": nil, "idtyp": "user", "sub": object}, NoPrincipal, false, "", false},
		{"unknown idtyp", m{"scp": nil, "idtyp": "device", "sub": object}, NoPrincipal, false, "", false},
		{"another scope", m{"scp": "user_impersonation.read"}, NoPrincipal, false, "", false},
		{"no oid", m{"oid": nil}, NoPrincipal, false, "", false},
		{"oid no GUID", m{"oid": "ann"}, NoPrincipal, false, "", false},
		{"groups", m{"groups": []any{group}}, User, true, "@example.com", true},
		{"no groups, all of them", m{"groups": []any{}}, User, true, "@example.com", true},
		{"group names", m{"groups": []any{group, "admins"}}, User, true, "@example.com", false},
		{"overage by claim names", m{"groups": []any{group}, "_claim_names": m{"groups": "src1"}}, User, true, "@example.com", false},
		{"overage by hasgroups", m{"hasgroups": true, "groups": []any{group}}, User, true, "@example.com", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := v.Verify(token(t, jose.RS256, k, "k1", c.change))
			if err != nil {
				if c.kind != NoPrincipal {
					t.Fatal(err)
				}
				return
			}
			if got.Kind != c.kind || got.Member != c.member || got.Domain != c.domain || got.GroupsKnown != c.groups ||
				!c.groups && got.Groups != nil {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	k, o := testKey(), otherKey()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := set(t, k.Public(), "k1", anyTenant, ec.Public(), "e1", anyTenant, k.Public(), "fixed", v2,
		o.Public(), "elsewhere", strings.Replace(v2, "1001", "1002", 1), o.Public(), "dev", "https://dev.example/",
		o.Public(), "unlisted", "https://unlisted.example/")
	v := verifier(t, keys)
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	good := token(t, jose.RS256, k, "k1")
	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	none := b64([]byte(`{"alg":"none","kid":"k1","typ":"JWT"}`)) + "." + parts[1] + "."
	inline := func() string { // the key comes along in the token
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: o}, &jose.SignerOptions{EmbedJWK: true})
		if err != nil {
			t.Fatal(err)
		}
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		j, err := s.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		out, err := j.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}()
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		token string
		want  error
	}{
		{"good", good, nil},
		{"good, key of one tenant", token(t, jose.RS256, k, "fixed"), nil},
		{"good, configured issuer with its own key", token(t, jose.RS256, o, "dev", m{"iss": "https://dev.example/"}), nil},
		{"good, within the leeway", token(t, jose.RS256, k, "k1", m{"exp": now.Unix() - 59, "nbf": now.Unix() + 60}), nil},
		{"alg none", none, ErrAlgorithm},
		{"alg none, no signature part", strings.TrimSuffix(none, "."), ErrMalformed},
		{"HS256 with the public key as PEM", token(t, jose.HS256, public, "k1"), ErrAlgorithm},
		{"HS256 with the public key as DER", token(t, jose.HS256, der, "k1"), ErrAlgorithm},
		{"PS256", token(t, jose.PS256, k, "k1"), ErrAlgorithm},
		{"ES256 when only RS256 is listed", token(t, jose.ES256, ec, "e1"), ErrAlgorithm},
		{"no kid", token(t, jose.RS256, k, ""), ErrKey},
		{"unknown kid", token(t, jose.RS256, k, "k2"), ErrKey},
		{"key in the token", inline, ErrKey},
		{"another key under the kid", token(t, jose.RS256, o, "k1"), ErrSignature},
		{
			"payload changed",
			parts[0] + "." + b64([]byte(strings.Replace(string(payload), "1001", "1003", 1))) + "." + parts[2],
			ErrSignature,
		},
		{"signature cut", good[:len(good)-4], ErrSignature},
		{"unknown tenant", token(t, jose.RS256, k, "k1", m{"tid": foreign, "iss": strings.Replace(v2, "1001", "1002", 1)}), ErrTenant},
		{"no tenant", token(t, jose.RS256, k, "k1", m{"tid": nil}), ErrMalformed},
		{"issuer of another tenant", token(t, jose.RS256, k, "k1", m{"iss": strings.Replace(v2, "1001", "1002", 1)}), ErrIssuer},
		{"issuer without the slash", token(t, jose.RS256, k, "k1", m{"iss": strings.TrimSuffix(v1, "/")}), ErrIssuer},
		{"issuer with more", token(t, jose.RS256, k, "k1", m{"iss": v2 + "/"}), ErrIssuer},
		{"issuer in another case", token(t, jose.RS256, k, "k1", m{"iss": strings.ToUpper(v2)}), ErrIssuer},
		{"key of another tenant", token(t, jose.RS256, o, "elsewhere"), ErrIssuer},
		{"key of the configured issuer signs as Entra", token(t, jose.RS256, o, "dev"), ErrIssuer},
		{"Entra's key signs as the configured issuer", token(t, jose.RS256, k, "k1", m{"iss": "https://dev.example/"}), ErrIssuer},
		{
			"an issuer that is not listed, with its own key",
			token(t, jose.RS256, o, "unlisted", m{"iss": "https://unlisted.example/"}), ErrIssuer,
		},
		{"another audience", token(t, jose.RS256, k, "k1", m{"aud": aud + "/"}), ErrAudience},
		{"two audiences", token(t, jose.RS256, k, "k1", m{"aud": []string{aud, "x"}}), ErrAudience},
		{"no audience", token(t, jose.RS256, k, "k1", m{"aud": nil}), ErrAudience},
		{"expired", token(t, jose.RS256, k, "k1", m{"exp": now.Unix() - 60}), ErrExpired},
		{"no exp", token(t, jose.RS256, k, "k1", m{"exp": nil}), ErrMalformed},
		{"not yet", token(t, jose.RS256, k, "k1", m{"nbf": now.Unix() + 61}), ErrNotYet},
		{"no nbf", token(t, jose.RS256, k, "k1", m{"nbf": nil}), ErrMalformed},
		{"claim in another case", token(t, jose.RS256, k, "k1", m{"exp": nil, "Exp": now.Unix() + 60}), ErrMalformed},
		{"claim twice", sign(t, jose.RS256, k, "k1", `{"tid":"x",`+string(payload)[1:]), ErrMalformed},
		{"no JSON", sign(t, jose.RS256, k, "k1", "hello"), ErrMalformed},
		{"another type", strings.Replace(good, parts[0], b64([]byte(`{"alg":"RS256","kid":"k1","typ":"JWE"}`)), 1), ErrMalformed},
		{"empty", "", ErrMalformed},
		{"too long", good + strings.Repeat("A", maxToken), ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := v.Verify(c.token)
			if !errors.Is(err, c.want) || (err == nil) != (got != nil) {
				t.Errorf("%+v, %v; want %v", got, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "user_impersonation") {
				t.Errorf("the error tells the payload: %v", err)
			}
		})
	}
	both := verifier(t, keys, jose.RS256, jose.ES256)
	if _, err := both.Verify(token(t, jose.ES256, ec, "e1")); err != nil {
		t.Errorf("ES256, listed: %v", err)
	}
	if _, err := both.Verify(token(t, jose.ES256, ec, "k1")); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("ES256 under the kid of an RSA key: %v", err)
	}
	if _, err := verifier(t, Keys{}).Verify(good); !errors.Is(err, ErrKey) {
		t.Errorf("without keys: %v", err)
	}
}

func TestOptions(t *testing.T) {
	ok := Options{Keys: func() Keys { return Keys{} }, Now: clock}
	for name, change := range map[string]func(*Options){
		"HS256":        func(o *Options) { o.Algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.HS256} },
		"none":         func(o *Options) { o.Algorithms = []jose.SignatureAlgorithm{"none"} },
		"leeway":       func(o *Options) { o.Leeway = time.Hour },
		"zero tenant":  func(o *Options) { o.Tenants = []Tenant{{}} },
		"empty issuer": func(o *Options) { o.Tenants = []Tenant{{ID: home, Issuers: []string{""}}} },
		"no clock":     func(o *Options) { o.Now = nil },
		"no keys":      func(o *Options) { o.Keys = nil },
	} {
		o := ok
		change(&o)
		if _, err := NewVerifier(o); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := NewVerifier(ok); err != nil {
		t.Error(err)
	}
}

func FuzzVerify(f *testing.F) {
	k := testKey()
	v := verifier(f, set(f, k.Public(), "k1", anyTenant))
	good := token(f, jose.RS256, k, "k1")
	for _, s := range []string{good, good[:40], "a.b.c", "", `{"payload":"x"}`, "eyJhbGciOiJub25lIn0.e30."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		// Nothing but the signed text itself is proved: go-jose ignores blanks around it.
		if c, err := v.Verify(s); err == nil && strings.Join(strings.Fields(s), "") != good {
			t.Errorf("%q proved %+v", s, c)
		}
	})
}
