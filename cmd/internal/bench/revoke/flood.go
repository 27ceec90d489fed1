package main

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/site"
)

const (
	floodConnections = 4
	nobody           = "erin@harbour.example" // has an account, and no right at all
)

// flood sends requests of a caller without any right over four connections, rate a
// second in all, until ctx ends. A request that takes longer than its turn delays the next.
func (s *sessions) flood(ctx context.Context, rate int, t *tally) error {
	token, err := s.Token(ctx, site.Management, nobody)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	start := time.Now()
	for range floodConnections {
		all.Go(func() {
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.Pool, MinVersion: tls.VersionTLS12}, MaxConnsPerHost: 1}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			for n := 0; ctx.Err() == nil; n++ {
				if pause(ctx, start.Add(time.Duration(n)*time.Second*floodConnections/time.Duration(rate))) != nil {
					return
				}
				if status := s.nuisance(ctx, client, token); status != 0 {
					atomic.AddInt64(&t.flooded, 1)
					if status == http.StatusTooManyRequests {
						atomic.AddInt64(&t.refused, 1)
					}
				}
			}
		})
	}
	all.Wait()
	return nil
}

// nuisance is one request of the flood; 0: no answer came.
func (s *sessions) nuisance(ctx context.Context, client *http.Client, token string) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL(site.API+"/devices"), nil)
	if err != nil {
		return 0
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}
