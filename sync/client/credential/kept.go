package credential

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/sync/backoff"
)

// fetched is what a source of tokens gives.
type fetched struct {
	header string // the value of Authorization, scheme and token
	life   time.Duration
}

// kept keeps one token: it is asked for once for all callers, renewed once two thirds of its life are over, and dropped
// when the server refuses it. A renewal that fails changes nothing as long as the old token lives.
type kept struct {
	fetch   func(ctx context.Context) (fetched, error) // asks for a token
	asked   func() string                              // who is asked, for error texts
	now     func() time.Time
	timeout time.Duration

	// asking holds one value while a token is requested, so that one request serves all callers.
	// It is a channel and not a mutex, because a caller must be able to stop waiting.
	asking chan struct{}

	mu      sync.Mutex // guards the fields below; never held during a request
	header  string     // "": there is none, or the server refused it
	renewAt time.Time  // when the next request may be made: two thirds of the life, later after a failure
	expires time.Time

	refused  string          // the last value that the server refused
	refusals backoff.Backoff // counts the tokens that were refused in a row
	failures backoff.Backoff // counts the renewals that failed in a row while the old token lives
	dropped  time.Time       // when a token was last dropped because the server refused it
	pause    time.Duration   // how long after dropped no further token is dropped
}

// tokenTimeout is how long a call may take, both while it waits for the token request of another call and during its
// own.
const tokenTimeout = 30 * time.Second

func newKept(now func() time.Time, timeout time.Duration) *kept {
	if timeout == 0 {
		timeout = tokenTimeout
	}
	return &kept{
		now:      now,
		timeout:  timeout,
		asking:   make(chan struct{}, 1),
		refusals: backoff.Backoff{Min: 2 * time.Second, Max: 5 * time.Minute},
		failures: backoff.Backoff{Min: 2 * time.Second, Max: time.Minute},
	}
}

// Authorization is the value of the header of that name. It requests a new token once two thirds of the last one's life
// are over, and returns the old one if that fails and it still lives. It returns an error after the timeout at the
// latest, because a token endpoint that accepts the connection and never answers would otherwise stop every caller for
// ever.
func (k *kept) Authorization(ctx context.Context) (string, error) {
	if header := k.current(); header != "" {
		return header, nil
	}
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	select {
	case k.asking <- struct{}{}:
		defer func() { <-k.asking }()
	default:
		if header := k.living(); header != "" {
			return header, nil // an endpoint that hangs while it is asked for the next one must not stop the sync
		}
		if err := k.await(ctx); err != nil {
			return "", err
		}
		defer func() { <-k.asking }()
	}
	if header := k.current(); header != "" {
		return header, nil // the call that this one waited for has got it
	}
	got, err := k.fetch(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if err != nil {
		if k.header != "" && now.Before(k.expires) {
			k.renewAt = now.Add(k.failures.Next())
			return k.header, nil
		}
		return "", err
	}
	k.failures.Reset()
	k.header, k.renewAt, k.expires = got.header, now.Add(got.life*2/3), now.Add(got.life)
	return k.header, nil
}

// await waits until nobody else asks for a token, and keeps others from it.
func (k *kept) await(ctx context.Context) error {
	select {
	case k.asking <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a token that %s is being asked for: %w", k.asked(), ctx.Err())
	}
}

// living returns the value if its token has not ended, otherwise "".
func (k *kept) living() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now().Before(k.expires) {
		return k.header
	}
	return ""
}

// current returns the value if it need not be renewed yet, otherwise "".
func (k *kept) current() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now().Before(k.renewAt) {
		return k.header
	}
	return ""
}

// Run renews the token ahead of whoever needs it, until ctx ends. It asks for no first one.
func (k *kept) Run(ctx context.Context) error {
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		k.mu.Lock()
		held, left := k.header != "", k.renewAt.Sub(k.now())
		k.mu.Unlock()
		if held && left <= 0 {
			_, _ = k.Authorization(ctx) // what fails is said by whoever needs the token
		}
		timer.Reset(min(max(left, time.Second), time.Minute)) // a wall clock that is set must not make it miss the time
	}
}

// Refused implements client.Renewer: the server answered 401 to this value. It returns true if
// the next Authorization returns another value. After the first refusal a new token is requested
// at once. If the server refuses that one too, the next is requested only after 2 s, then after
// 4 s, up to 5 min. Until then the refused token is still sent, because there is no other.
func (k *kept) Refused(authorization string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if authorization != k.header {
		return true // it was renewed since that request was sent
	}
	k.refused = authorization
	now := k.now()
	if sinceLast := now.Sub(k.dropped); !k.dropped.IsZero() && sinceLast >= 0 && sinceLast < k.pause {
		return false
	}
	k.header, k.dropped, k.pause = "", now, k.refusals.Next()
	return true
}

// Accepted implements client.Renewer: the server accepted this value, so that the next refusal
// counts as the first. A pause that has begun is not shortened; a server that accepts one request
// and refuses the next would otherwise make the gateway flood the token endpoint.
func (k *kept) Accepted(authorization string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if authorization == k.header {
		k.refusals.Reset()
		k.refused = ""
	}
}

// same tells whether the token that is held now is one that the server has refused: whoever gives it out has no other yet.
func (k *kept) same() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.header != "" && k.header == k.refused
}
