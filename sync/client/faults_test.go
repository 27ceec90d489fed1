package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// answering is a server that gives the same answer to every request.
func answering(status int, header map[string]string, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
}

func TestMalformedAnswersAreErrors(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":    "",
		"HTML":       "<html>proxy</html>",
		"cut":        `{"epoch":1,"from":1,`,
		"an array":   `[]`,
		"deep":       strings.Repeat("[", 10000),
		"wrong type": `{"epoch":"x"}`,
		"backwards":  `{"epoch":1,"from":2,"to":1}`,
		"null":       `null`,
		"large":      `{"epoch":1,"from":1,"to":1,"changes":[]}` + strings.Repeat(" ", 5000), // whole, were it cut
	} {
		c := connect(t, serve(t, answering(200, nil, body)), func(o *Options) { o.MaxBody = 4096 })
		if _, err := c.Full(t.Context()); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Changes(t.Context(), model.Version{Epoch: 1, Number: 1}, 0); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := connect(t, serve(t, answering(200, nil, `{"epoch":1,"from":1,"to":5,"changes":[]}`)))
	if _, err := c.Changes(t.Context(), model.Version{Epoch: 1, Number: 2}, 0); !errors.Is(err, ErrMalformed) {
		t.Errorf("an answer to another question: %v", err)
	}
}

func TestStatuses(t *testing.T) {
	for status, want := range map[int]error{
		401: ErrUnauthorized, 403: ErrForbidden, 404: wire.ErrNoFeed, 429: ErrThrottled, 503: ErrThrottled,
	} {
		c := connect(t, serve(t, answering(status, nil, "{}")), func(o *Options) {
			o.Sleep = func(context.Context, time.Duration) error { return nil }
		})
		if _, err := c.Changes(t.Context(), model.Version{Epoch: 1, Number: 1}, 0); !errors.Is(err, want) {
			t.Errorf("%d: %v", status, err)
		}
	}
	c := connect(t, serve(t, answering(500, nil, "secret detail")))
	var e *Error
	if _, err := c.Rights(t.Context()); !errors.As(err, &e) || e.Status != 500 || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func TestThrottlingIsHonoured(t *testing.T) {
	var asked atomic.Int64
	var slept []time.Duration
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch asked.Add(1) {
		case 1:
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(429)
		case 2:
			w.Header().Set("Date", "Sun, 01 Nov 2026 10:00:00 GMT")
			w.Header().Set("Retry-After", "Sun, 01 Nov 2026 10:00:09 GMT")
			w.WriteHeader(429)
		case 3:
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(503)
		default:
			_, _ = w.Write([]byte(`{"assignments":true}`))
		}
	})
	c := connect(t, serve(t, h), func(o *Options) {
		o.Sleep = func(_ context.Context, d time.Duration) error { slept = append(slept, d); return nil }
	})
	if r, err := c.Rights(t.Context()); err != nil || !r.Assignments {
		t.Fatal(r, err)
	}
	if fmt.Sprint(slept) != "[7s 9s 1m0s]" {
		t.Error(slept)
	}
}

func TestOwnThrottle(t *testing.T) {
	c := connect(t, serve(t, answering(200, nil, `{}`)), func(o *Options) { o.RequestsPerSecond = 0.001 })
	if _, err := c.Rights(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Rights(ctx); err == nil {
		t.Error("the second request must wait")
	}
}

// A redirect must not carry the credential to another host.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var stolen atomic.Bool
	thief := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		stolen.Store(true)
	}))
	c := connect(t, serve(t, answering(307, map[string]string{"Location": thief.URL}, "")))
	if _, err := c.Rights(t.Context()); err == nil {
		t.Error("a redirect is no answer")
	}
	if stolen.Load() {
		t.Error("the redirect was followed")
	}
}

func TestUnknownCertificate(t *testing.T) {
	s := serve(t, answering(200, nil, `{}`))
	s.Config.ErrorLog = nil
	c := connect(t, s, func(o *Options) { o.TLS = nil })
	if _, err := c.Rights(t.Context()); err == nil {
		t.Error("a server that nobody vouches for was believed")
	}
}

func TestOptions(t *testing.T) {
	for _, u := range []string{"", "http://cloud.example", "https://", "https://user:pw@cloud.example", "cloud.example", "https://h/?q"} {
		if _, err := New(Options{URL: u, Site: site, HomeTenant: home, Token: token("x")}); err == nil {
			t.Errorf("%q was accepted", u)
		}
	}
	if _, err := New(
		Options{URL: "https://cloud.example/management/api/v1.0/", Site: site, HomeTenant: home, Token: token("x")},
	); err != nil {
		t.Error(err)
	}
	if _, err := New(Options{URL: "https://cloud.example", Site: space.Path{}, HomeTenant: home, Token: token("x")}); err == nil {
		t.Error("no site")
	}
}

// Pages that are wrong: with repeated objects, with too many, or empty where objects must be.
func TestPagesThatLie(t *testing.T) {
	page := func(from, n int) string {
		var b strings.Builder
		b.WriteByte('[')
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"id":%q}`, num(from+i))
		}
		return b.String() + "]"
	}
	for name, tt := range map[string]struct {
		pages []string
		want  error
	}{
		"for ever the same": {[]string{page(1, 1000), page(1, 1000)}, ErrTorn},
		"no overlap":        {[]string{page(1, 1000), page(1001, 10)}, ErrTorn},
		"ends too early":    {[]string{page(1, 1000), "[]"}, ErrTorn},
		"comes back":        {[]string{page(1, 1000), page(1000, 1)[:len(page(1000, 1))-1] + "," + page(5, 1)[1:]}, ErrTorn},
		"more than asked":   {[]string{page(1, 1001)}, ErrMalformed},
		"without an id":     {[]string{`[{"name":"x"}]`}, ErrMalformed},
		"more than allowed": {[]string{page(1, 1000), page(1000, 1000), page(1999, 1000)}, ErrMalformed},
		"good":              {[]string{page(1, 1000), page(1000, 3)}, nil},
		"exactly one page":  {[]string{page(1, 1000), page(1000, 1)}, nil},
	} {
		var n atomic.Int64
		s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(tt.pages[int(n.Add(1)-1)%len(tt.pages)]))
		}))
		c := connect(t, s, func(o *Options) { o.MaxObjects = 1500 })
		if _, err := c.collection(t.Context(), "/devices", nil); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"epoch":1,"from":1,"to":1,"changes":[]}`))
	f.Add([]byte(`[{"id":"00000000-0000-4000-8000-000000000001"}]`))
	f.Add([]byte(`{"assignments":true}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c := &Client{o: Options{Site: site, HomeTenant: home, Token: token("x"), MaxBody: 1 << 20, MaxObjects: 1000, Timeout: time.Second,
			Sleep: func(context.Context, time.Duration) error { return nil }}}
		c.url = &url.URL{Scheme: "https", Host: "cloud.example"}
		c.limiter = rate.NewLimiter(rate.Inf, 0)
		c.http = &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			rec := httptest.NewRecorder()
			_, _ = rec.Write(body)
			return rec.Result(), nil
		})}
		_, _ = c.Full(context.Background())
		_, _ = c.Changes(context.Background(), model.Version{Epoch: 1, Number: 1}, 0)
		_, _ = c.Rights(context.Background())
		_, _ = c.collection(context.Background(), "/devices", nil)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The error for a server that cannot be reached is one short line without the address, which is shown
// beside it anyway.
func TestErrorText(t *testing.T) {
	e := &Error{
		Op:   "GET",
		Path: "/changes",
		Err: &url.Error{
			Op:  "Get",
			URL: "https://localhost:1/management/api/v1.0/changes?since=1.5&site=%2F",
			Err: errors.New("connection refused"),
		},
	}
	if got := e.Error(); got != "GET /changes: connection refused" {
		t.Errorf("%q", got)
	}
}
