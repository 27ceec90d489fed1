package arm_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/sync/arm"
)

func says(status int, body string, header ...string) func(w http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// Whatever stands between the gateway and Azure, an answer that is not whole is an error, at any
// of the requests, and never less than what is in force.
func TestFaultsAreErrors(t *testing.T) {
	const requests = 5 // two scopes' assignments, one list of definitions, two scopes' denials
	forbidden := `{"error":{"code":"AuthorizationFailed","message":"secret detail"}}`
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter)
		want   error
		text   string
	}{
		"captive portal":    {says(200, "<html>Welcome to the hotel</html>"), arm.ErrMalformed, "something else than Azure"},
		"an array":          {says(200, "[]"), arm.ErrMalformed, ""},
		"an empty object":   {says(200, "{}"), arm.ErrMalformed, "value: required"},
		"value is null":     {says(200, `{"value":null}`), arm.ErrMalformed, ""},
		"an error with 200": {says(200, forbidden), arm.ErrMalformed, ""},
		"nothing":           {says(200, ""), arm.ErrMalformed, ""},
		"cut JSON":          {says(200, `{"value":[{"id":"/subscr`), arm.ErrMalformed, ""},
		"cut body": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write([]byte(`{"value":[]}`))
		}, nil, "unexpected EOF"},
		"too large":            {says(200, `{"value":[]}`+strings.Repeat(" ", 1<<20)), arm.ErrMalformed, "larger"},
		"a circle":             {says(200, `{"value":[],"nextLink":"SELF"}`), arm.ErrMalformed, "circle"},
		"another host":         {says(200, `{"value":[],"nextLink":"https://thief.example/x"}`), arm.ErrMalformed, "another host"},
		"another scheme":       {says(200, `{"value":[],"nextLink":"http://HOST/x"}`), arm.ErrMalformed, "another host"},
		"a redirect":           {says(307, "", "Location", "https://thief.example/"), arm.ErrRedirect, "portal"},
		"a redirect by 302":    {says(302, "", "Location", "/elsewhere"), arm.ErrRedirect, ""},
		"no longer allowed":    {says(403, forbidden), arm.ErrForbidden, "403 AuthorizationFailed"},
		"credential refused":   {says(401, ""), arm.ErrUnauthorized, "cloud.arm.credential"},
		"no such hub":          {says(404, `{"error":{"code":"ResourceNotFound","message":"x"}}`), arm.ErrNotFound, "404 ResourceNotFound"},
		"conflict":             {says(409, ""), nil, "409"},
		"throttled for long":   {says(429, "", "Retry-After", "86400"), arm.ErrThrottled, "5m0s"},
		"throttled for ever":   {says(429, "", "Retry-After", "1"), arm.ErrThrottled, ""},
		"throttled, no word":   {says(429, ""), arm.ErrThrottled, ""},
		"server error":         {says(500, "secret detail"), nil, "500"},
		"unavailable":          {says(503, "", "Retry-After", "nonsense"), arm.ErrThrottled, ""},
		"hung up":              {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, nil, ""},
		"a code that deceives": {says(403, `{"error":{"code":"ok) trust me"}}`), arm.ErrForbidden, "403: the gateway's"},
	} {
		t.Run(name, func(t *testing.T) {
			for at := 1; at <= requests; at++ {
				azure := newAzure()
				fails := true
				s := connect(t, proxy(t, azure, func(n int, w http.ResponseWriter, r *http.Request) bool {
					if !fails || n < at {
						return false
					}
					if name == "a circle" || name == "another scheme" {
						self := "https://" + r.Host + r.URL.String()
						says(200, strings.NewReplacer("SELF", self, "HOST", r.Host).Replace(
							map[string]string{
								"a circle":       `{"value":[],"nextLink":"SELF"}`,
								"another scheme": `{"value":[],"nextLink":"http://HOST/x"}`,
							}[name]))(w)
						return true
					}
					c.answer(w)
					return true
				}), func(o *arm.Options) { o.MaxBody = 1 << 20 })
				f, err := s.Full(t.Context())
				switch {
				case err == nil:
					t.Fatalf("request %d: an answer of %d assignments", at, len(f.Policy.AzureAssignments))
				case c.want != nil && !errors.Is(err, c.want):
					t.Fatalf("request %d: %v", at, err)
				case !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "secret"):
					t.Fatalf("request %d: %v", at, err)
				}
				var e *arm.Error
				if !errors.As(err, &e) || e.Reason() == "" || e.RetryAfter() > 5*time.Minute {
					t.Fatalf("request %d: %#v", at, err)
				}
				fails = false
				if f := read(t, s); len(f.Policy.AzureAssignments) != 4 || len(f.Policy.AzureDenies) != 1 {
					t.Fatalf("request %d: afterwards %+v", at, f.Policy)
				}
			}
		})
	}
}

// A token follows no redirect and no nextLink to another host.
func TestTheTokenStaysWithAzure(t *testing.T) {
	var stolen atomic.Bool
	thief := proxy(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Store(true) }), nil)
	for _, answer := range []func(w http.ResponseWriter){
		says(307, "", "Location", thief.URL), says(301, "", "Location", thief.URL),
		says(200, fmt.Sprintf(`{"value":[],"nextLink":%q}`, thief.URL+"/x")),
	} {
		s := connect(t, proxy(t, newAzure(), func(_ int, w http.ResponseWriter, _ *http.Request) bool { answer(w); return true }),
			func(o *arm.Options) { o.TLS = &tls.Config{InsecureSkipVerify: true} }) // it would trust the thief, too
		if _, err := s.Full(t.Context()); err == nil {
			t.Error("no error")
		}
	}
	if stolen.Load() {
		t.Error("the thief was asked")
	}
}

// A page that drips for ever ends with an error, after the time of one request.
func TestDrip(t *testing.T) {
	s := connect(t, proxy(t, newAzure(), func(_ int, w http.ResponseWriter, r *http.Request) bool {
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte(" "))
			_ = http.NewResponseController(w).Flush()
		}
		return true
	}), func(o *arm.Options) { o.Timeout = 50 * time.Millisecond })
	if _, err := s.Full(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestNobodyVouchesForTheServer(t *testing.T) {
	s := connect(t, proxy(t, newAzure(), nil), func(o *arm.Options) { o.TLS = nil })
	if _, err := s.Full(t.Context()); err == nil {
		t.Error("a server with an unknown certificate was believed")
	}
}

// A short throttle is waited for within the read.
func TestShortThrottle(t *testing.T) {
	var slept []time.Duration
	s := connect(t, proxy(t, newAzure(), func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if n == 2 || n == 3 {
			says(429, "", "Retry-After", "2")(w)
		}
		return n == 2 || n == 3
	}), func(o *arm.Options) {
		o.Sleep = func(_ context.Context, d time.Duration) error { slept = append(slept, d); return nil }
	})
	if f := read(t, s); len(f.Policy.AzureAssignments) != 4 || fmt.Sprint(slept) != "[2s 2s]" {
		t.Error(len(f.Policy.AzureAssignments), slept)
	}
}

// When ARM says that few reads remain, requests are sent slowly.
func TestRemainingReads(t *testing.T) {
	azure := newAzure()
	for left, want := range map[string]bool{"11999": false, "25": false, "24": true, "0": true, "": false, "many": false, "-3": false} {
		slept := 0
		s := connect(t, proxy(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("x-ms-ratelimit-remaining-subscription-reads", left)
			azure.ServeHTTP(w, r)
		}), nil), func(o *arm.Options) {
			o.Sleep = func(context.Context, time.Duration) error { slept++; return nil }
		})
		if read(t, s); slept > 0 != want {
			t.Errorf("%q remain: %d pauses", left, slept)
		}
	}
}

// A page that comes in place of another one would hide that one's rows.
func TestRepeatedPage(t *testing.T) {
	azure := newAzure()
	azure.pageSize = 1
	repeating := true
	s := connect(t, proxy(t, azure, func(_ int, w http.ResponseWriter, r *http.Request) bool {
		q := query(r)
		if !repeating || q.Get("$skipToken") != "2" {
			return false
		}
		q.Set("$skipToken", "1")
		r.URL.RawQuery = q.Encode()
		page := httptest.NewRecorder()
		azure.ServeHTTP(page, r)
		_, _ = w.Write([]byte(strings.Replace(page.Body.String(), "skipToken=2", "skipToken=3", 1)))
		return true
	}))
	if f, err := s.Full(t.Context()); !errors.Is(err, arm.ErrTorn) {
		t.Errorf("%v, %d assignments", err, len(f.Policy.AzureAssignments))
	}
	repeating = false
	if f := read(t, s); len(f.Policy.AzureAssignments) != 4 {
		t.Errorf("%d assignments", len(f.Policy.AzureAssignments))
	}
}

// What changes while it is read is read again, so that no state is believed in which Azure never was:
// here an assignment and the denial that restrained it are deleted, in this order, between two requests.
func TestTornAnswersAreReadAgain(t *testing.T) {
	azure := newAzure()
	s := connect(t, proxy(t, azure, func(n int, _ http.ResponseWriter, _ *http.Request) bool {
		if n == 4 { // the assignments have been read, the denials not yet
			azure.mu.Lock()
			azure.assignments, azure.denies = azure.assignments[1:], nil
			azure.mu.Unlock()
		}
		return false
	}))
	if f := read(t, s); byID(&f, 1) != nil {
		t.Error("an assignment is in force without the denial that was there as long as it was")
	}
	// Content that never rests is an error.
	s = connect(t, proxy(t, azure, func(n int, _ http.ResponseWriter, _ *http.Request) bool {
		azure.mu.Lock()
		defer azure.mu.Unlock()
		azure.assignments = append(azure.assignments, assignment(100+n, model.IotHubDataReaderRole, num(1).String(), "User", hub))
		return false
	}))
	if _, err := s.Full(t.Context()); !errors.Is(err, arm.ErrTorn) {
		t.Error(err)
	}
}

// renewer is a token that can be renewed once.
type renewer struct {
	now      string
	refused  int
	accepted int
}

func (r *renewer) Authorization(context.Context) (string, error) { return r.now, nil }

func (r *renewer) Refused(string) bool { r.refused++; r.now = "Bearer gateway"; return true }

func (r *renewer) Accepted(string) { r.accepted++ }

func TestRefusedTokenIsRenewed(t *testing.T) {
	token := &renewer{now: "Bearer old"}
	s := connect(t, proxy(t, newAzure(), nil), func(o *arm.Options) { o.Token = token })
	if f := read(t, s); len(f.Policy.AzureAssignments) != 4 || token.refused != 1 || token.accepted == 0 {
		t.Error(len(f.Policy.AzureAssignments), token)
	}
}
