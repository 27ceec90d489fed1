package issuer

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const verifier = "a-verifier-that-is-long-enough-0123456789-abcdefghijk"

func challenge() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func authorizeURL(change ...string) string {
	q := url.Values{
		"client_id": {program}, "response_type": {"code"}, "redirect_uri": {back}, "state": {"st"}, "nonce": {"n0"},
		"code_challenge": {challenge()}, "code_challenge_method": {"S256"}, "scope": {management + "/.default openid offline_access"},
	}
	for n := 0; n+1 < len(change); n += 2 {
		if q.Set(change[n], change[n+1]); change[n+1] == "" {
			q.Del(change[n])
		}
	}
	return testBase + "/adfs/oauth2/authorize?" + q.Encode()
}

// code signs alice in and returns what the browser is sent back with.
func (w *world) code(address string) url.Values {
	w.Helper()
	res := w.ask(w.Issuer, http.MethodPost, address, url.Values{"username": {"alice@harbour.example"}, "password": {"alice"}})
	to, err := res.Location()
	if res.StatusCode != http.StatusFound || err != nil {
		w.Fatalf("status %d, %v", res.StatusCode, err)
	}
	return to.Query()
}

func (w *world) redeem(status int, code string, change ...string) body {
	w.Helper()
	return w.token(status, append([]string{"grant_type", "authorization_code", "client_id", program, "code", code,
		"redirect_uri", back, "code_verifier", verifier}, change...)...)
}

func TestAuthorizationCodeWithPKCE(t *testing.T) {
	w := newWorld(t)
	page := w.ask(w.Issuer, http.MethodGet, authorizeURL(), nil)
	if page.StatusCode != http.StatusOK || page.Header.Get("Set-Cookie") != "" ||
		!strings.Contains(page.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Errorf("the page: %d %v", page.StatusCode, page.Header)
	}
	answered := w.code(authorizeURL())
	if answered.Get("state") != "st" {
		t.Errorf("state %q", answered.Get("state"))
	}
	b := w.redeem(http.StatusOK, answered.Get("code"))
	if c := w.principal(b.text("access_token")); c.Object != aliceO {
		t.Errorf("%+v", c)
	}
	if id := claims(t, b.text("id_token")); id.text("nonce") != "n0" {
		t.Errorf("the nonce is not in the ID token: %v", id)
	}
	if n := refused(t, w.redeem(http.StatusBadRequest, answered.Get("code")), "invalid_grant"); n != 54005 {
		t.Errorf("a code twice: AADSTS%d", n)
	}
}

func TestACodeIsRedeemedByItsClientAtOnce(t *testing.T) {
	w := newWorld(t)
	for name, tt := range map[string]struct {
		change []string
		wait   time.Duration
		number int
	}{
		"another verifier": {change: []string{"code_verifier", strings.ToUpper(verifier)}, number: 50148},
		"no verifier":      {change: []string{"code_verifier", ""}, number: 50148},
		"another address":  {change: []string{"redirect_uri", "http://localhost:8401"}, number: 50011},
		"no address":       {change: []string{"redirect_uri", ""}, number: 50011},
		"another client":   {change: []string{"client_id", AzureCLI}, number: 700005},
		"a minute later":   {wait: codeLife, number: 70008},
	} {
		code := w.code(authorizeURL()).Get("code")
		w.now = w.now.Add(tt.wait)
		if n := refused(t, w.redeem(http.StatusBadRequest, code, tt.change...), "invalid_grant"); n != tt.number {
			t.Errorf("%s: AADSTS%d", name, n)
		}
		if tt.wait == 0 { // who presents it wrongly has spent it
			if n := refused(t, w.redeem(http.StatusBadRequest, code), "invalid_grant"); n != 54005 {
				t.Errorf("%s: the code lives on: AADSTS%d", name, n)
			}
		}
	}
	code := w.code(authorizeURL()).Get("code")
	wider := w.redeem(http.StatusBadRequest, code, "scope", DeviceUpdate+"/.default")
	refused(t, wider, "invalid_scope")
}

// TestRedirectsAreExact: an address that is not registered is never answered at, not even with an error.
func TestRedirectsAreExact(t *testing.T) {
	w := newWorld(t)
	for _, address := range []string{
		"", "https://app.example/back/", "https://app.example/back?x=1", "https://app.example/bac", "https://app.example:8443/back",
		"http://app.example/back", "https://evil.example", "http://localhost.evil.example", "http://localhost:8400/other",
		"http://localhost:8400@evil.example", "http://user@localhost:8400", "https://localhost:8400", "http://localhost:8400#x",
		"http://127.0.0.1:8400", "//localhost:8400", "http://plant.example:81/back", "javascript:alert(1)",
	} {
		res := w.ask(w.Issuer, http.MethodPost, authorizeURL("redirect_uri", address),
			url.Values{"username": {"alice@harbour.example"}, "password": {"alice"}})
		if res.StatusCode != http.StatusBadRequest || res.Header.Get("Location") != "" {
			t.Errorf("%q: status %d, sent to %q", address, res.StatusCode, res.Header.Get("Location"))
		}
	}
	for _, address := range []string{"http://localhost", "http://localhost:1", "http://localhost:65535", "https://app.example/back"} {
		if w.code(authorizeURL("redirect_uri", address)).Get("code") == "" {
			t.Errorf("%q: refused", address)
		}
	}
}

func TestWhatAuthorizeRefuses(t *testing.T) {
	w := newWorld(t)
	for name, tt := range map[string]struct {
		change []string
		code   string
	}{
		"the implicit flow":   {[]string{"response_type", "token"}, "unsupported_response_type"},
		"the hybrid flow":     {[]string{"response_type", "code id_token"}, "unsupported_response_type"},
		"no PKCE":             {[]string{"code_challenge", ""}, "invalid_request"},
		"plain PKCE":          {[]string{"code_challenge_method", "plain"}, "invalid_request"},
		"PKCE without method": {[]string{"code_challenge_method", ""}, "invalid_request"},
		"a short challenge":   {[]string{"code_challenge", "abc"}, "invalid_request"},
		"an unknown resource": {[]string{"scope", "https://nowhere.example/.default"}, "invalid_resource"},
		"fragments":           {[]string{"response_mode", "fragment"}, "invalid_request"},
	} {
		res := w.ask(w.Issuer, http.MethodGet, authorizeURL(tt.change...), nil)
		to, err := res.Location()
		if err != nil || to.Query().Get("error") != tt.code || to.Query().Get("state") != "st" || to.Query().Has("code") {
			t.Errorf("%s: status %d, %v", name, res.StatusCode, to)
		}
		if explained := strings.Contains(to.Query().Get("error_description"), "PKCE"); strings.HasSuffix(name, "flow") && !explained {
			t.Errorf("%s: what to do instead is not said: %v", name, to)
		}
	}
	wrong := w.ask(w.Issuer, http.MethodPost, authorizeURL(), url.Values{"username": {"alice@harbour.example"}, "password": {"guess"}})
	if wrong.StatusCode != http.StatusUnauthorized || wrong.Header.Get("Location") != "" {
		t.Errorf("a wrong password: %d", wrong.StatusCode)
	}
	no := w.ask(w.Issuer, http.MethodPost, authorizeURL(), url.Values{"cancel": {"1"}})
	if to, err := no.Location(); err != nil || to.Query().Get("error") != "access_denied" {
		t.Errorf("cancelled: %v", to)
	}
}

func (w *world) devicePoll(status int, secret string, change ...string) body {
	w.Helper()
	return w.token(status, append([]string{"grant_type", "urn:ietf:params:oauth:grant-type:device_code", "client_id", AzureCLI,
		"device_code", secret, "code", secret}, change...)...)
}

func (w *world) device() body {
	w.Helper()
	res := w.ask(w.Issuer, http.MethodPost, testBase+"/adfs/oauth2/devicecode",
		url.Values{"client_id": {AzureCLI}, "scope": {DeviceUpdate + "//.default offline_access openid profile"}})
	return read(w.T, res)
}

func (w *world) enter(userCode string, more ...string) *http.Response {
	w.Helper()
	form := url.Values{"user_code": {userCode}, "username": {"alice@harbour.example"}, "password": {"alice"}}
	for n := 0; n+1 < len(more); n += 2 {
		form.Set(more[n], more[n+1])
	}
	return w.ask(w.Issuer, http.MethodPost, testBase+"/device", form)
}

func TestDeviceCode(t *testing.T) {
	w := newWorld(t)
	for _, grant := range []string{"urn:ietf:params:oauth:grant-type:device_code", "device_code"} {
		d := w.device()
		if !strings.Contains(d.text("message"), d.text("user_code")) || !strings.Contains(d.text("message"), "development issuer") {
			t.Errorf("message %q", d.text("message"))
		}
		pending := w.devicePoll(http.StatusBadRequest, d.text("device_code"), "grant_type", grant)
		refused(t, pending, "authorization_pending")
		if res := w.enter(strings.ToLower(strings.ReplaceAll(d.text("user_code"), "-", ""))); res.StatusCode != http.StatusOK {
			t.Fatalf("status %d", res.StatusCode)
		}
		w.now = w.now.Add(5 * time.Second)
		stranger := w.devicePoll(http.StatusBadRequest, d.text("device_code"), "client_id", program)
		refused(t, stranger, "bad_verification_code")
		b := w.devicePoll(http.StatusOK, d.text("device_code"), "grant_type", grant)
		if c := w.principal(b.text("access_token")); c.Object != aliceO {
			t.Errorf("%+v", c)
		}
		if b.text("refresh_token") == "" || claims(t, b.text("access_token")).text("aud") != DeviceUpdate+"/" {
			t.Errorf("the scope of the first request is not remembered: %v", b)
		}
		w.now = w.now.Add(5 * time.Second)
		refused(t, w.devicePoll(http.StatusBadRequest, d.text("device_code")), "bad_verification_code")
	}
	declined := w.device()
	w.enter(declined.text("user_code"), "decline", "1")
	w.enter(declined.text("user_code")) // too late
	refused(t, w.devicePoll(http.StatusBadRequest, declined.text("device_code")), "authorization_declined")
	late := w.device()
	w.now = w.now.Add(deviceLife)
	refused(t, w.devicePoll(http.StatusBadRequest, late.text("device_code")), "expired_token")
}

func TestAnEagerPollIsSlowedDown(t *testing.T) {
	w := newWorld(t)
	d := w.device()
	w.enter(d.text("user_code"))
	secret := d.text("device_code")
	other := w.device() // not concerned
	w.now = w.now.Add(time.Second)
	w.devicePoll(http.StatusOK, secret)
	secret = other.text("device_code")
	refused(t, w.devicePoll(http.StatusBadRequest, secret), "authorization_pending")
	w.enter(other.text("user_code"))
	for range 3 { // each early poll begins the wait anew
		w.now = w.now.Add(4 * time.Second)
		refused(t, w.devicePoll(http.StatusBadRequest, secret), "slow_down")
	}
	w.now = w.now.Add(5 * time.Second)
	w.devicePoll(http.StatusOK, secret)
}

func TestUserCodesCannotBeGuessed(t *testing.T) {
	w := newWorld(t)
	d := w.device()
	for n := range 10 {
		if res := w.enter("BBBB-BBBB"); res.StatusCode != http.StatusNotFound {
			t.Fatalf("guess %d: %d", n, res.StatusCode)
		}
	}
	if res := w.enter(d.text("user_code")); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("the eleventh guess is looked at: %d", res.StatusCode)
	}
	page := testBase + "/device?user_code=" + d.text("user_code")
	if res := w.ask(w.Issuer, http.MethodGet, page, nil); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("the page tells who guesses which codes there are: %d", res.StatusCode)
	}
	refused(t, w.devicePoll(http.StatusBadRequest, d.text("device_code")), "authorization_pending")
	w.now = w.now.Add(time.Minute)
	if res := w.enter(d.text("user_code")); res.StatusCode != http.StatusOK {
		t.Errorf("a minute later: %d", res.StatusCode)
	}
	w.now = w.now.Add(10 * time.Minute)
	other := w.device()
	for range 10 {
		w.enter(other.text("user_code"), "password", "guess")
	}
	if res := w.enter(other.text("user_code")); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("passwords are guessed here without a limit: %d", res.StatusCode)
	}
}
