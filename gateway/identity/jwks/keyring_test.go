package jwks

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/config"
)

var errAbsent = errors.New("nothing is stored")

// memoryBucket keeps what the keyring stores.
type memoryBucket map[string][]byte

func (m memoryBucket) Get(key string) ([]byte, error) {
	if v, ok := m[key]; ok {
		return v, nil
	}
	return nil, errAbsent
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
	open := func() *Keyring {
		k, err := New(Options{
			Source:  config.JWKS{URL: server.URL},
			Client:  server.Client(),
			Bucket:  bucket,
			Absent:  errAbsent,
			Log:     slog.New(slog.DiscardHandler),
			Report:  func(error) {},
			Changed: func() { changes++ },
		})
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
	for name, bad := range map[string][]byte{
		"not JSON":    []byte("<html>"),
		"no keys":     []byte(`{"keys":[]}`),
		"none usable": []byte(`{"keys":[{"kty":"oct","k":"AAAA","kid":"x"}]}`),
	} {
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
