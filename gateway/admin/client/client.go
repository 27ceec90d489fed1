// Package client sends requests to a running daemon over its admin socket. Every
// error is an *admin.Error: what went wrong, where, and what to do next. A Client
// holds no state besides idle connections and may be used concurrently.
package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// Client talks to one daemon.
type Client struct {
	socket string
	http   *http.Client
}

// New returns a client for the unix socket. Nothing is opened yet.
func New(socket string) *Client {
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", socket)
		},
		MaxIdleConns:          2,
		IdleConnTimeout:       10 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute,
	}
	return &Client{socket: socket, http: &http.Client{Transport: t}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Version asks for the daemon's build.
func (c *Client) Version(ctx context.Context) (admin.Build, error) {
	return get[admin.Build](ctx, c, "/v1/version", nil)
}

// Status returns the state of the gateway in one document.
func (c *Client) Status(ctx context.Context) (admin.Status, error) {
	return get[admin.Status](ctx, c, "/v1/status", nil)
}

// Health returns the overall state and its warnings.
func (c *Client) Health(ctx context.Context) (admin.Health, error) {
	return get[admin.Health](ctx, c, "/v1/health", nil)
}

// Sessions lists sessions.
func (c *Client) Sessions(ctx context.Context, q admin.SessionQuery) ([]admin.Session, error) {
	v := values("principal", q.Principal, "connected", flag(q.Connected))
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return get[[]admin.Session](ctx, c, "/v1/sessions", v)
}

// Explain asks for a decision and its reasons.
func (c *Client) Explain(ctx context.Context, q admin.Question) (admin.Explanation, error) {
	return get[admin.Explanation](ctx, c, "/v1/explain", questionValues(q))
}

// WhoCan lists the assignments that grant an operation.
func (c *Client) WhoCan(ctx context.Context, q admin.Question) ([]admin.Grant, error) {
	return get[[]admin.Grant](ctx, c, "/v1/who-can", questionValues(q))
}

// WhatCan lists the assignments that a principal holds.
func (c *Client) WhatCan(ctx context.Context, principal string) ([]admin.Grant, error) {
	return get[[]admin.Grant](ctx, c, "/v1/what-can", values("principal", principal))
}

// Assignments lists role assignments.
func (c *Client) Assignments(ctx context.Context, q admin.AssignmentQuery) ([]admin.Assignment, error) {
	v := values("path", q.Path, "principal", q.Principal)
	if q.Down {
		v.Set("traverse", "Down")
	}
	return get[[]admin.Assignment](ctx, c, "/v1/assignments", v)
}

// Spaces lists the spaces that the registry knows.
func (c *Client) Spaces(ctx context.Context) ([]admin.Place, error) {
	return get[[]admin.Place](ctx, c, "/v1/spaces", nil)
}

// Doctor runs the daemon's checks of itself.
func (c *Client) Doctor(ctx context.Context) ([]admin.Finding, error) {
	return get[[]admin.Finding](ctx, c, "/v1/doctor", nil)
}

// Remotes lists the servers that the daemon's configuration names.
func (c *Client) Remotes(ctx context.Context) (admin.Remotes, error) {
	return get[admin.Remotes](ctx, c, "/v1/remotes", nil)
}

// Echo has the daemon send a probe upstream and wait for it.
func (c *Client) Echo(ctx context.Context) (admin.EchoResult, error) {
	return send[admin.EchoResult](ctx, c, http.MethodPost, "/v1/echo", nil, struct{}{})
}

// Config is the redacted configuration, as YAML.
func (c *Client) Config(ctx context.Context) ([]byte, error) {
	resp, err := c.do(ctx, http.MethodGet, "/v1/config", nil, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	return io.ReadAll(io.LimitReader(resp.Body, 4<<20))
}

// Sync has the daemon synchronise with the cloud now, and waits for the outcome.
func (c *Client) Sync(ctx context.Context, r admin.SyncRequest) (admin.SyncResult, error) {
	return send[admin.SyncResult](ctx, c, http.MethodPost, "/v1/sync", nil, r)
}

// ResetClock sets the daemon's trusted time to its system clock, even if that is earlier.
func (c *Client) ResetClock(ctx context.Context) (admin.ClockResult, error) {
	return send[admin.ClockResult](ctx, c, http.MethodPost, "/v1/reset-clock", nil, struct{}{})
}

// Disconnect closes connections.
func (c *Client) Disconnect(ctx context.Context, r admin.DisconnectRequest) (admin.DisconnectResult, error) {
	return send[admin.DisconnectResult](ctx, c, http.MethodPost, "/v1/disconnect", nil, r)
}

func outboxValues(q admin.OutboxQuery) url.Values {
	v := values("device", q.Device, "route", q.Route)
	if q.Seq > 0 {
		v.Set("seq", strconv.FormatUint(q.Seq, 10))
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v
}

// Outbox sums up the messages that wait for upstream.
func (c *Client) Outbox(ctx context.Context, q admin.OutboxQuery) (admin.OutboxReport, error) {
	return get[admin.OutboxReport](ctx, c, "/v1/outbox", outboxValues(q))
}

// OutboxPeek lists the messages that are sent upstream next.
func (c *Client) OutboxPeek(ctx context.Context, q admin.OutboxQuery) ([]admin.OutboxMessage, error) {
	return get[[]admin.OutboxMessage](ctx, c, "/v1/outbox/messages", outboxValues(q))
}

// OutboxParked lists the messages that are set aside because upstream does not take them.
func (c *Client) OutboxParked(ctx context.Context, q admin.OutboxQuery) ([]admin.OutboxMessage, error) {
	return get[[]admin.OutboxMessage](ctx, c, "/v1/outbox/parked", outboxValues(q))
}

// OutboxAct carries out one of the actions admin.OutboxRetry to admin.OutboxDrain.
func (c *Client) OutboxAct(ctx context.Context, r admin.OutboxRequest) (admin.OutboxResult, error) {
	return send[admin.OutboxResult](ctx, c, http.MethodPost, "/v1/outbox", nil, r)
}

// AuditQuery selects audit records.
type AuditQuery struct {
	Limit                    int
	Principal, Event, Reason string
	Denied                   bool
}

func (q AuditQuery) values() url.Values {
	v := values("principal", q.Principal, "event", q.Event, "reason", q.Reason, "denied", flag(q.Denied))
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v
}

// Audit returns the latest records, oldest first.
func (c *Client) Audit(ctx context.Context, q AuditQuery) ([]message.AuditRecord, error) {
	return get[[]message.AuditRecord](ctx, c, "/v1/audit", q.values())
}

// Follow calls each with the latest audit records and then with every new one, until
// ctx ends, the daemon goes away, or each fails. It returns nil if ctx ends meanwhile.
func (c *Client) Follow(ctx context.Context, q AuditQuery, each func(message.AuditRecord) error) error {
	v := q.values()
	v.Set("follow", "true")
	resp, err := c.do(ctx, http.MethodGet, "/v1/audit", v, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue // a heartbeat
		}
		var r message.AuditRecord
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return c.unreadable(err)
		}
		if err := each(r); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return &admin.Error{What: "the daemon ended the stream", Where: c.socket, Next: "see whether it was stopped: systemctl status gatehoused"}
}

func get[T any](ctx context.Context, c *Client, path string, q url.Values) (T, error) {
	return send[T](ctx, c, http.MethodGet, path, q, nil)
}

func send[T any](ctx context.Context, c *Client, method, path string, q url.Values, body any) (T, error) {
	var out T
	resp, err := c.do(ctx, method, path, q, body)
	if err != nil {
		return out, err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(io.LimitReader(resp.Body, 256<<20)).Decode(&out); err != nil {
		return out, c.unreadable(err)
	}
	return out, nil
}

func (c *Client) do(ctx context.Context, method, path string, q url.Values, body any) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "gatehouse", Path: path, RawQuery: q.Encode()}
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), r)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	e := &admin.Error{Status: resp.StatusCode}
	if json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(e) != nil || e.What == "" {
		e.What, e.Where, e.Next = "the daemon answered "+resp.Status, path, "is this socket that of gatehoused?"
	}
	return nil, e
}

func (c *Client) unreachable(err error) error {
	e := &admin.Error{What: err.Error(), Where: c.socket, Next: "see systemctl status gatehoused"}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		e.What, e.Next = "no daemon answers here", "start it (systemctl start gatehoused), or name its socket with --socket"
	case errors.Is(err, fs.ErrPermission):
		e.What, e.Next = "this user may not open the socket", "run as root, or join its group: usermod -aG gatehouse $USER"
	case errors.Is(err, context.DeadlineExceeded):
		e.What, e.Next = "the daemon did not answer in time", "its watchdog restarts it if it hangs; see journalctl -u gatehoused"
	case errors.Is(err, context.Canceled):
		e.What, e.Next = "interrupted", ""
	}
	return e
}

func (c *Client) unreadable(err error) error {
	return &admin.Error{
		What:  "the answer cannot be read: " + err.Error(),
		Where: c.socket,
		Next:  "use a gatehousectl of the daemon's version (gatehousectl version)",
	}
}

func questionValues(q admin.Question) url.Values {
	return values("principal", q.Principal, "verb", q.Verb, "topic", q.Topic, "operation", q.Operation, "at", q.At)
}

func flag(b bool) string {
	if b {
		return "true"
	}
	return ""
}

// values makes a query of pairs of name and value, without the empty ones.
func values(pairs ...string) url.Values {
	v := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		if len(pair) == 2 && pair[1] != "" {
			v.Set(pair[0], pair[1])
		}
	}
	return v
}
