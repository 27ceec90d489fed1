package duapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

var (
	// errNotReached: no connection was made, so the cloud did nothing.
	errNotReached = errors.New("the update service cannot be reached")
	// errBadAnswer: the answer is not one that may be passed on to the caller.
	errBadAnswer = errors.New("unusable answer of the update service")
)

func cloudClient(t *tls.Config, over func(*http.Transport) http.RoundTripper) *http.Client {
	if t == nil {
		t = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        t,
		ForceAttemptHTTP2:      true,
		DialContext:            (&net.Dialer{Timeout: connectTime}).DialContext,
		TLSHandshakeTimeout:    connectTime,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        90 * time.Second,
		ResponseHeaderTimeout:  forwardTime,
		MaxResponseHeaderBytes: 64 << 10,
	}
	var to http.RoundTripper = transport
	if over != nil {
		to = over(transport)
	}
	return &http.Client{
		Transport: to,
		// A redirect could send the caller's token to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// forward sends the request to the cloud with the caller's token. Everything but the token
// and the checked body is built anew.
func (s *Server) forward(ctx context.Context, q *request, token string, body []byte) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardTime)
	defer cancel()
	var connected atomic.Bool // atomic, because the trace runs on goroutines of the transport
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	to := "https://" + s.o.Endpoint.Host + q.path(s.o.Instance) + "?" + url.Values{"api-version": {apiVersion}}.Encode()
	r, err := http.NewRequestWithContext(ctx, q.method, to, bytes.NewReader(body))
	if err != nil {
		return reply{}, fmt.Errorf("%w: %w", errBadAnswer, err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/json")
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	res, err := s.cloud.Do(r)
	if err != nil {
		if !connected.Load() {
			return reply{}, fmt.Errorf("%w: %w", errNotReached, err)
		}
		return reply{}, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return reply{}, err
	case res.StatusCode >= 300 && res.StatusCode < 400 || res.StatusCode < 200:
		return reply{}, fmt.Errorf("%w: status %d", errBadAnswer, res.StatusCode)
	case len(text) > maxAnswer:
		return reply{}, fmt.Errorf("%w: larger than %d bytes", errBadAnswer, maxAnswer)
	case len(text) > 0 && !json.Valid(text):
		return reply{}, fmt.Errorf("%w: status %d, no JSON", errBadAnswer, res.StatusCode)
	}
	a := reply{status: res.StatusCode, body: text}
	if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && n >= 0 && n <= 3600 {
		a.retryAfter = strconv.Itoa(n)
	}
	return a, nil
}
