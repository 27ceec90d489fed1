package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/sync/client/credential"
)

// issuing is a management server that issues bearer tokens at /token and can revoke them. It
// answers 401 to a revoked token, as to one that has expired.
type issuing struct {
	api http.Handler

	mu       sync.Mutex
	valid    map[string]bool // guarded by mu
	useless  bool            // guarded by mu: no token is ever accepted
	issued   int             // guarded by mu
	requests int             // guarded by mu: how many requests of the API came
}

func (s *issuing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path == "/token" {
		s.issued++
		token := fmt.Sprint("t", s.issued)
		s.valid[token] = !s.useless
		fmt.Fprintf(w, `{"access_token":%q,"expires_in":86400}`, token)
		return
	}
	s.requests++
	if !s.valid[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")] {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	r.Header.Set("Authorization", "Bearer gateway")
	s.api.ServeHTTP(w, r)
}

// revoke revokes every token that was issued.
func (s *issuing) revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.valid)
}

// counts returns how many tokens were issued, and how many requests of the API came.
func (s *issuing) counts() (issued, requests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued, s.requests
}

// renewing is a client that gets its tokens from this server.
func renewing(t *testing.T, s *issuing, now func() time.Time) *Client {
	t.Helper()
	s.valid = map[string]bool{}
	server := serve(t, s)
	return connect(t, server, func(o *Options) {
		o.Token = credential.NewClientSecret(credential.ClientSecretOptions{
			URL:    server.URL + "/token",
			Secret: func() ([]byte, error) { return []byte("s3cret"), nil },
			HTTP:   server.Client(),
			Now:    now,
		})
	})
}

// TestRevokedTokenIsRenewedAtOnce: after a token was revoked, the feed, the collections and writes
// continue with a new one at once, not only when the old one would have expired.
func TestRevokedTokenIsRenewedAtOnce(t *testing.T) {
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	s := &issuing{api: cloud(t)}
	c := renewing(t, s, func() time.Time { return now })
	full, err := c.Full(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, use := range []func() error{
		func() error { _, err := c.Changes(t.Context(), full.Version, 0); return err },
		func() error { _, err := c.Full(t.Context()); return err },
		func() error {
			_, status, err := c.CreateSensor(t.Context(), NewSensor{DeviceID: num(1000), HardwareID: "new"})
			if err == nil && status == http.StatusUnauthorized {
				err = errors.New("401")
			}
			return err
		},
	} {
		now = now.Add(time.Minute)
		s.revoke()
		if err := use(); err != nil {
			t.Errorf("use %d after a revocation: %v", i, err)
		}
		if issued, _ := s.counts(); issued != i+2 {
			t.Errorf("use %d: %d tokens were asked for, want %d", i, issued, i+2)
		}
	}
}

// TestRefusedTokensAreNotAStorm: if the server accepts no token, a new one is requested once at
// once, and then ever more rarely.
func TestRefusedTokensAreNotAStorm(t *testing.T) {
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	s := &issuing{api: http.NotFoundHandler(), useless: true}
	c := renewing(t, s, func() time.Time { return now })
	var last int
	for second := range 600 {
		if _, err := c.Rights(t.Context()); !errors.Is(err, ErrUnauthorized) {
			t.Fatalf("second %d: %v", second, err)
		}
		_, requests := s.counts()
		if requests-last > 2 {
			t.Fatalf("second %d: one call made %d requests", second, requests-last)
		}
		last = requests
		now = now.Add(time.Second)
	}
	// The first, the one at once, and after 2, 4, 8 … 256 s.
	if issued, _ := s.counts(); issued < 3 || issued > 10 {
		t.Errorf("%d tokens were asked for in ten minutes, want 10 at most", issued)
	}
	// The server is repaired: it accepts the next token, which is requested after the longest pause.
	s.mu.Lock()
	s.useless, s.api = false, cloud(t)
	s.mu.Unlock()
	now = now.Add(5 * time.Minute)
	if _, err := c.Rights(t.Context()); err != nil {
		t.Errorf("after the server was mended: %v", err)
	}
}
