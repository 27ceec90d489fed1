package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/gateway/admin"
	adminclient "github.com/gatehouse/gatehouse/gateway/admin/client"
)

// A system is both daemons of a site, as separate processes.
type system struct {
	*site.Site
	cloud   *daemon // managementd
	gateway *daemon // gatehoused
}

func newSystem(s *site.Site, bin string) *system {
	return &system{
		Site:    s,
		cloud:   newDaemon(bin, "managementd", s.Dir),
		gateway: newDaemon(bin, "gatehoused", s.Dir),
	}
}

func (s *system) page(path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", s.Ports.Page, path)
}

// startCloud starts managementd and waits for its API.
func (s *system) startCloud(ctx context.Context) error {
	return s.cloud.start(ctx, func(ctx context.Context) error { return s.Get(ctx, s.URL("/healthz"), nil) })
}

// startGateway starts gatehoused and waits until it serves by a policy, the
// cloud's or a cached one: without any it refuses everybody, and its health
// answers 503.
func (s *system) startGateway(ctx context.Context) error {
	return s.gateway.start(ctx, func(ctx context.Context) error { return s.Get(ctx, s.page("/healthz"), nil) })
}

// stop ends both, the gateway first: it flushes what it owes upstream's store.
func (s *system) stop() error { return errors.Join(s.gateway.stop(), s.cloud.stop()) }

// status reads the gateway's status document.
func (s *system) status(ctx context.Context, into *admin.Status) error {
	return s.Get(ctx, s.page("/v1/status"), into)
}

// adminClient speaks to the gateway's admin socket; the caller closes it.
func (s *system) adminClient() *adminclient.Client { return adminclient.New(s.File("admin.sock")) }

// explain asks the gateway over its admin socket.
func (s *system) explain(ctx context.Context, q admin.Question) (admin.Explanation, error) {
	c := s.adminClient()
	defer c.Close()
	return c.Explain(ctx, q)
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
		if _, err := s.CallHub(ctx, http.MethodGet, "/telemetry?"+q.Encode(), nil, &page); err != nil {
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
