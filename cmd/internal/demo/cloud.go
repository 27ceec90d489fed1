package main

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

// token asks the development issuer, as an OAuth client would.
func (s *system) token(ctx context.Context, resource string, form url.Values) (string, error) {
	form.Set("scope", resource+"/.default")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.api("/"+s.site.building.HomeTenant.String()+"/oauth2/v2.0/token"), strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	_, err = s.exchange(req, &answer)
	return answer.AccessToken, err
}

// user is a token of a person.
func (s *system) user(ctx context.Context, resource, name string) (string, error) {
	first, _, _ := strings.Cut(name, "@")
	return s.token(ctx, resource, url.Values{"grant_type": {"password"}, "username": {name}, "password": {first}, "client_id": {"demo"}})
}

const (
	managementResource = "https://management.demo.example"
	gatewayResource    = "api://gatehouse"
)

// call sends a request to the management API as alice, who owns the building.
func (s *system) call(ctx context.Context, method, path string, body, into any) (int, error) {
	token, err := s.user(ctx, managementResource, "alice@harbour.example")
	if err != nil {
		return 0, fmt.Errorf("alice's token: %w", err)
	}
	return s.callAs(ctx, token, method, apiPath+path, body, into)
}

func (s *system) callAs(ctx context.Context, token, method, path string, body, into any) (int, error) {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.api(path), reader)
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

func (s *system) exchange(req *http.Request, into any) (int, error) {
	res, err := s.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return res.StatusCode, err
	}
	if res.StatusCode >= 300 {
		return res.StatusCode, fmt.Errorf("%s %s: %s: %s", req.Method, req.URL.Path, res.Status, clip(string(b), 200))
	}
	if into != nil {
		if err := json.Unmarshal(b, into); err != nil {
			return res.StatusCode, fmt.Errorf("%s %s: %w", req.Method, req.URL.Path, err)
		}
	}
	return res.StatusCode, nil
}

// assign creates a role assignment and returns its id.
func (s *system) assign(ctx context.Context, role, kind, object, path string) (string, error) {
	body := map[string]string{"roleId": role, "objectId": object, "objectIdType": kind, "path": path}
	if kind == "UserId" || kind == "ServicePrincipalId" {
		body["tenantId"] = s.site.building.HomeTenant.String()
	}
	var id string
	status, err := s.call(ctx, http.MethodPost, "/roleassignments", body, &id)
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("POST roleassignments: status %d, want 201", status)
	}
	return id, err
}

func (s *system) withdraw(ctx context.Context, id string) error {
	status, err := s.call(ctx, http.MethodDelete, "/roleassignments/"+id, nil, nil)
	if err == nil && status != http.StatusNoContent {
		err = fmt.Errorf("DELETE roleassignments: status %d, want 204", status)
	}
	return err
}

// telemetry is what the hub received.
type telemetry struct {
	Seq        uint64            `json:"seq"`
	Device     string            `json:"device"`
	Properties map[string]string `json:"properties"`
	Payload    []byte            `json:"payload"`
}

// received reads everything that the hub has of a device ("" for all).
func (s *system) received(ctx context.Context, device string) ([]telemetry, error) {
	var all []telemetry
	since := uint64(0)
	for {
		var page struct {
			Messages []telemetry `json:"messages"`
		}
		q := url.Values{"since": {fmt.Sprint(since)}, "limit": {"1000"}}
		if device != "" {
			q.Set("device", device)
		}
		if _, err := s.callAs(ctx, "", http.MethodGet, "/hub/telemetry?"+q.Encode(), nil, &page); err != nil {
			return nil, err
		}
		if len(page.Messages) == 0 {
			return all, nil
		}
		all = append(all, page.Messages...)
		since = page.Messages[len(page.Messages)-1].Seq
	}
}

func clip(s string, n int) string {
	s = strings.TrimSpace(s)
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
