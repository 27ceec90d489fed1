package credential

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestNoErrorShowsTheQuery: it may hold a token, and the error is shown in the status and in logs.
func TestNoErrorShowsTheQuery(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	c := NewClientSecret(ClientSecretOptions{
		URL:    server.URL + "/token?code=s3cret#s3cret",
		Secret: func() ([]byte, error) { return []byte("other"), nil },
		HTTP:   server.Client(),
		Now:    time.Now,
	})
	check := func(what string) {
		t.Helper()
		_, err := c.Token(t.Context())
		if err == nil || !strings.Contains(err.Error(), server.URL+"/token") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("an answer without a token")
	server.Close()
	check("nobody listens")
}
