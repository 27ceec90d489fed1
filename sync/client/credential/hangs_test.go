package credential

import (
	"context"
	"testing"
	"time"
)

// While the endpoint hangs that is asked for the next token, everybody else goes on with the present one.
func TestARenewalThatHangsStopsNobody(t *testing.T) {
	now := time.Now()
	k := newKept(func() time.Time { return now }, time.Minute)
	k.asked = func() string { return "the endpoint" }
	k.fetch = func(context.Context) (fetched, error) { return fetched{"Bearer one", time.Hour}, nil }
	if h, err := k.Authorization(t.Context()); h != "Bearer one" || err != nil {
		t.Fatal(h, err)
	}
	now = now.Add(41 * time.Minute) // it lives for 19 more minutes
	ctx, cancel := context.WithCancel(t.Context())
	asked, done := make(chan struct{}), make(chan struct{})
	k.fetch = func(ctx context.Context) (fetched, error) {
		close(asked)
		<-ctx.Done()
		return fetched{}, ctx.Err()
	}
	go func() {
		defer close(done)
		_, _ = k.Authorization(ctx)
	}()
	<-asked
	if h, err := k.Authorization(t.Context()); h != "Bearer one" || err != nil {
		t.Errorf("%q, %v", h, err)
	}
	cancel()
	<-done
}
