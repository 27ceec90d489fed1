package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"
)

// A system is both daemons of a site, as separate processes.
type system struct {
	site    *site
	cloud   *process // managementd
	gateway *process // gatehoused
	http    *http.Client
}

func newSystem(s *site, bin string) *system {
	logs := filepath.Join(s.Dir, "log")
	return &system{
		site:    s,
		cloud:   newProcess(bin, logs, "managementd", "-config", filepath.Join(s.Dir, "managementd.yaml")),
		gateway: newProcess(bin, logs, "gatehoused", "-config", filepath.Join(s.Dir, "gatehoused.yaml")),
		http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: s.pool, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 16,
		}},
	}
}

func (s *system) api(path string) string {
	return fmt.Sprintf("https://localhost:%d%s", s.site.Ports.API, path)
}

func (s *system) page(path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", s.site.Ports.Page, path)
}

// startCloud starts managementd and waits for its API.
func (s *system) startCloud(ctx context.Context) error {
	return s.cloud.start(ctx, func(ctx context.Context) error { return s.answers(ctx, s.api("/healthz")) })
}

// startGateway starts gatehoused and waits until it serves by a policy: the cloud's, or a cached one.
func (s *system) startGateway(ctx context.Context) error {
	return s.gateway.start(ctx, func(ctx context.Context) error { return s.answers(ctx, s.page("/healthz")) })
}

func (s *system) answers(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK { // 503: up, but without a policy yet, so that it refuses everybody
		return fmt.Errorf("%s answers %s", url, res.Status)
	}
	return nil
}

// stop ends both, the gateway first: it flushes what it owes upstream's store.
func (s *system) stop() error { return errors.Join(s.gateway.stop(), s.cloud.stop()) }
