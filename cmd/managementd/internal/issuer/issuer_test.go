package issuer

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/space"
)

const (
	testBase   = "https://localhost:8443"
	management = "https://management.demo.example"
	program    = "9f0e0d6a-5c0e-4001-8000-7a1d0f8e5b0c" // a public client
	back       = "http://localhost:8400"
)

var (
	home     = space.MustID("7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001")
	gatewayO = space.MustID("5e4c1ce0-0000-4000-8000-000000000001")
	aliceO   = space.MustID("a5e40000-0000-4000-8000-000000000001")
	systemO  = space.MustID("5e4c1ce0-0000-4000-8000-000000000009")
	userO    = space.MustID("5e4c1ce0-0000-4000-8000-00000000000a")
)

// world is an issuer with a clock of its own.
type world struct {
	*testing.T
	*Issuer
	now time.Time
	v   *jwt.Verifier
}

func newWorld(t *testing.T, change ...func(*Options)) *world {
	t.Helper()
	w := &world{T: t, now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	clock := func() time.Time { return w.now }
	key, err := jwt.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jwt.NewIssuer(key, home, testBase+"/"+home.String()+"/v2.0", clock)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Tenant: home,
		Signer: signer,
		Accounts: []Account{
			{ID: "gateway", Secret: "s3cret", ObjectID: gatewayO, Redirects: []string{"https://dashboard.example/back"}},
			{ID: "alice@harbour.example", Secret: "alice", ObjectID: aliceO, User: true},
		},
		Clients: []Client{{ID: program, Redirects: []string{"http://localhost", "https://app.example/back", "http://plant.example:80/back"}}},
		Resources: []Resource{
			{URI: management},
			{URI: "api://gatehouse", Audience: "0b07f429-9f4b-4714-9392-cc5e8e80c8b0"},
			{URI: "https://old.example", Version: 1},
		},
		Managed: State{Identities: []Identity{
			{Name: "vm", ObjectID: systemO, ClientID: "c11e0000-0000-4000-8000-000000000009", ResourceID: "/subscriptions/s/vm"},
			{Name: "shared", ObjectID: userO, ClientID: "c11e0000-0000-4000-8000-00000000000a", ResourceID: "/subscriptions/s/id",
				UserAssigned: true},
		}},
		Secret: "header",
		Now:    clock,
	}
	for _, c := range change {
		c(&o)
	}
	if w.Issuer, err = New(o); err != nil {
		t.Fatal(err)
	}
	set, err := signer.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	keys, problems, err := jwt.ParseKeys(set)
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	w.v, err = jwt.NewVerifier(jwt.Options{
		Tenants: []jwt.Tenant{{ID: home, Issuers: signer.URLs()}},
		Audiences: []string{management, management + "/", DeviceUpdate, DeviceUpdate + "/", "0b07f429-9f4b-4714-9392-cc5e8e80c8b0",
			testBase, testBase + "/", testBase + "/graph/", "https://old.example"},
		Keys: func() jwt.Keys { return keys }, Now: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

type body map[string]any

func (b body) text(name string) string {
	s, _ := b[name].(string)
	return s
}

// claims of a token, unverified.
func claims(t *testing.T, token string) body {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no token", token)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var b body
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	return b
}

func (w *world) ask(h http.Handler, method, address string, form url.Values, header ...string) *http.Response {
	w.Helper()
	var sent io.Reader
	if form != nil {
		sent = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequestWithContext(w.Context(), method, address, sent)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for n := 0; n+1 < len(header); n += 2 {
		r.Header.Set(header[n], header[n+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Result()
}

func read(t *testing.T, res *http.Response) body {
	t.Helper()
	var b body
	if err := json.NewDecoder(res.Body).Decode(&b); err != nil {
		t.Fatalf("status %d, and no JSON: %v", res.StatusCode, err)
	}
	return b
}

// token sends a form of name, value, … to the token endpoint.
func (w *world) token(status int, pairs ...string) body {
	w.Helper()
	return w.tokenAt("/adfs/oauth2/token", status, pairs...)
}

func (w *world) tokenAt(path string, status int, pairs ...string) body {
	w.Helper()
	form := url.Values{}
	for n := 0; n+1 < len(pairs); n += 2 {
		form.Set(pairs[n], pairs[n+1])
	}
	res := w.ask(w.Issuer, http.MethodPost, testBase+path, form)
	b := read(w.T, res)
	if res.StatusCode != status {
		w.Fatalf("status %d, want %d: %v", res.StatusCode, status, b)
	}
	return b
}

// refused checks the shape of Entra's errors and returns the AADSTS number.
func refused(t *testing.T, b body, code string) int {
	t.Helper()
	numbers, _ := b["error_codes"].([]any)
	if b.text("error") != code || len(numbers) != 1 || !strings.HasPrefix(b.text("error_description"), "AADSTS") {
		t.Fatalf("got %v, want %s", b, code)
	}
	for _, member := range []string{"timestamp", "trace_id", "correlation_id"} {
		if b.text(member) == "" {
			t.Errorf("%s is missing: %v", member, b)
		}
	}
	number, _ := numbers[0].(float64)
	return int(number)
}

func (w *world) principal(token string) *jwt.Claims {
	w.Helper()
	c, err := w.v.Verify(token)
	if err != nil {
		w.Fatalf("%v: %v", err, claims(w.T, token))
	}
	return c
}

func TestDiscoveryInEveryForm(t *testing.T) {
	w := newWorld(t)
	for path, token := range map[string]string{
		"/adfs/.well-known/openid-configuration?":                            "/adfs/oauth2/token",
		"/" + home.String() + "/v2.0/.well-known/openid-configuration":       "/" + home.String() + "/oauth2/v2.0/token",
		"/" + home.String() + "/.well-known/openid-configuration":            "/" + home.String() + "/oauth2/v2.0/token",
		"/organizations/v2.0/.well-known/openid-configuration?api-version=1": "/organizations/oauth2/v2.0/token",
	} {
		d := read(t, w.ask(w.Issuer, http.MethodGet, testBase+path, nil))
		if d.text("token_endpoint") != testBase+token || !strings.HasPrefix(d.text("issuer"), testBase+"/") {
			t.Errorf("%s: %v", path, d)
		}
		for _, member := range []string{"jwks_uri", "authorization_endpoint", "device_authorization_endpoint"} {
			if !strings.HasPrefix(d.text(member), testBase+"/") {
				t.Errorf("%s: %s is %q", path, member, d.text(member))
			}
		}
		set := read(t, w.ask(w.Issuer, http.MethodGet, d.text("jwks_uri"), nil))
		if keys, _ := set["keys"].([]any); len(keys) != 2 {
			t.Errorf("%s: %d keys, want one for each form of tokens", path, len(keys))
		}
	}
	res := w.ask(w.Issuer, http.MethodGet, testBase+"/"+userO.String()+"/v2.0/.well-known/openid-configuration", nil)
	if n := refused(t, read(t, res), "invalid_request"); n != 90002 {
		t.Errorf("another tenant: %d", n)
	}
}

func TestTheAudienceKeepsItsSlash(t *testing.T) {
	w := newWorld(t)
	for scope, aud := range map[string]string{
		DeviceUpdate + "//.default":                                   DeviceUpdate + "/",
		DeviceUpdate + "/.default":                                    DeviceUpdate,
		"openid " + DeviceUpdate + "/.default profile offline_access": DeviceUpdate,
		management + "/.default openid email":                         management,
		"api://gatehouse/.default":                                    "0b07f429-9f4b-4714-9392-cc5e8e80c8b0",
		testBase + "//.default":                                       testBase + "/",
		management + "/.default " + management + "/.default":          management,
	} {
		b := w.token(http.StatusOK, "grant_type", "client_credentials", "client_id", "gateway", "client_secret", "s3cret", "scope", scope)
		if got := claims(t, b.text("access_token")).text("aud"); got != aud {
			t.Errorf("%q: aud %q, want %q", scope, got, aud)
		}
		if _, number := b["expires_in"].(float64); !number {
			t.Errorf("expires_in is %T: az dies of that", b["expires_in"])
		}
		if c := w.principal(b.text("access_token")); c.Kind != jwt.ServicePrincipal || c.Object != gatewayO {
			t.Errorf("%+v", c)
		}
	}
	b := w.token(http.StatusOK, "grant_type", "client_credentials", "client_id", "GATEWAY", "client_secret", "s3cret",
		"resource", DeviceUpdate+"/")
	if got := claims(t, b.text("access_token")).text("aud"); got != DeviceUpdate+"/" {
		t.Errorf("resource: aud %q", got)
	}
}

func TestTokensOfBothForms(t *testing.T) {
	w := newWorld(t)
	for scope, want := range map[string][2]string{
		"https://old.example/.default": {"1.0", testBase + "/" + home.String() + "/"},
		management + "/.default":       {"2.0", testBase + "/" + home.String() + "/v2.0"},
	} {
		b := w.token(http.StatusOK, "grant_type", "client_credentials", "client_id", "gateway", "client_secret", "s3cret", "scope", scope)
		c := claims(t, b.text("access_token"))
		if c.text("ver") != want[0] || c.text("iss") != want[1] || c.text("appid")+c.text("azp") != "gateway" {
			t.Errorf("%s: %v", scope, c)
		}
		w.principal(b.text("access_token"))
	}
}

func TestWrongRequestsAreAnsweredAsByEntra(t *testing.T) {
	w := newWorld(t)
	good := map[string]string{
		"grant_type": "client_credentials", "client_id": "gateway", "client_secret": "s3cret", "scope": management + "/.default",
	}
	for name, tt := range map[string]struct {
		set    [][2]string
		status int
		code   string
		number int
	}{
		"no grant":                     {[][2]string{{"grant_type", ""}}, 400, "invalid_request", 900144},
		"implicit as a grant":          {[][2]string{{"grant_type", "token"}}, 400, "unsupported_grant_type", 70003},
		"an unknown client":            {[][2]string{{"client_id", "nobody"}}, 400, "unauthorized_client", 700016},
		"a wrong secret":               {[][2]string{{"client_secret", "guess"}}, 401, "invalid_client", 7000215},
		"no secret":                    {[][2]string{{"client_secret", ""}}, 401, "invalid_client", 7000218},
		"a secret for a public client": {[][2]string{{"client_id", program}}, 401, "invalid_client", 700025},
		"a public client's own token":  {[][2]string{{"client_id", program}, {"client_secret", ""}}, 400, "unauthorized_client", 700016},
		"no scope":                     {[][2]string{{"scope", ""}}, 400, "invalid_request", 900144},
		"a permission":                 {[][2]string{{"scope", management + "/user_impersonation"}}, 400, "invalid_scope", 1002012},
		"an unknown permission":        {[][2]string{{"scope", management + "/everything"}}, 400, "invalid_scope", 70011},
		"an unknown resource":          {[][2]string{{"scope", "https://nowhere.example/.default"}}, 400, "invalid_resource", 500011},
		"two resources": {[][2]string{{"scope", management + "/.default " + DeviceUpdate + "/.default"}},
			400, "invalid_scope", 28000},
		"two proofs": {[][2]string{{"client_assertion", "x"}}, 400, "invalid_request", 9002313},
		"a user's password as a secret": {[][2]string{{"client_id", "alice@harbour.example"}, {"client_secret", "alice"}},
			400, "unauthorized_client", 700016},
		"a wrong password": {[][2]string{{"grant_type", "password"}, {"client_id", program}, {"client_secret", ""},
			{"username", "alice@harbour.example"}, {"password", "guess"}}, 400, "invalid_grant", 50126},
		"a service principal's password": {[][2]string{{"grant_type", "password"}, {"client_id", program}, {"client_secret", ""},
			{"username", "gateway"}, {"password", "s3cret"}}, 400, "invalid_grant", 50126},
		"a refresh token of nobody": {[][2]string{{"grant_type", "refresh_token"}, {"refresh_token", "x"}}, 400, "invalid_grant", 9002313},
		"a code of nobody":          {[][2]string{{"grant_type", "authorization_code"}, {"code", "x"}}, 400, "invalid_grant", 54005},
		"a device code of nobody":   {[][2]string{{"grant_type", "device_code"}, {"device_code", "x"}}, 400, "bad_verification_code", 70019},
	} {
		fields := url.Values{}
		for k, v := range good {
			fields.Set(k, v)
		}
		for _, s := range tt.set {
			if fields.Set(s[0], s[1]); s[1] == "" {
				fields.Del(s[0])
			}
		}
		res := w.ask(w.Issuer, http.MethodPost, testBase+"/adfs/oauth2/token?client-request-id=1", fields)
		b := read(t, res)
		if n := refused(t, b, tt.code); res.StatusCode != tt.status || n != tt.number {
			t.Errorf("%s: %d AADSTS%d: %v", name, res.StatusCode, n, b)
		}
		if strings.Contains(b.text("error_description"), "s3cret") || strings.Contains(b.text("error_description"), "guess") {
			t.Errorf("%s: the answer repeats a secret: %v", name, b)
		}
	}
	res := w.ask(w.Issuer, http.MethodPost, testBase+"/adfs/oauth2/token", url.Values{"grant_type": {"client_credentials", "password"}})
	if n := refused(t, read(t, res), "invalid_request"); n != 9002313 {
		t.Errorf("a parameter given twice: %d", n)
	}
}

func TestAPasswordGivesAUserWhatAUserNeeds(t *testing.T) {
	w := newWorld(t)
	b := w.token(http.StatusOK, "grant_type", "password", "client_id", AzureCLI, "username", "Alice@Harbour.example", "password", "alice",
		"scope", management+"/.default offline_access openid profile", "client_info", "1")
	if c := w.principal(b.text("access_token")); c.Kind != jwt.User || c.Object != aliceO {
		t.Errorf("%+v", c)
	}
	id := claims(t, b.text("id_token"))
	for _, member := range []string{"tid", "preferred_username", "oid", "sub", "iss"} {
		if id.text(member) == "" {
			t.Errorf("the ID token lacks %s, and az dies of that: %v", member, id)
		}
	}
	if id.text("aud") != AzureCLI {
		t.Errorf("aud of the ID token: %v", id)
	}
	if _, err := w.v.Verify(b.text("id_token")); err == nil {
		t.Error("the ID token is an access token")
	}
	info, err := base64.RawURLEncoding.DecodeString(b.text("client_info"))
	if err != nil || !strings.Contains(string(info), `"uid":"`+aliceO.String()+`"`) {
		t.Errorf("client_info %s, %v", info, err)
	}
	if b.text("refresh_token") == "" {
		t.Error("no refresh token")
	}
	bare := w.token(http.StatusOK, "grant_type", "password", "client_id", AzureCLI, "username", "alice@harbour.example", "password", "alice",
		"scope", management+"/user_impersonation")
	if bare.text("refresh_token")+bare.text("id_token") != "" {
		t.Errorf("not asked for: %v", bare)
	}
}

func TestARefreshTokenServesItsClientOnly(t *testing.T) {
	w := newWorld(t)
	b := w.token(http.StatusOK, "grant_type", "password", "client_id", AzureCLI, "username", "alice@harbour.example", "password", "alice",
		"scope", management+"/.default offline_access")
	refresh := b.text("refresh_token")
	again := w.token(http.StatusOK, "grant_type", "refresh_token", "client_id", AzureCLI, "refresh_token", refresh,
		"scope", DeviceUpdate+"//.default offline_access openid profile")
	if c := claims(t, again.text("access_token")); c.text("aud") != DeviceUpdate+"/" || c.text("oid") != aliceO.String() {
		t.Errorf("%v", c)
	}
	if again.text("refresh_token") == "" {
		t.Error("no further refresh token")
	}
	other := w.token(http.StatusBadRequest, "grant_type", "refresh_token", "client_id", program, "refresh_token", refresh)
	refused(t, other, "invalid_grant")
	confidential := w.token(http.StatusBadRequest, "grant_type", "refresh_token", "client_id", "gateway", "client_secret", "s3cret",
		"refresh_token", refresh)
	refused(t, confidential, "invalid_grant")
	w.now = w.now.Add(refreshLife)
	over := w.token(http.StatusBadRequest, "grant_type", "refresh_token", "client_id", AzureCLI, "refresh_token", refresh)
	if n := refused(t, over, "invalid_grant"); n != 700082 {
		t.Errorf("AADSTS%d", n)
	}
}

func TestGrantsAreBounded(t *testing.T) {
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	g := newGrants[int](time.Minute, func() time.Time { return now })
	for n := range maxGrants {
		if _, ok := g.add(n); !ok {
			t.Fatalf("%d do not fit", n)
		}
	}
	if _, ok := g.add(0); ok {
		t.Error("a stranger makes it hold as much as they like")
	}
	now = now.Add(time.Minute)
	if _, ok := g.add(0); !ok || len(g.held) != 1 {
		t.Errorf("what is over is still held: %d", len(g.held))
	}
	g.evict = true
	now = now.Add(time.Second)
	for n := range maxGrants + 5 {
		if _, ok := g.add(n); !ok {
			t.Fatal("a known user gets none")
		}
	}
	if len(g.held) != maxGrants {
		t.Errorf("%d are held", len(g.held))
	}
}
