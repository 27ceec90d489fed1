package credential

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/sync/backoff"
)

// ClientSecretOptions are the parameters of an OAuth 2.0 client-credentials grant.
type ClientSecretOptions struct {
	URL      string // of the token endpoint
	ClientID string
	Scope    string
	// Secret reads the client secret. It is called for every token request, so
	// that rotating the secret needs no restart.
	Secret func() ([]byte, error)
	HTTP   *http.Client
	Now    func() time.Time
	// Timeout is how long a call of Token may take, both while it waits for the token request of
	// another call and during its own. 0: 30 s.
	Timeout time.Duration
}

// tokenTimeout is the default of ClientSecretOptions.Timeout.
const tokenTimeout = 30 * time.Second

// ClientSecret gets the gateway's own token from the cloud by an OAuth 2.0
// client-credentials grant (RFC 6749 section 4.4).
type ClientSecret struct {
	o ClientSecretOptions

	// asking holds one value while a token is requested, so that one request serves all callers.
	// It is a channel and not a mutex, because a caller must be able to stop waiting.
	asking chan struct{}

	mu      sync.Mutex // guards the fields below; never held during a request
	token   string     // "": there is none, or the server refused it
	renewAt time.Time

	refusals backoff.Backoff // counts the tokens that were refused in a row
	dropped  time.Time       // when a token was last dropped because the server refused it
	pause    time.Duration   // how long after dropped no further token is dropped
}

// bearer is the authentication scheme (RFC 6750).
const bearer = "Bearer "

// ErrRefused is wrapped by the error for a token endpoint that answered and gave no token.
var ErrRefused = errors.New("the cloud refused the gateway's own credential")

// NewClientSecret makes the credential. It requests no token yet.
func NewClientSecret(o ClientSecretOptions) *ClientSecret {
	if o.Timeout == 0 {
		o.Timeout = tokenTimeout
	}
	return &ClientSecret{
		o:        o,
		asking:   make(chan struct{}, 1),
		refusals: backoff.Backoff{Min: 2 * time.Second, Max: 5 * time.Minute},
	}
}

// Authorization is the value of the header of that name.
func (c *ClientSecret) Authorization(ctx context.Context) (string, error) {
	token, err := c.Token(ctx)
	return bearer + token, err
}

// Token returns a token that is valid for at least another minute. It requests a new one
// once two thirds of the last one's lifetime are over. It returns an error after
// ClientSecretOptions.Timeout at the latest, because a token endpoint that accepts the connection
// and never answers would otherwise stop every caller for ever.
func (c *ClientSecret) Token(ctx context.Context) (string, error) {
	if token := c.current(); token != "" {
		return token, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-ctx.Done():
		return "", fmt.Errorf("wait for a token that %s is being asked for: %w", c.shown(), ctx.Err())
	}
	if token := c.current(); token != "" {
		return token, nil // the call that this one waited for has got it
	}
	token, life, err := c.ask(ctx)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token, c.renewAt = token, c.o.Now().Add(life*2/3)
	return token, nil
}

// current returns the token if it need not be renewed yet, otherwise "".
func (c *ClientSecret) current() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.o.Now().Before(c.renewAt) {
		return c.token
	}
	return ""
}

// ask sends one token request. It returns the token and its lifetime.
func (c *ClientSecret) ask(ctx context.Context) (token string, life time.Duration, err error) {
	secret, err := c.o.Secret()
	if err != nil {
		return "", 0, fmt.Errorf("cloud.management.credential.clientSecret: %w", err)
	}
	form := url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {c.o.ClientID},
		"scope":         {c.o.Scope},
		"client_secret": {string(secret)},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.o.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := c.o.HTTP.Do(req)
	if err != nil {
		if e := (*url.Error)(nil); errors.As(err, &e) {
			e.URL = c.shown()
		}
		return "", 0, fmt.Errorf("ask for a token: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return "", 0, fmt.Errorf("ask %s for a token: %w", c.shown(), err)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
		Error       string `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || res.StatusCode != http.StatusOK || answer.AccessToken == "" {
		return "", 0, fmt.Errorf("%w: %s answered %d %s; check cloud.management.credential (client id, secret, scope)",
			ErrRefused, c.shown(), res.StatusCode, answer.Error)
	}
	return answer.AccessToken, time.Duration(answer.ExpiresIn) * time.Second, nil
}

// shown is the URL as it appears in an error text: without its query, which may contain a secret.
func (c *ClientSecret) shown() string {
	u, err := url.Parse(c.o.URL)
	if err != nil {
		return "the token endpoint"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// Refused implements client.Renewer: the server answered 401 to this value. It returns true if
// the next Authorization returns another value. After the first refusal a new token is requested
// at once. If the server refuses that one too, the next is requested only after 2 s, then after
// 4 s, up to 5 min. Until then the refused token is still sent, because there is no other.
func (c *ClientSecret) Refused(authorization string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if authorization != bearer+c.token {
		return true // it was renewed since that request was sent
	}
	now := c.o.Now()
	if sinceLast := now.Sub(c.dropped); !c.dropped.IsZero() && sinceLast >= 0 && sinceLast < c.pause {
		return false
	}
	c.token, c.dropped, c.pause = "", now, c.refusals.Next()
	return true
}

// Accepted implements client.Renewer: the server accepted this value, so that the next refusal
// counts as the first. A pause that has begun is not shortened; a server that accepts one request
// and refuses the next would otherwise make the gateway flood the token endpoint.
func (c *ClientSecret) Accepted(authorization string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if authorization == bearer+c.token {
		c.refusals.Reset()
	}
}
