package issuer

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"github.com/gatehouse/gatehouse/gateway/config"
)

type pair struct {
	key  *rsa.PrivateKey
	cert *x509.Certificate
	file string
}

func newPair(t *testing.T, from, until time.Time) pair {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gw"}, NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return pair{key, cert, file}
}

// assertion signs claims as a client would.
func assertion(t *testing.T, key any, alg jose.SignatureAlgorithm, header map[string]any, c map[string]any) string {
	t.Helper()
	o := (&jose.SignerOptions{}).WithType("JWT")
	for name, v := range header {
		o = o.WithHeader(jose.HeaderKey(name), v)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	text, err := josejwt.Signed(s).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func certified(t *testing.T) (*world, pair) {
	t.Helper()
	begin := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	p := newPair(t, begin.Add(-time.Hour), begin.Add(30*24*time.Hour))
	return newWorld(t, func(o *Options) {
		o.Accounts[0].Secret, o.Accounts[0].Certificates = "", []config.File{config.File(p.file)}
	}), p
}

func (w *world) claim(change ...any) map[string]any {
	c := map[string]any{
		"iss": "gateway", "sub": "gateway", "aud": testBase + "/adfs/oauth2/token", "jti": "1",
		"iat": float64(w.now.Unix()) + 0.22, "exp": float64(w.now.Add(10*time.Minute).Unix()) + 0.22, // as az writes them
	}
	for n := 0; n+1 < len(change); n += 2 {
		if name, ok := change[n].(string); ok {
			if c[name] = change[n+1]; change[n+1] == nil {
				delete(c, name)
			}
		}
	}
	return c
}

func (w *world) assert(status int, text string) body {
	w.Helper()
	return w.token(status, "grant_type", "client_credentials", "client_id", "gateway", "scope", management+"/.default",
		"client_assertion_type", assertionType, "client_assertion", text)
}

func TestAssertionsAsTheClientsWriteThem(t *testing.T) {
	w, p := certified(t)
	one, two := thumbprints(p.cert)
	chain := []string{base64.StdEncoding.EncodeToString(p.cert.Raw)}
	for name, tt := range map[string]struct {
		alg    jose.SignatureAlgorithm
		header map[string]any
	}{
		"az":                   {jose.RS256, map[string]any{"x5t": base64.URLEncoding.EncodeToString(one[:])}},
		"az with its chain":    {jose.RS256, map[string]any{"x5t": base64.URLEncoding.EncodeToString(one[:]), "x5c": chain}},
		"msal-node":            {jose.PS256, map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(two[:])}},
		"MSAL-Go":              {jose.PS256, map[string]any{"x5t#S256": base64.StdEncoding.EncodeToString(two[:])}},
		"MSAL-Go, ADFS":        {jose.RS256, map[string]any{"x5t": base64.StdEncoding.EncodeToString(one[:])}},
		"unpadded, unheard of": {jose.RS256, map[string]any{"x5t#S256": base64.RawStdEncoding.EncodeToString(two[:])}},
	} {
		b := w.assert(http.StatusOK, assertion(t, p.key, tt.alg, tt.header, w.claim()))
		if c := w.principal(b.text("access_token")); c.Object != gatewayO {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestAssertionsThatProveNothing(t *testing.T) {
	w, p := certified(t)
	stranger := newPair(t, w.now.Add(-time.Hour), w.now.Add(time.Hour))
	name := func(of pair) map[string]any {
		_, two := thumbprints(of.cert)
		return map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(two[:])}
	}
	good := func(change ...any) string { return assertion(t, p.key, jose.PS256, name(p), w.claim(change...)) }
	carried := map[string]any{"x5c": []string{base64.StdEncoding.EncodeToString(stranger.cert.Raw)}}
	hmac := assertion(t, []byte(strings.Repeat("k", 32)), jose.HS256, name(p), w.claim())
	parts := strings.Split(good(), ".")
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
	for what, tt := range map[string]struct {
		text   string
		number int
	}{
		"another key under the name":    {assertion(t, stranger.key, jose.PS256, name(p), w.claim()), 700027},
		"a certificate of its own":      {assertion(t, stranger.key, jose.PS256, name(stranger), w.claim()), 700027},
		"a certificate that it carries": {assertion(t, stranger.key, jose.PS256, carried, w.claim()), 700027},
		"no name":                       {assertion(t, p.key, jose.PS256, nil, w.claim()), 700027},
		"a symmetric key":               {hmac, 50027},
		"no signature":                  {unsigned, 50027},
		"another audience":              {good("aud", testBase+"/adfs/oauth2/authorize"), 700021},
		"no audience":                   {good("aud", nil), 700021},
		"another issuer":                {good("iss", "other"), 700021},
		"another subject":               {good("iss", "other", "sub", "other"), 700021},
		"expired":                       {good("exp", w.now.Add(-skew).Unix()), 700024},
		"no end":                        {good("exp", nil), 700024},
		"an end in a year":              {good("exp", w.now.Add(365*24*time.Hour).Unix()), 700024},
		"not yet":                       {good("nbf", w.now.Add(skew+time.Minute).Unix()), 700024},
		"rubbish":                       {"x.y.z", 50027},
	} {
		if n := refused(t, w.assert(http.StatusUnauthorized, tt.text), "invalid_client"); n != tt.number {
			t.Errorf("%s: AADSTS%d", what, n)
		}
	}
	text := good()
	w.assert(http.StatusOK, text)
	w.now = w.now.Add(60 * 24 * time.Hour) // the certificate is over
	if n := refused(t, w.assert(http.StatusUnauthorized, good()), "invalid_client"); n != 700027 {
		t.Errorf("an expired certificate: AADSTS%d", n)
	}
	b := w.token(http.StatusBadRequest, "grant_type", "client_credentials", "client_id", "gateway", "scope", management+"/.default",
		"client_assertion", text)
	refused(t, b, "invalid_request")
	// The address of the other form is another audience.
	b = w.tokenAt("/"+home.String()+"/oauth2/v2.0/token", http.StatusUnauthorized, "grant_type", "client_credentials",
		"client_id", "gateway", "scope", management+"/.default", "client_assertion_type", assertionType, "client_assertion", good())
	refused(t, b, "invalid_client")
}

func TestFederatedCredentials(t *testing.T) {
	cluster, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: cluster.Public(), KeyID: "k1", Algorithm: "RS256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, set, 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *Options) {
		o.Accounts[0].Federated = []Federated{{Issuer: "https://cluster.example", Subject: "pod", Keys: config.File(file)}}
	})
	sign := func(key *rsa.PrivateKey, change ...any) string {
		c := w.claim(append([]any{"iss", "https://cluster.example", "sub", "pod", "aud", exchangeAudience}, change...)...)
		return assertion(t, jose.JSONWebKey{Key: key, KeyID: "k1"}, jose.RS256, nil, c)
	}
	w.principal(w.assert(http.StatusOK, sign(cluster)).text("access_token"))
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"another key":            sign(stranger),
		"another pod":            sign(cluster, "sub", "other"),
		"another cluster":        sign(cluster, "iss", "https://other.example"),
		"for something else":     sign(cluster, "aud", "https://cluster.example"),
		"as if by a certificate": sign(cluster, "iss", "gateway", "sub", "gateway", "aud", testBase+"/adfs/oauth2/token"),
		"expired":                sign(cluster, "exp", w.now.Add(-skew).Unix()),
	} {
		refused(t, w.assert(http.StatusUnauthorized, text), "invalid_client")
		_ = what
	}
}

func TestNoSecretIsRightForAnAccountWithoutOne(t *testing.T) {
	if (&Account{}).secretIs("") {
		t.Error("the empty secret proves an account that has a certificate only")
	}
}
