package jwks

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/config"
)

// TestNoErrorShowsTheQuery: it may hold a token, and the error is shown in the status and in logs.
func TestNoErrorShowsTheQuery(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	k, err := New(Options{
		Source:  config.JWKS{URL: server.URL + "/keys?code=s3cret#s3cret"},
		Client:  server.Client(),
		Bucket:  memoryBucket{},
		Absent:  errAbsent,
		Log:     slog.New(slog.DiscardHandler),
		Report:  func(error) {},
		Changed: func() {},
	})
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string) {
		t.Helper()
		err := k.fetch(t.Context())
		if err == nil || !strings.Contains(err.Error(), server.URL+"/keys") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("an answer that is no key set")
	server.Close()
	check("nobody listens")
}
