package credential

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"
)

// silent is an endpoint that accepts every connection and never answers. It sends each connection
// to the channel.
func silent(t *testing.T) (address string, taken <-chan net.Conn) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	conns := make(chan net.Conn, 8)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns <- c
		}
	}()
	return l.Addr().String(), conns
}

func unanswered(t *testing.T, timeout time.Duration) (c *ClientSecret, taken <-chan net.Conn) {
	t.Helper()
	address, taken := silent(t)
	return NewClientSecret(ClientSecretOptions{
		URL:      "http://" + address,
		ClientID: "gw",
		Secret:   func() ([]byte, error) { return []byte("s3cret"), nil },
		HTTP:     &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		Now:      time.Now,
		Timeout:  timeout,
	}), taken
}

func TestATokenRequestThatIsNeverAnsweredEnds(t *testing.T) {
	c, _ := unanswered(t, 50*time.Millisecond)
	for range 2 { // twice, because the first call must not block the second
		if _, err := c.Authorization(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v; want the end of the timeout", err)
		}
	}
}

func TestWhoWaitsForAnothersTokenRequestCanStopWaiting(t *testing.T) {
	c, taken := unanswered(t, time.Hour)
	asking, stop := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := c.Authorization(asking)
		first <- err
	}()
	conn := <-taken
	defer func() { _ = conn.Close() }()

	// These take no context, so they must not wait for the token request.
	c.Accepted("Bearer other")
	c.Refused("Bearer other")

	waiting, giveUp := context.WithCancel(t.Context())
	giveUp()
	if _, err := c.Authorization(waiting); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v; want the end of the caller's own context", err)
	}
	stop()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Fatalf("the first caller got %v", err)
	}
}
