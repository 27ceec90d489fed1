package duapi

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/gateway/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	getPath    = "/deviceUpdate/inst/management/devices/d1"
	createPath = "/deviceUpdate/inst/management/groups/g1/deployments/dep-1"
	cancelPath = "/deviceUpdate/inst/management/groups/g1/deviceClassSubgroups/c1/deployments/dep-1:cancel"
	retryPath  = "/deviceUpdate/inst/management/groups/g1/deviceClassSubgroups/c1/deployments/dep-1:retry"
	version    = "?api-version=2022-10-01"
	createBody = `{"deploymentId":"dep-1","startDateTime":"2026-01-01T00:00:00Z","groupId":"g1",` +
		`"update":{"updateId":{"provider":"p","name":"n","version":"1"}}}`
)

// TestJudged: a request that is refused reaches neither the cloud nor the guard.
func TestJudged(t *testing.T) {
	c := newCloud(t)
	a := start(t, withCloud(c))
	for name, k := range map[string]struct {
		method, path, token, body string
		want                      int
		code, audited             string
	}{
		"unknown route": {"GET", "/deviceUpdate/inst/management/groups" + version, "writer", "", 404, "NotFound", ""},
		"updates":       {"GET", "/deviceUpdate/inst/updates" + version, "writer", "", 404, "NotFound", ""},
		"group cancel": {"POST", "/deviceUpdate/inst/management/groups/g1/deployments/dep-1:cancel" + version, "writer", "", 405,
			"MethodNotAllowed", ""},
		"another verb":    {"POST", strings.Replace(cancelPath, "cancel", "delete", 1) + version, "writer", "", 404, "NotFound", ""},
		"delete":          {"DELETE", createPath + version, "writer", "", 405, "MethodNotAllowed", ""},
		"root":            {"GET", "/", "writer", "", 404, "NotFound", ""},
		"a slash more":    {"GET", "/" + getPath + version, "writer", "", 404, "NotFound", ""},
		"case":            {"GET", strings.ToLower(getPath) + version, "writer", "", 404, "NotFound", ""},
		"dot device":      {"GET", "/deviceUpdate/inst/management/devices/%2e%2e" + version, "writer", "", 400, "BadRequest", ""},
		"slash in device": {"GET", "/deviceUpdate/inst/management/devices/a%2fb" + version, "writer", "", 400, "BadRequest", ""},
		"dot group": {"PUT", "/deviceUpdate/inst/management/groups/%2e%2e/deployments/dep-1" + version, "writer", createBody, 400,
			"BadRequest", ""},
		"bad deployment": {"PUT", "/deviceUpdate/inst/management/groups/g1/deployments/a%5eb" + version, "writer", createBody, 400,
			"BadRequest", ""},
		"no token":          {"GET", getPath + version, "", "", 401, "Unauthorized", " get device d1 false no-credentials"},
		"wrong token":       {"GET", getPath + version, "forged", "", 401, "Unauthorized", " get device d1 false wrong-signature"},
		"not provable":      {"GET", getPath + version, "broken", "", 401, "Unauthorized", " get device d1 false not-provable"},
		"no version":        {"GET", getPath, "writer", "", 400, "MissingApiVersionParameter", ""},
		"old version":       {"GET", getPath + "?api-version=2021-06-01-preview", "writer", "", 400, "UnsupportedApiVersion", ""},
		"two versions":      {"GET", getPath + version + "&api-version=2022-10-01", "writer", "", 400, "UnsupportedApiVersion", ""},
		"another parameter": {"GET", getPath + version + "&filter=x", "writer", "", 400, "BadRequest", ""},
		"version, no token": {"GET", getPath, "", "", 401, "Unauthorized", " get device d1 false no-credentials"},
		"another instance": {"GET", strings.Replace(getPath, "inst", "other", 1) + version, "writer", "", 404, "NotFound",
			"user:writer get device d1 false unknown-instance"},
		"no right": {"GET", getPath + version, "nobody", "", 403, "Forbidden", "user:nobody get device d1 false no-assignment"},
		"reader creates": {"PUT", createPath + version, "reader", createBody, 403, "Forbidden",
			"user:reader create deployment dep-1 for group g1 false no-assignment"},
		"reader cancels": {"POST", cancelPath + version, "reader", "", 403, "Forbidden",
			"user:reader cancel deployment dep-1 for group g1, class c1 false no-assignment"},
		"reader retries": {"POST", retryPath + version, "reader", "", 403, "Forbidden",
			"user:reader retry deployment dep-1 for group g1, class c1 false no-assignment"},
		"create, no body":  {"PUT", createPath + version, "writer", "", 400, "BadRequest", ""},
		"other deployment": {"PUT", createPath + version, "writer", strings.Replace(createBody, "dep-1", "dep-2", 1), 400, "BadRequest", ""},
		"other group":      {"PUT", createPath + version, "writer", strings.Replace(createBody, `"g1"`, `"g2"`, 1), 400, "BadRequest", ""},
		"folded group": {"PUT", createPath + version, "writer", strings.Replace(createBody, `{"dep`, `{"GroupId":"g2","dep`, 1), 400,
			"BadRequest", ""},
		"twice": {"PUT", createPath + version, "writer", strings.Replace(createBody, `{"dep`, `{"groupId":"g2","dep`, 1), 400,
			"BadRequest", ""},
		"no update":          {"PUT", createPath + version, "writer", `{"deploymentId":"dep-1","groupId":"g1"}`, 400, "BadRequest", ""},
		"cancel with a body": {"POST", cancelPath + version, "writer", "{}", 400, "BadRequest", ""},
		"too large":          {"PUT", createPath + version, "writer", strings.Repeat(" ", maxRequest) + createBody, 413, "RequestTooLarge", ""},
	} {
		status, body, _ := a.ask(k.method, k.path, k.token, k.body)
		if status != k.want || !strings.HasPrefix(body, `{"error":{"code":"`+k.code+`","message":"`) {
			t.Errorf("%s: %d %s", name, status, body)
		}
		local, audited := a.gateway.took()
		if local != "" || audited != k.audited {
			t.Errorf("%s: local %q, audited %q", name, local, audited)
		}
		if got := c.took(); got != "" {
			t.Errorf("%s: forwarded: %s", name, got)
		}
	}
}

func TestTwoCredentials(t *testing.T) {
	a := start(t, nil)
	for _, h := range [][]string{{"Authorization", "Bearer writer", "Authorization", "Bearer forged"}, {"Authorization", "Basic d3JpdGVy"},
		{"Authorization", "Bearer"}} {
		if status, _, head := a.ask("GET", getPath+version, "", "", h...); status != 401 || head.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%v: %d", h, status)
		}
	}
}

func TestForwarded(t *testing.T) {
	c := newCloud(t)
	a := start(t, withCloud(c))
	for name, k := range map[string]struct{ method, path, token, body, want, audited string }{
		"get": {"GET", getPath, "reader", "", "GET " + getPath + version + " Bearer reader ", "user:reader get device d1 true granted"},
		"create": {"PUT", createPath, "writer", createBody, "PUT " + createPath + version + " Bearer writer " + createBody,
			"user:writer create deployment dep-1 for group g1 true granted"},
		"cancel": {"POST", cancelPath, "writer", "", "POST " + cancelPath + version + " Bearer writer ",
			"user:writer cancel deployment dep-1 for group g1, class c1 true granted"},
		"retry": {"POST", retryPath, "writer", "", "POST " + retryPath + version + " Bearer writer ",
			"user:writer retry deployment dep-1 for group g1, class c1 true granted"},
		"escaped": {"GET", strings.Replace(getPath, "d1", "%C3%A4%20%3F", 1), "reader", "", "", ""},
		// The forwarded path names the instance as configured, without the caller's encoding.
		"encoded": {"GET", "/deviceUpdate/INST/management/devices/%641", "reader", "", "GET " + getPath + version + " Bearer reader ",
			"user:reader get device d1 true granted"},
	} {
		status, body, _ := a.ask(k.method, k.path+version, k.token, k.body, "X-Extra", "smuggled", "Cookie", "x=y")
		got := c.took()
		_, audited := a.gateway.took()
		if k.want == "" {
			if status != 400 || got != "" {
				t.Errorf("%s: %d, forwarded %q", name, status, got)
			}
			continue
		}
		if status != 200 || body != `{"from":"cloud"}` || got != k.want || audited != k.audited {
			t.Errorf("%s: %d %s\n%s\n%s", name, status, body, got, audited)
		}
	}
}

// The caller's token goes to the configured host and nowhere else.
func TestRedirectIsNotFollowed(t *testing.T) {
	thief := newCloud(t)
	c := newCloud(t)
	c.set(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief.URL+r.URL.Path, http.StatusTemporaryRedirect)
	})
	a := start(t, withCloud(c))
	status, body, head := a.ask("GET", getPath+version, "reader", "")
	if local, _ := a.gateway.took(); status != 502 || head.Get("Location") != "" || local != "" {
		t.Errorf("%d %s %v", status, body, head)
	}
	if got := thief.took(); got != "" {
		t.Error("the token went elsewhere:", got)
	}
}

// Another server at the address of the endpoint does not get the caller's token.
func TestImpostorGetsNoToken(t *testing.T) {
	c := newCloud(t)
	a := start(t, func(o *Options) {
		withCloud(c)(o)
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	})
	status, _, _ := a.ask("POST", cancelPath+version, "writer", "")
	if got := c.took(); got != "" || status != 200 {
		t.Errorf("%d, forwarded %s", status, got)
	}
}

func TestAnswersOfTheCloud(t *testing.T) {
	c := newCloud(t)
	a := start(t, withCloud(c))
	for name, k := range map[string]struct {
		answer http.HandlerFunc
		want   int
		body   string
	}{
		"refusal": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			_, _ = io.WriteString(w, `{"error":{"code":"x"}}`)
		}, 403, `{"error":{"code":"x"}}`},
		"throttled": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "7"); w.WriteHeader(429) }, 429, ""},
		"HTML":      {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, 502, "BadGateway"},
		"large": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `"`+strings.Repeat("x", maxAnswer)+`"`)
		}, 502, "BadGateway"},
		"padded": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `"x"`+strings.Repeat(" ", maxAnswer)) // valid JSON even if it were cut at the limit
		}, 502, "BadGateway"},
		"redirect": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(307); _, _ = io.WriteString(w, `{}`) }, 502, "BadGateway"},
		"cut off":  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 504, "OutcomeUnknown"},
	} {
		c.set(k.answer)
		status, body, head := a.ask("POST", cancelPath+version, "writer", "")
		if local, _ := a.gateway.took(); status != k.want || !strings.Contains(body, k.body) || local != "" {
			t.Errorf("%s: %d %s, local %q", name, status, body, local)
		}
		if !strings.HasPrefix(head.Get("Content-Type"), "application/json") || name == "throttled" && head.Get("Retry-After") != "7" {
			t.Errorf("%s: %v", name, head)
		}
	}
	// A GET may be answered from here after its connection broke, because it changes nothing.
	c.set(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if status, body, _ := a.ask("GET", getPath+version, "reader", ""); status != 200 || body != `{"deviceId":"d1"}` {
		t.Error(status, body)
	}
}

func TestOffline(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "https://" + l.Addr().String()
	_ = l.Close()
	for name, change := range map[string]func(*Options){
		"no endpoint, no cloud": nil,
		"endpoint unreachable":  func(o *Options) { o.Endpoint, _ = url.Parse(nobody) },
	} {
		a := start(t, change)
		for _, k := range []struct {
			method, path, token, body string
			want                      int
			text, local               string
		}{
			{"GET", getPath, "reader", "", 200, `{"deviceId":"d1"}`, "user:reader get d1 "},
			{"GET", strings.Replace(getPath, "d1", "d9", 1), "reader", "", 404, "NotFound", ""},
			{"PUT", createPath, "writer", createBody, 503, "NoUpdateStore", ""},
			{"POST", cancelPath, "writer", "", 200, `"gatewayDevices":["d1","d2"]`, "user:writer cancel d1 dep-1; user:writer cancel d2 dep-1"},
			{"POST", retryPath, "writer", "", 200, `"isRetried":true`, "user:writer retry d1 dep-1; user:writer retry d2 dep-1"},
			{"POST", strings.Replace(cancelPath, "dep-1", "dep-9", 1), "writer", "", 404, "DeploymentNotFound", ""},
			{"POST", cancelPath, "nobody", "", 403, "Forbidden", ""},
		} {
			status, body, _ := a.ask(k.method, k.path+version, k.token, k.body)
			if local, _ := a.gateway.took(); status != k.want || !strings.Contains(body, k.text) || local != k.local {
				t.Errorf("%s: %s %s: %d %s, local %q", name, k.method, k.path, status, body, local)
			}
		}
		a.gateway.fails = true
		if status, body, _ := a.ask("POST", cancelPath+version, "writer", ""); status != 409 {
			t.Error("a part that failed is not said:", status, body)
		}
	}
}

func TestOnlineWithoutEndpoint(t *testing.T) {
	a := start(t, func(o *Options) { o.Online = func() bool { return true } })
	status, body, _ := a.ask("GET", getPath+version, "reader", "")
	if local, _ := a.gateway.took(); status != 503 || !strings.Contains(body, `"code":"NoEndpoint"`) || local != "" {
		t.Error(status, body, local)
	}
}

func TestHeld(t *testing.T) {
	c := newCloud(t)
	a := start(t, withCloud(c))
	a.gateway.hold = true
	if status, body, _ := a.ask("POST", retryPath+version, "writer", ""); status != 503 || !strings.Contains(body, "NotNow") ||
		c.took() != "" {
		t.Error(status, body)
	}
}

// While new actions are held, a cancel is not forwarded. The gateway cancels the deployment for
// those devices that still wait for it, and the service would cancel it for all.
func TestHeldCancelIsNotForwarded(t *testing.T) {
	c := newCloud(t)
	a := start(t, withCloud(c))
	a.gateway.shown = true
	status, body, _ := a.ask("POST", cancelPath+version, "writer", "")
	local, _ := a.gateway.took()
	if got := c.took(); got != "" || status != 200 || local != "user:writer cancel d1 dep-1; user:writer cancel d2 dep-1" {
		t.Errorf("%d %s, forwarded %q, here %q", status, body, got, local)
	}
	if status, body, _ = a.ask("POST", retryPath+version, "writer", ""); status != 200 || c.took() == "" {
		t.Errorf("a retry: %d %s", status, body)
	}
}

func TestTooManyAtOnce(t *testing.T) {
	s, err := New(Options{
		Gateway:  &fakeGateway{},
		Instance: "inst",
		Online:   func() bool { return false },
		Audit:    func(message.AuditRecord) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range maxInFlight {
		s.turns <- struct{}{}
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", getPath+version, nil))
	if w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Error(w.Code)
	}
}

// Connections beyond the limit wait in the kernel until another one is closed.
func TestConnectionsAreBounded(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &limited{Listener: inner, slots: make(chan struct{}, 1), closed: make(chan struct{})}
	accepted, ended := make(chan net.Conn), make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	for range 2 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first := <-accepted
	select {
	case <-accepted:
		t.Error("a connection more than there are slots for")
	case <-time.After(50 * time.Millisecond): // an Accept that is wrong would return within this time
	}
	_ = first.Close()
	_ = first.Close() // gives its slot back once
	second := <-accepted
	if len(l.slots) != 1 {
		t.Errorf("%d slots are taken", len(l.slots))
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	_ = second.Close()
}

func TestOptions(t *testing.T) {
	for _, raw := range []string{"http://h", "https://u@h", "https:"} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(Options{
			Gateway:  &fakeGateway{},
			Instance: "i",
			Online:   func() bool { return true },
			Audit:    func(message.AuditRecord) {},
			Endpoint: u,
		}); err == nil {
			t.Errorf("%s is taken", raw)
		}
	}
}

// For any path that arrives, the forwarded path is one of the four routes, and is parsed as exactly
// the request that was decided.
func FuzzRoute(f *testing.F) {
	for _, p := range []string{getPath, createPath, cancelPath, retryPath, "/deviceUpdate/inst/management/devices/%2e%2e%2f", "//",
		"/deviceUpdate/i/management/groups/%24default/deployments/a%3acancel"} {
		f.Add(p, createBody)
	}
	f.Fuzz(func(t *testing.T, path, body string) {
		q, known := route(path)
		if !known || q.check() != "" {
			return
		}
		written := q.path("inst")
		again, known := route(written)
		q.instance = "inst"
		if !known || again != q {
			t.Errorf("%q is %+v, written as %q it is %+v", path, q, written, again)
		}
		u, err := url.Parse("https://h" + written + version)
		if err != nil || u.Host != "h" || u.RawQuery != version[1:] || u.Fragment != "" ||
			strings.Contains(u.Path, "..") && strings.Contains(u.Path, "/../") {
			t.Errorf("%q: %v %v", written, u, err)
		}
		if q.checkBody([]byte(body)) == "" && q.action == update.Create && len(body) > maxRequest {
			t.Error("out of bounds")
		}
	})
}
