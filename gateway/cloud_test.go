package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/store"
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
	c := bearer{&clientSecret{url: server.URL, clientID: "gw", secretFile: config.SecretFile(secret), scope: "x/.default", http: server.Client(), now: func() time.Time { return now }}}
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
	if !errors.Is(err, errCloudCredential) {
		t.Fatalf("a refused secret: %v", err)
	}
	if strings.Contains(err.Error(), "rotated") {
		t.Fatalf("the secret is in the error: %v", err)
	}
	if err := os.Chmod(secret, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Authorization(t.Context()); err == nil || errors.Is(err, errCloudCredential) {
		t.Fatalf("a secret that everyone may read: %v", err)
	}
}

// memoryBucket keeps what the keyring stores.
type memoryBucket map[string][]byte

func (m memoryBucket) Get(key string) ([]byte, error) {
	if v, ok := m[key]; ok {
		return v, nil
	}
	return nil, store.ErrNotFound
}

func (m memoryBucket) Put(key string, value []byte, done func(error)) {
	m[key] = value
	done(nil)
}

func keySet(t *testing.T) []byte {
	t.Helper()
	key, err := jwt.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := jwt.NewIssuer(key, space.MustID("7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001"), "", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	set, err := issuer.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestKeyringKeepsTheLastGoodSet(t *testing.T) {
	answer, status := keySet(t), http.StatusOK
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write(answer)
	}))
	defer server.Close()
	bucket, changes := memoryBucket{}, 0
	open := func() *keyring {
		k, err := newKeyring(config.JWKS{URL: server.URL}, bucket, server.Client(), slog.New(slog.DiscardHandler), func(error) {}, func() { changes++ })
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := open()
	if k.Keys().Len() != 0 {
		t.Fatal("keys out of nothing")
	}
	if err := k.fetch(t.Context()); err != nil || k.Keys().Len() != 1 {
		t.Fatalf("%v, %d keys", err, k.Keys().Len())
	}
	if err := k.fetch(t.Context()); err != nil || changes != 0 {
		t.Fatalf("the same set: %v, %d changes", err, changes)
	}
	good := answer
	for name, bad := range map[string][]byte{"not JSON": []byte("<html>"), "no keys": []byte(`{"keys":[]}`), "none usable": []byte(`{"keys":[{"kty":"oct","k":"AAAA","kid":"x"}]}`)} {
		answer = bad
		if err := k.fetch(t.Context()); err == nil || k.Keys().Len() != 1 {
			t.Errorf("%s: err %v, %d keys; the last good set must stay", name, err, k.Keys().Len())
		}
	}
	answer, status = good, http.StatusInternalServerError
	if err := k.fetch(t.Context()); err == nil || k.Keys().Len() != 1 {
		t.Errorf("a failing server: err %v, %d keys", err, k.Keys().Len())
	}
	if again := open(); again.Keys().Len() != 1 {
		t.Error("the set did not survive a restart without a cloud")
	}
	answer, status = keySet(t), http.StatusOK
	if err := k.fetch(t.Context()); err != nil || changes != 1 {
		t.Errorf("a rolled set: %v, %d changes; live principals must be looked at again", err, changes)
	}
}
