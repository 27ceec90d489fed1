package issuer

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device/space"
)

const (
	local = "http://127.0.0.1:8445"
	imds  = local + "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + management
)

func (w *world) identity(method, address string, header ...string) *http.Response {
	w.Helper()
	return w.ask(w.Local(), method, address, nil, header...)
}

func (w *world) switched(name string, on bool) body {
	w.Helper()
	text := `{"on": false}`
	if on {
		text = `{"on": true}`
	}
	r := httptest.NewRequestWithContext(w.Context(), http.MethodPut, local+"/identities/"+name, strings.NewReader(text))
	r.Header.Set("Metadata", "true")
	rec := httptest.NewRecorder()
	w.Local().ServeHTTP(rec, r)
	if rec.Code != http.StatusOK {
		w.Fatalf("switch %s: %d %s", name, rec.Code, rec.Body)
	}
	return read(w.T, rec.Result())
}

func TestTheMetadataService(t *testing.T) {
	w := newWorld(t)
	for selector, want := range map[string]space.ID{
		"":                               systemO,
		"&object_id=" + systemO.String(): systemO,
		"&client_id=c11e0000-0000-4000-8000-00000000000a": userO,
		"&principal_id=" + userO.String():                 userO,
		"&mi_res_id=/SUBSCRIPTIONS/s/id":                  userO,
		"&msi_res_id=/subscriptions/s/id":                 userO,
	} {
		b := read(t, w.identity(http.MethodGet, imds+selector, "Metadata", "true"))
		for _, member := range []string{"expires_in", "expires_on", "not_before", "resource", "client_id", "token_type"} {
			if b.text(member) == "" {
				t.Errorf("%s: %s is missing or no text: %v", selector, member, b)
			}
		}
		if c := w.principal(b.text("access_token")); c.Object != want {
			t.Errorf("%s: %+v", selector, c)
		}
		if c := claims(t, b.text("access_token")); c.text("tid") == "" || c.text("xms_mirid") == "" {
			t.Errorf("%s: %v", selector, c)
		}
	}
	for what, tt := range map[string]struct {
		address string
		header  []string
		status  int
		code    string
	}{
		"no header":           {imds, nil, 400, "invalid_request"},
		"forwarded":           {imds, []string{"Metadata", "true", "X-Forwarded-For", "10.0.0.1"}, 400, "invalid_request"},
		"no version":          {strings.Replace(imds, "api-version=2018-02-01&", "", 1), []string{"Metadata", "true"}, 400, "invalid_request"},
		"an unknown identity": {imds + "&client_id=x", []string{"Metadata", "true"}, 400, "invalid_request"},
		"two selectors":       {imds + "&client_id=x&object_id=" + systemO.String(), []string{"Metadata", "true"}, 400, "invalid_request"},
		"an unknown resource": {local + "/metadata/identity/oauth2/token?api-version=1&resource=x",
			[]string{"Metadata", "true"}, 400, "invalid_resource"},
		"another host": {strings.Replace(imds, "127.0.0.1:8445", "evil.example", 1), []string{"Metadata", "true"}, 403, "invalid_request"},
	} {
		res := w.identity(http.MethodGet, tt.address, tt.header...)
		if b := read(t, res); res.StatusCode != tt.status || b.text("error") != tt.code {
			t.Errorf("%s: %d %v", what, res.StatusCode, b)
		}
	}
	// A client that comes by http_proxy writes the whole address (RFC 9112 3.2.2).
	proxied := w.identity(http.MethodGet, strings.Replace(imds, "127.0.0.1:8445", metadataHost, 1), "Metadata", "true")
	if proxied.StatusCode != http.StatusOK {
		t.Errorf("by http_proxy: %d", proxied.StatusCode)
	}
	public := strings.Replace(imds, local, testBase, 1)
	if res := w.ask(w.Issuer, http.MethodGet, public, nil, "Metadata", "true"); res.StatusCode == http.StatusOK {
		t.Error("the metadata service answers on the public listener")
	}
}

func TestAppServiceInBothForms(t *testing.T) {
	w := newWorld(t)
	const at2019 = local + "/msi/token?api-version=2019-08-01&resource=" + management
	const at2017 = local + "/msi/token/?api-version=2017-09-01&resource=" + management
	b := read(t, w.identity(http.MethodGet, at2019, "X-IDENTITY-HEADER", "header"))
	if b.text("expires_on") != "1777723200" { // a day later
		t.Errorf("2019: %v", b)
	}
	w.principal(b.text("access_token"))
	b = read(t, w.identity(http.MethodGet, at2017+"&clientid=c11e0000-0000-4000-8000-00000000000a", "secret", "header"))
	if b.text("expires_on") != "05/02/2026 12:00:00 +00:00" {
		t.Errorf("2017: %v", b)
	}
	if c := w.principal(b.text("access_token")); c.Object != userO {
		t.Errorf("%+v", c)
	}
	for what, header := range map[string][]string{
		"no secret":               {},
		"a wrong secret":          {"X-IDENTITY-HEADER", "guess"},
		"the header of the other": {"secret", "header"},
	} {
		if res := w.identity(http.MethodGet, at2019, header...); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d", what, res.StatusCode)
		}
	}
	none := newWorld(t, func(o *Options) { o.Secret = "" })
	if res := none.identity(http.MethodGet, at2019, "X-IDENTITY-HEADER", ""); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a secret of its own: %d", res.StatusCode)
	}
}

// TestTheOldTokenComesBack: as from Azure, until half of its life is over.
func TestTheOldTokenComesBack(t *testing.T) {
	w := newWorld(t)
	token := func() string {
		return read(t, w.identity(http.MethodGet, imds, "Metadata", "true")).text("access_token")
	}
	first := token()
	w.now = w.now.Add(managedLife/2 - time.Second)
	if token() != first {
		t.Error("a new token, which Azure would not give yet")
	}
	w.now = w.now.Add(time.Second)
	if token() == first {
		t.Error("the old token, although half its life is over")
	}
}

func TestAnIdentityIsSwitchedOffAndOn(t *testing.T) {
	var kept State
	w := newWorld(t, func(o *Options) { o.Remember = func(s State) error { kept = s; return nil } })
	w.switched("vm", false)
	if !w.Ended(systemO) || w.Ended(userO) {
		t.Error("its tokens are still good, or another's are not")
	}
	if res := w.identity(http.MethodGet, imds+"&object_id="+systemO.String(), "Metadata", "true"); res.StatusCode != http.StatusBadRequest {
		t.Errorf("off, and it has a token: %d", res.StatusCode)
	}
	on := w.switched("vm", true)
	if on.text("principalId") == systemO.String() || on.text("principalId") == "" {
		t.Errorf("on again, and its old assignments have effect: %v", on)
	}
	if !w.Ended(systemO) {
		t.Error("on again, and the old tokens are good again")
	}
	w.switched("shared", false)
	if !w.Ended(userO) {
		t.Error("its tokens are still good")
	}
	if again := w.switched("shared", true); again.text("principalId") != userO.String() || w.Ended(userO) {
		t.Errorf("a user-assigned identity keeps its object id: %v", again)
	}
	configured := newWorld(t).o.Managed.Identities
	restarted := newWorld(t, func(o *Options) { o.Managed = State{Identities: kept.Since(configured), Ended: kept.Ended} })
	if !restarted.Ended(systemO) {
		t.Error("after a restart the old tokens are good again")
	}
	b := read(t, restarted.identity(http.MethodGet, imds, "Metadata", "true"))
	if c := restarted.principal(b.text("access_token")); c.Object.String() != on.text("principalId") {
		t.Errorf("after a restart it is %s", c.Object)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, local+"/identities/vm", strings.NewReader(`{"on": false}`))
	rec := httptest.NewRecorder()
	w.Local().ServeHTTP(rec, r)
	if rec.Code != http.StatusBadRequest {
		t.Errorf("what a foreign page can make a browser send switches it off: %d", rec.Code)
	}
}

func TestTheDirectory(t *testing.T) {
	w := newWorld(t)
	arm := w.token(http.StatusOK, "grant_type", "client_credentials", "client_id", "gateway", "client_secret", "s3cret",
		"scope", testBase+"//.default").text("access_token")
	other := w.token(http.StatusOK, "grant_type", "client_credentials", "client_id", "gateway", "client_secret", "s3cret",
		"scope", management+"/.default").text("access_token")
	get := func(path, token string) *http.Response {
		return w.ask(w.Issuer, http.MethodGet, testBase+path, nil, "Authorization", "Bearer "+token)
	}
	const filter = "/graph/v1.0/servicePrincipals?$filter="
	found := read(t, get(filter+url.QueryEscape("servicePrincipalNames/any(c:c eq 'GATEWAY')"), arm))
	list, _ := found["value"].([]any)
	if len(list) != 1 {
		t.Fatalf("%v", found)
	}
	one, _ := list[0].(map[string]any)
	shown := read(t, get("/graph/v1.0/servicePrincipals/"+body(one).text("id"), arm))
	if shown.text("id") != gatewayO.String() || shown.text("appId") != "gateway" {
		t.Errorf("%v", shown)
	}
	none := read(t, get(filter+url.QueryEscape("servicePrincipalNames/any(c:c eq 'x'' or ''y')"), arm))
	if list, _ := none["value"].([]any); len(list) != 0 {
		t.Errorf("%v", none)
	}
	for path, status := range map[string]int{
		"/graph/v1.0/users/" + aliceO.String():             200,
		"/graph/v1.0/servicePrincipals/" + aliceO.String(): 404, "/graph/v1.0/servicePrincipals?$filter=x": 400,
	} {
		if res := get(path, arm); res.StatusCode != status {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
		for what, token := range map[string]string{"no token": "", "a token for another resource": other} {
			if res := get(path, token); res.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s with %s: %d", path, what, res.StatusCode)
			}
		}
	}
}
