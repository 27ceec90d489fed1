package duapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// fakeGateway knows the tokens "reader" and "writer", each of a principal with that right, "nobody" of one
// without any, and "broken", for which no key set is there.
type fakeGateway struct {
	mu      sync.Mutex
	hold    bool
	shown   bool // deployments that were shown to devices may not be cancelled now
	audited []string
	local   []string
	fails   bool
}

func (h *fakeGateway) Prove(token string) (*principal.Principal, error) {
	switch token {
	case "reader", "writer", "nobody":
		return &principal.Principal{Kind: principal.User, Key: "user:" + token}, nil
	case "broken":
		return nil, errors.New("no key set")
	}
	return nil, &Refused{"wrong-signature", ""}
}

func (h *fakeGateway) May(_ context.Context, p *principal.Principal, a update.Action) update.Decision {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hold || h.shown && a == update.CancelReleased {
		return update.Decision{Hold: true, Reason: "stage-restricted"}
	}
	ok := p.Key == "user:writer" || p.Key == "user:reader" && a == update.Get
	return update.Decision{Allowed: ok, Reason: map[bool]string{true: "granted", false: "no-assignment"}[ok]}
}

func (h *fakeGateway) Known(d string) bool { return d == "d1" }

func (h *fakeGateway) Holders(id string) []string {
	if id == "dep-1" {
		return []string{"d1", "d2"}
	}
	return nil
}

func (h *fakeGateway) Local(_ context.Context, p *principal.Principal, r update.Request) (update.Answer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.local = append(h.local, fmt.Sprint(p.Key, " ", r.Action, " ", r.Device, " ", r.Deployment))
	if h.fails && r.Device == "d2" {
		return update.Answer{Status: 409, Body: []byte(`{"error":{"code":"refused"}}`)}, nil
	}
	return update.Answer{Status: 200, Body: []byte(`{"deviceId":"` + r.Device + `"}`)}, nil
}

func (h *fakeGateway) took() (local, audited string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	local, audited = strings.Join(h.local, "; "), strings.Join(h.audited, "; ")
	h.local, h.audited = nil, nil
	return local, audited
}

// cloud is Device Update. It records the requests that reach it.
type cloud struct {
	*httptest.Server
	mu     sync.Mutex
	got    []string
	answer http.HandlerFunc
}

func newCloud(t *testing.T) *cloud {
	c := &cloud{}
	c.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		c.mu.Lock()
		c.got = append(c.got, fmt.Sprint(r.Method, " ", r.URL.RequestURI(), " ", r.Header.Get("Authorization"), " ", r.Header.Get("X-Extra"),
			string(body)))
		answer := c.answer
		c.mu.Unlock()
		if answer != nil {
			answer(w, r)
			return
		}
		_, _ = io.WriteString(w, `{"from":"cloud"}`)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *cloud) took() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := strings.Join(c.got, "; ")
	c.got = nil
	return s
}

func (c *cloud) set(h http.HandlerFunc) { c.mu.Lock(); defer c.mu.Unlock(); c.answer = h }

// api is a gateway that really listens with TLS.
type api struct {
	t       *testing.T
	gateway *fakeGateway
	url     string
	http    *http.Client
}

func start(t *testing.T, change func(*Options)) *api {
	t.Helper()
	a := &api{t: t, gateway: &fakeGateway{}}
	o := Options{Gateway: a.gateway, Instance: "inst", Online: func() bool { return false }, Audit: func(r message.AuditRecord) {
		a.gateway.mu.Lock()
		defer a.gateway.mu.Unlock()
		a.gateway.audited = append(a.gateway.audited, fmt.Sprint(r.Principal, " ", r.Topic, " ", r.Allowed, " ", r.Reason))
	}}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	pair := httptest.NewUnstartedServer(nil)
	pair.StartTLS()
	t.Cleanup(pair.Close)
	l, err := tls.Listen("tcp", "127.0.0.1:0",
		&tls.Config{MinVersion: tls.VersionTLS12, Certificates: pair.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	pool := x509.NewCertPool()
	pool.AddCert(pair.Certificate())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "example.com", MinVersion: tls.VersionTLS12}}
	a.url, a.http = "https://"+l.Addr().String(), &http.Client{Transport: transport, Timeout: time.Minute}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return a
}

func withCloud(c *cloud) func(*Options) {
	return func(o *Options) {
		o.Endpoint, _ = url.Parse(c.URL)
		pool := x509.NewCertPool()
		pool.AddCert(c.Certificate())
		o.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
}

func (a *api) ask(method, path, token, body string, headers ...string) (int, string, http.Header) {
	a.t.Helper()
	r, err := http.NewRequest(method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	res, err := a.http.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return res.StatusCode, string(text), res.Header
}
