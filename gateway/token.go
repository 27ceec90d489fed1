package gateway

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

	"github.com/gatehouse/gatehouse/gateway/config"
)

// clientSecret is the gateway's own cloud credential in its simplest form: an OAuth 2.0
// client-credentials grant. The secret stays in its file and is read again for
// every request, so that rotating it needs no restart.
type clientSecret struct {
	url, clientID, scope string
	secretFile           config.SecretFile
	http                 *http.Client
	now                  func() time.Time

	mu      sync.Mutex // guards what follows; held over the request, so that one refresh serves all
	token   string
	renewAt time.Time
}

var errCloudCredential = errors.New("the cloud refused the gateway's own credential")

// Token returns a token that is good for at least a minute, asking for a new
// one when two thirds of the last one's life are over.
func (c *clientSecret) Token(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" && c.now().Before(c.renewAt) {
		return c.token, nil
	}
	secret, err := c.secretFile.Read()
	if err != nil {
		return "", fmt.Errorf("cloud.management.credential.clientSecret: %w", err)
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.clientID}, "scope": {c.scope}, "client_secret": {string(secret)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := c.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask %s for a token: %w", c.url, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return "", fmt.Errorf("ask %s for a token: %w", c.url, err)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
		Error       string `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || res.StatusCode != http.StatusOK || answer.AccessToken == "" {
		return "", fmt.Errorf("%w: %s answered %d %s; check cloud.credential (client id, secret, scope)", errCloudCredential, c.url, res.StatusCode, answer.Error)
	}
	life := time.Duration(answer.ExpiresIn) * time.Second
	c.token, c.renewAt = answer.AccessToken, c.now().Add(life*2/3)
	return c.token, nil
}

// Forget drops the cached token: the server said 401.
func (c *clientSecret) Forget() {
	c.mu.Lock()
	c.token = ""
	c.mu.Unlock()
}
