package site

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Resources that a token can be for.
const (
	Management = "https://management.demo.example" // the management API
	Gateway    = "api://gatehouse"                 // gatehoused
)

// URL of the cloud's server.
func (s *Site) URL(path string) string {
	return fmt.Sprintf("https://localhost:%d%s", s.Ports.API, path)
}

// TokenURL is where the development issuer gives tokens.
func (s *Site) TokenURL() string { return s.URL("/" + s.tenant() + "/oauth2/v2.0/token") }

// KeysURL is where the development issuer publishes its signing keys.
func (s *Site) KeysURL() string { return s.URL("/" + s.tenant() + "/discovery/v2.0/keys") }

// Token asks the development issuer for a bearer token. A name with an @ is a
// person, whose password is what stands before it; any other is a service
// principal, whose secret is its name.
func (s *Site) Token(ctx context.Context, resource, name string) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {name}, "client_secret": {name}}
	if password, _, person := strings.Cut(name, "@"); person {
		form = url.Values{"grant_type": {"password"}, "client_id": {"demo"}, "username": {name}, "password": {password}}
	}
	form.Set("scope", resource+"/.default")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.TokenURL(), strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if _, err = s.exchange(req, &answer); err != nil {
		return "", fmt.Errorf("token for %s: %w", name, err)
	}
	return answer.AccessToken, nil
}

// Call sends a request to the management API as the building's owner, and
// returns the status. path begins below API; body and into are JSON, or nil.
func (s *Site) Call(ctx context.Context, method, path string, body, into any) (int, error) {
	token, err := s.Token(ctx, Management, Owner)
	if err != nil {
		return 0, err
	}
	return s.do(ctx, method, s.URL(API+path), token, body, into)
}

// CallWith is Call with a token that Token gave.
func (s *Site) CallWith(ctx context.Context, token, method, path string, body, into any) (int, error) {
	return s.do(ctx, method, s.URL(API+path), token, body, into)
}

// CallHub sends a request to the hub's side of the cloud, which asks for no token.
func (s *Site) CallHub(ctx context.Context, method, path string, body, into any) (int, error) {
	return s.do(ctx, method, s.URL("/hub"+path), "", body, into)
}

// Get reads a document of either daemon, without a token. An answer other than 2xx is an error.
func (s *Site) Get(ctx context.Context, address string, into any) error {
	_, err := s.do(ctx, http.MethodGet, address, "", nil, into)
	return err
}

// Assign creates a role assignment and returns its id.
func (s *Site) Assign(ctx context.Context, role, kind, object, path string) (string, error) {
	body := map[string]string{"roleId": role, "objectId": object, "objectIdType": kind, "path": path}
	if kind == "UserId" || kind == "ServicePrincipalId" {
		body["tenantId"] = s.tenant()
	}
	var id string
	status, err := s.Call(ctx, http.MethodPost, "/roleassignments", body, &id)
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("POST roleassignments: status %d, want 201", status)
	}
	return id, err
}

// Withdraw deletes a role assignment.
func (s *Site) Withdraw(ctx context.Context, id string) error {
	status, err := s.Call(ctx, http.MethodDelete, "/roleassignments/"+id, nil, nil)
	if err == nil && status != http.StatusNoContent {
		err = fmt.Errorf("DELETE roleassignments: status %d, want 204", status)
	}
	return err
}

func (s *Site) do(ctx context.Context, method, address, token string, body, into any) (int, error) {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, reader)
	if err != nil {
		return 0, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return s.exchange(req, into)
}

func (s *Site) exchange(req *http.Request, into any) (int, error) {
	res, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	switch {
	case err != nil:
		return res.StatusCode, err
	case res.StatusCode >= 300:
		return res.StatusCode, fmt.Errorf("%s %s: %s: %.300s", req.Method, req.URL.Path, res.Status, bytes.TrimSpace(b))
	case into == nil:
		return res.StatusCode, nil
	}
	if err := json.Unmarshal(b, into); err != nil {
		return res.StatusCode, fmt.Errorf("%s %s: %w", req.Method, req.URL.Path, err)
	}
	return res.StatusCode, nil
}
