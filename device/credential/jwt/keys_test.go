package jwt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse/gatehouse/device/space"
)

func TestParseKeysLeavesOutWhatCannotBeUsed(t *testing.T) {
	k := testKey()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk := func(j jose.JSONWebKey, issuer string) map[string]any {
		b, err := j.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]any
		if err := json.Unmarshal(b, &out); err != nil {
			t.Fatal(err)
		}
		if issuer != "" {
			out["issuer"] = issuer
		}
		return out
	}
	set := map[string]any{"keys": []any{
		jwk(jose.JSONWebKey{Key: k.Public(), KeyID: "good"}, v2),
		jwk(jose.JSONWebKey{Key: k.Public()}, v2),
		jwk(jose.JSONWebKey{Key: k.Public(), KeyID: "no issuer"}, ""),
		jwk(jose.JSONWebKey{Key: k.Public(), KeyID: "twice"}, v2),
		jwk(jose.JSONWebKey{Key: k.Public(), KeyID: "twice"}, v1),
		jwk(jose.JSONWebKey{Key: k.Public(), KeyID: "thrice"}, v2),
		jwk(jose.JSONWebKey{Key: k.Public(), KeyID: "thrice"}, ""),
		jwk(jose.JSONWebKey{Key: k.Public(), KeyID: "thrice"}, v2),
		jwk(jose.JSONWebKey{Key: k, KeyID: "private"}, v2),
		jwk(jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "symmetric"}, v2),
		jwk(jose.JSONWebKey{Key: weak.Public(), KeyID: "weak"}, v2),
		jwk(jose.JSONWebKey{Key: p384.Public(), KeyID: "p384"}, v2),
		jwk(jose.JSONWebKey{Key: k.Public(), KeyID: "enc", Use: "enc"}, v2),
		jwk(jose.JSONWebKey{Key: k.Public(), KeyID: "alg", Algorithm: "HS256"}, v2),
		map[string]any{"kty": "unknown", "kid": "unknown"}, 7,
	}}
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	keys, problems, err := ParseKeys(b)
	if err != nil {
		t.Fatal(err)
	}
	if keys.Len() != 1 || !keys.Has("good") || len(problems) < 12 {
		t.Errorf("kept %v; problems %v", keys.byID, problems)
	}
	for _, bad := range []string{"", "x", "[]", `{"keys":7}`, `{"keys":[]}` + strings.Repeat(" ", maxJWKS)} {
		if keys, _, err := ParseKeys([]byte(bad)); err == nil || keys.Len() > 0 {
			t.Errorf("%.20q is accepted", bad)
		}
	}
	if keys, _, err := ParseKeys([]byte(`{"keys":[]}`)); err != nil || keys.Len() != 0 {
		t.Errorf("empty set: %v", err)
	}
}

func TestIssuerIsUnderstood(t *testing.T) {
	pem, err := MarshalKey(testKey())
	if err != nil {
		t.Fatal(err)
	}
	k, err := UnmarshalKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"", "https://dev.example/"} {
		i, err := NewIssuer(k, home, url, clock)
		if err != nil {
			t.Fatal(err)
		}
		jwks, err := i.JWKS()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(jwks), `"d"`) {
			t.Fatal("the key set holds the private key")
		}
		keys, problems, err := ParseKeys(jwks)
		if err != nil || len(problems) > 0 || keys.Len() != 1 {
			t.Fatalf("%v, %v", problems, err)
		}
		v := verifier(t, keys)
		for _, c := range []struct {
			mint Mint
			want Claims
		}{
			{Mint{Kind: User, Object: object, Audience: aud, UPN: "ann@example.com", Groups: []space.ID{group}, Life: time.Hour},
				Claims{Kind: User, Member: true, Domain: "@example.com", GroupsKnown: true, Name: "ann@example.com"}},
			{Mint{Kind: User, Object: object, Audience: aud, UPN: "ann@example.com", Guest: true, Life: time.Hour},
				Claims{Kind: User, Name: "ann@example.com"}},
			{Mint{Kind: ServicePrincipal, Object: object, Audience: aud, Name: "robot", Life: time.Hour},
				Claims{Kind: ServicePrincipal, Name: "robot"}},
		} {
			s, err := i.Mint(c.mint)
			if err != nil {
				t.Fatal(err)
			}
			got, err := v.Verify(s)
			if err != nil {
				t.Fatal(err)
			}
			if got.Kind != c.want.Kind || got.Member != c.want.Member || got.Domain != c.want.Domain ||
				got.GroupsKnown != c.want.GroupsKnown || got.Name != c.want.Name || got.Object != object || got.Tenant != home ||
				!keys.Has(got.KeyID) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		}
		if _, err := i.Mint(Mint{}); err == nil {
			t.Error("minted a token of no kind")
		}
	}
	for _, bad := range []string{"", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if _, err := UnmarshalKey([]byte(bad)); err == nil {
			t.Errorf("%q is a key", bad)
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB","issuer":"x"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"AQAB","y":"AQAB","issuer":"x"}]}`))
	f.Add([]byte(`{"keys":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, _, err := ParseKeys(b)
		if err != nil && keys.Len() > 0 {
			t.Error("an unreadable set has keys")
		}
		if keys.Has("") {
			t.Error("a key without a kid")
		}
	})
}
