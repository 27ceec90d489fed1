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
}

// ClientSecret is the gateway's own cloud credential in its simplest form: an
// OAuth 2.0 client-credentials grant (RFC 6749 section 4.4).
type ClientSecret struct {
	o ClientSecretOptions

	mu      sync.Mutex // guards the fields below; held over the token request, so that one request serves all
	token   string     // "": none, or refused
	renewAt time.Time

	refusals backoff.Backoff // how many tokens were refused in a row
	dropped  time.Time       // when a token was last dropped because it was refused
	pause    time.Duration   // no further token is dropped before this time has passed since dropped
}

// bearer is the authentication scheme (RFC 6750).
const bearer = "Bearer "

// ErrRefused is wrapped by the error for a token endpoint that answered and gave no token.
var ErrRefused = errors.New("the cloud refused the gateway's own credential")

// NewClientSecret makes the credential; it asks for nothing yet.
func NewClientSecret(o ClientSecretOptions) *ClientSecret {
	return &ClientSecret{o: o, refusals: backoff.Backoff{Min: 2 * time.Second, Max: 5 * time.Minute}}
}

// Authorization is the value of the header of that name.
func (c *ClientSecret) Authorization(ctx context.Context) (string, error) {
	token, err := c.Token(ctx)
	return bearer + token, err
}

// Token returns a token that is good for at least a minute, asking for a new
// one when two thirds of the last one's life are over.
func (c *ClientSecret) Token(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" && c.o.Now().Before(c.renewAt) {
		return c.token, nil
	}
	secret, err := c.o.Secret()
	if err != nil {
		return "", fmt.Errorf("cloud.management.credential.clientSecret: %w", err)
	}
	form := url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {c.o.ClientID},
		"scope":         {c.o.Scope},
		"client_secret": {string(secret)},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.o.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := c.o.HTTP.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask %s for a token: %w", c.o.URL, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return "", fmt.Errorf("ask %s for a token: %w", c.o.URL, err)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
		Error       string `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || res.StatusCode != http.StatusOK || answer.AccessToken == "" {
		return "", fmt.Errorf("%w: %s answered %d %s; check cloud.management.credential (client id, secret, scope)",
			ErrRefused, c.o.URL, res.StatusCode, answer.Error)
	}
	life := time.Duration(answer.ExpiresIn) * time.Second
	c.token, c.renewAt = answer.AccessToken, c.o.Now().Add(life*2/3)
	return c.token, nil
}

// Refused says that the server answered 401 to this value, and returns true if the
// next Authorization gives another one. After the first refusal a new token is asked
// for at once. If the server refuses that one too, the next is asked for only after 2
// s, then after 4 s, up to 5 min. Until then the refused token is still sent, because
// there is no other.
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

// Accepted says that the server took this value, so the next refusal counts as the
// first. A pause that has begun is not shortened: otherwise a server that accepts one
// request and refuses the next would make the gateway flood the token endpoint.
func (c *ClientSecret) Accepted(authorization string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if authorization == bearer+c.token {
		c.refusals.Reset()
	}
}
