package credential

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestRefusedOncePerAnswer: if several requests with the same token are answered 401, one new token
// is requested for all of them.
func TestRefusedOncePerAnswer(t *testing.T) {
	asked := 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		fmt.Fprintf(w, `{"access_token":"t%d","expires_in":3600}`, asked)
	}))
	defer server.Close()
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	c := NewClientSecret(ClientSecretOptions{
		URL:    server.URL,
		Secret: func() ([]byte, error) { return nil, nil },
		HTTP:   server.Client(),
		Now:    func() time.Time { return now },
	})
	want := func(token string) {
		t.Helper()
		if got, err := c.Authorization(t.Context()); err != nil || got != bearer+token {
			t.Fatalf("got %q, %v; want %s", got, err, token)
		}
	}
	want("t1")
	for i := range 3 {
		if !c.Refused("Bearer t1") {
			t.Errorf("answer %d: it is not sent again with the new token", i)
		}
		want("t2")
	}
	if c.Refused("Bearer t2") {
		t.Error("the new token is refused as well, and another one asked for at once")
	}
	want("t2")
	now = now.Add(2 * time.Second)
	if !c.Refused("Bearer t2") {
		t.Error("no new token after the pause")
	}
	want("t3")
	now = now.Add(2 * time.Second)
	if c.Refused("Bearer t3") {
		t.Error("the second pause is not longer than the first")
	}
	now = now.Add(2 * time.Second)
	if !c.Refused("Bearer t3") {
		t.Error("no new token after the second pause")
	}
	want("t4")
	c.Accepted("Bearer t4")
	now = now.Add(8 * time.Second)
	if !c.Refused("Bearer t4") {
		t.Error("no new token for a revocation after the pause")
	}
	want("t5")
	now = now.Add(2 * time.Second)
	if !c.Refused("Bearer t5") {
		t.Error("accepted in between, and the pause is as long as before")
	}
}
