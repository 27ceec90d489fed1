package credential

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/config"
)

func TestClientSecretIsAskedForOnceAndRenewed(t *testing.T) {
	asked, status := 0, http.StatusOK
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.PostFormValue("client_secret") != "s3cret" || r.PostFormValue("grant_type") != "client_credentials" {
			status = http.StatusUnauthorized
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"access_token":"t%d","expires_in":3600}`, asked)
	}))
	defer server.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	c := NewClientSecret(ClientSecretOptions{
		URL:      server.URL,
		ClientID: "gw",
		Scope:    "x/.default",
		Secret:   config.SecretFile(secret).Read,
		HTTP:     server.Client(),
		Now:      func() time.Time { return now },
	})
	want := func(header string) {
		t.Helper()
		if got, err := c.Authorization(t.Context()); err != nil || got != header {
			t.Fatalf("got %q, %v; want %q", got, err, header)
		}
	}
	want("Bearer t1")
	now = now.Add(39 * time.Minute)
	want("Bearer t1")
	now = now.Add(2 * time.Minute) // two thirds of its life are over
	want("Bearer t2")
	if err := os.WriteFile(secret, []byte("rotated"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	_, err := c.Authorization(t.Context())
	if !errors.Is(err, ErrRefused) {
		t.Fatalf("a refused secret: %v", err)
	}
	if strings.Contains(err.Error(), "rotated") {
		t.Fatalf("the secret is in the error: %v", err)
	}
	if err := os.Chmod(secret, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Authorization(t.Context()); err == nil || errors.Is(err, ErrRefused) {
		t.Fatalf("a secret that everyone may read: %v", err)
	}
}
