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

	mu      sync.Mutex // guards token and renewAt; held over the request, so that one refresh serves all
	token   string
	renewAt time.Time
}

// ErrRefused is wrapped by the error for a token endpoint that answered and gave no token.
var ErrRefused = errors.New("the cloud refused the gateway's own credential")

// NewClientSecret makes the credential; it asks for nothing yet.
func NewClientSecret(o ClientSecretOptions) *ClientSecret { return &ClientSecret{o: o} }

// Authorization is the value of the header of that name.
func (c *ClientSecret) Authorization(ctx context.Context) (string, error) {
	token, err := c.Token(ctx)
	return "Bearer " + token, err
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

// Forget drops the cached token: the server said 401.
func (c *ClientSecret) Forget() {
	c.mu.Lock()
	c.token = ""
	c.mu.Unlock()
}
