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
	// Timeout is how long a call of Token may take, both while it waits for the token request of
	// another call and during its own. 0: 30 s.
	Timeout time.Duration
}

// ClientSecret gets the gateway's own token from the cloud by an OAuth 2.0
// client-credentials grant (RFC 6749 section 4.4), from a token endpoint that is configured: for one that is not
// Entra's. Azure is what asks Entra.
type ClientSecret struct {
	*kept
	o ClientSecretOptions
}

// bearer is the authentication scheme (RFC 6750).
const bearer = "Bearer "

// ErrRefused is wrapped by the error for a token endpoint that answered and gave no token.
var ErrRefused = errors.New("the cloud refused the gateway's own credential")

// NewClientSecret makes the credential. It requests no token yet.
func NewClientSecret(o ClientSecretOptions) *ClientSecret {
	c := &ClientSecret{kept: newKept(o.Now, o.Timeout), o: o}
	c.asked = c.shown
	c.fetch = func(ctx context.Context) (fetched, error) {
		token, life, err := c.ask(ctx)
		return fetched{bearer + token, life}, err
	}
	return c
}

// Token returns the token that Authorization would send.
func (c *ClientSecret) Token(ctx context.Context) (string, error) {
	header, err := c.Authorization(ctx)
	return strings.TrimPrefix(header, bearer), err
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
