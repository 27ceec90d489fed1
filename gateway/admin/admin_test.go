package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/admin/client"
	"github.com/gatehouse/gatehouse/gateway/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// feed is a Follower fed by the test.
type feed struct {
	c    chan message.AuditRecord
	once sync.Once
	gone chan struct{}
}

func (f *feed) C() <-chan message.AuditRecord { return f.c }
func (f *feed) Missed() uint64                { return 0 }
func (f *feed) Close()                        { f.once.Do(func() { close(f.gone) }) }

type fixture struct {
	socket  string
	page    string // http://127.0.0.1:port
	audited chan message.AuditRecord
	feed    *feed
	stop    func()
}

func start(t *testing.T, change func(*admin.Options)) *fixture {
	t.Helper()
	dir, err := os.MkdirTemp("", "gh")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{socket: filepath.Join(dir, "admin.sock"), audited: make(chan message.AuditRecord, 16),
		feed: &feed{c: make(chan message.AuditRecord, 16), gone: make(chan struct{})}}
	o := admin.Options{
		Owner:   os.Getuid(),
		Log:     slog.New(slog.DiscardHandler),
		Audit:   func(r message.AuditRecord) { f.audited <- r },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metric 1\n") }),
		Console: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<page>") }),
		Sources: admin.Sources{
			Status: func(context.Context) (admin.Status, error) {
				return admin.Status{Build: admin.Build{Version: "1.2.3"}, Messages: admin.MessageCounts{Accepted: 5}}, nil
			},
			Health: func(context.Context) (admin.Health, error) { return admin.Health{State: "ok"}, nil },
			Sessions: func(_ context.Context, q admin.SessionQuery) ([]admin.Session, error) {
				if q.Principal == "boom" {
					return nil, errors.New("it broke")
				}
				return nil, nil
			},
			Explain: func(_ context.Context, q admin.Question) (admin.Explanation, error) {
				return admin.Explanation{Question: q, Reason: "no-assignment"}, nil
			},
			Audit: func(n int, match func(*message.AuditRecord) bool) []message.AuditRecord {
				var out []message.AuditRecord
				for i := range min(n, 3) {
					r := message.AuditRecord{Event: "publish", Principal: fmt.Sprintf("device:%d", i), Allowed: i == 1, Count: 1}
					if match(&r) {
						out = append(out, r)
					}
				}
				return out
			},
			Follow: func() admin.Follower { return f.feed },
			Sync: func(_ context.Context, r admin.SyncRequest) (admin.SyncResult, error) {
				if !r.Full {
					return admin.SyncResult{}, &admin.Error{Status: http.StatusServiceUnavailable, What: "the management API does not answer",
						Next: "try later"}
				}
				return admin.SyncResult{To: "1.9"}, nil
			},
			Disconnect: func(context.Context, admin.DisconnectRequest) (admin.DisconnectResult, error) {
				return admin.DisconnectResult{Closed: 1}, nil
			},
			Config: func(context.Context) ([]byte, error) { return []byte("log: {level: info}\n"), nil },
		},
	}
	if change != nil {
		change(&o)
	}
	s := admin.New(o)
	l, err := admin.Listen(f.socket)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.page = "http://" + tcp.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	errs := make(chan error, 2)
	go func() { errs <- s.ServeSocket(ctx, l) }()
	go func() { errs <- s.ServeLoopback(ctx, tcp) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		for range 2 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		_ = os.RemoveAll(dir)
		http.DefaultClient.CloseIdleConnections()
	})
	t.Cleanup(f.stop)
	return f
}

func (f *fixture) client(t *testing.T) *client.Client {
	c := client.New(f.socket)
	t.Cleanup(c.Close)
	return c
}

func TestThroughTheSocket(t *testing.T) {
	f := start(t, nil)
	c := f.client(t)
	ctx := t.Context()
	if info, err := os.Stat(f.socket); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket: %v %v", info.Mode(), err)
	}
	if st, err := c.Status(ctx); err != nil || st.Messages.Accepted != 5 {
		t.Errorf("status: %+v %v", st, err)
	}
	if b, err := c.Version(ctx); err != nil || b.Version != "1.2.3" {
		t.Errorf("version: %+v %v", b, err)
	}
	if ss, err := c.Sessions(ctx, admin.SessionQuery{}); err != nil || ss == nil || len(ss) != 0 {
		t.Errorf("no sessions must be [], got %v %v", ss, err)
	}
	q := admin.Question{Principal: "device-1", Verb: "publish", Topic: "a/b c#&=+"}
	if e, err := c.Explain(ctx, q); err != nil || e.Question != q {
		t.Errorf("explain: %+v %v", e, err)
	}
	if r, err := c.Sync(ctx, admin.SyncRequest{Full: true}); err != nil || r.To != "1.9" {
		t.Errorf("sync: %+v %v", r, err)
	}
	if rec := <-f.audited; rec.Event != "admin" || !rec.Allowed || rec.Topic != "POST /v1/sync" ||
		rec.Principal != fmt.Sprintf("uid:%d", os.Getuid()) {
		t.Errorf("audited %+v", rec)
	}
	if rs, err := c.Audit(ctx, client.AuditQuery{Denied: true}); err != nil || len(rs) != 2 {
		t.Errorf("audit: %v %v", rs, err)
	}
	if y, err := c.Config(ctx); err != nil || string(y) != "log: {level: info}\n" {
		t.Errorf("config: %q %v", y, err)
	}
}

// TestErrors: each failure says what, where and what to do next.
func TestErrors(t *testing.T) {
	f := start(t, nil)
	c := f.client(t)
	ctx := t.Context()
	check := func(name string, err error, status int, what string) {
		t.Helper()
		var e *admin.Error
		if !errors.As(err, &e) || e.Status != status || !strings.Contains(e.What, what) || e.Where == "" || e.Next == "" {
			t.Errorf("%s: %#v", name, err)
		}
	}
	_, err := c.Sync(ctx, admin.SyncRequest{})
	check("the source's own", err, http.StatusServiceUnavailable, "does not answer")
	_, err = c.Sessions(ctx, admin.SessionQuery{Principal: "boom"})
	check("any other", err, http.StatusInternalServerError, "it broke")
	_, err = c.Doctor(ctx)
	check("not plugged", err, http.StatusNotImplemented, "does not offer doctor")
	_, err = c.Explain(ctx, admin.Question{Principal: "x"})
	check("no question", err, http.StatusBadRequest, "nothing is asked")
	_, err = c.Explain(ctx, admin.Question{Principal: "x", Verb: "publish"})
	check("no topic", err, http.StatusBadRequest, "missing")
	_, err = c.Disconnect(ctx, admin.DisconnectRequest{Session: "a", Principal: "b"})
	check("two at once", err, http.StatusBadRequest, "one of the two")
	absent := client.New(f.socket + "x")
	_, err = absent.Status(ctx)
	check("no daemon", err, 0, "no daemon answers")
}

// TestPermissions: a user who is no operator reads and changes nothing, and
// the attempt is audited.
func TestPermissions(t *testing.T) {
	if os.Getuid() == 0 {
		// The test may run as root, who is always an operator, so another caller is asked with.
		f := startIdentified(t, admin.Caller{Name: "user:x", May: admin.Read})
		resp := post(t, f, "/v1/sync", `{"full":true}`)
		if resp != http.StatusForbidden {
			t.Errorf("a reader's sync: %d", resp)
		}
		return
	}
	f := start(t, func(o *admin.Options) { o.Owner = os.Getuid() + 1 })
	_, err := f.client(t).Sync(t.Context(), admin.SyncRequest{Full: true})
	var e *admin.Error
	if !errors.As(err, &e) || e.Status != http.StatusForbidden {
		t.Errorf("a stranger's sync: %v", err)
	}
	if rec := <-f.audited; rec.Allowed || rec.Reason != "not-operator" {
		t.Errorf("audited %+v", rec)
	}
}

func startIdentified(t *testing.T, c admin.Caller) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	audited := make(chan message.AuditRecord, 4)
	s := admin.New(admin.Options{Log: slog.New(slog.DiscardHandler), Audit: func(r message.AuditRecord) { audited <- r },
		Sources: admin.Sources{
			Sync: func(context.Context, admin.SyncRequest) (admin.SyncResult, error) {
				t.Error("the change was made")
				return admin.SyncResult{}, nil
			},
		}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.ServeIdentified(ctx, l, func(*http.Request) (admin.Caller, error) { return c, nil }) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		<-done
		if rec := <-audited; rec.Allowed || rec.Reason != "not-operator" || rec.Principal != c.Name {
			t.Errorf("audited %+v", rec)
		}
	})
	return "http://" + l.Addr().String()
}

func post(t *testing.T, base, path, body string) int {
	t.Helper()
	resp, err := http.Post(base+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestLoopback(t *testing.T) {
	f := start(t, func(o *admin.Options) {
		o.Sources.Health = func(context.Context) (admin.Health, error) { return admin.Health{State: "failing"}, nil }
	})
	get := func(path string, edit func(*http.Request)) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.page+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if edit != nil {
			edit(req)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	for path, want := range map[string]struct {
		code int
		text string
	}{
		"/": {200, "<page>"}, "/metrics": {200, "metric 1"}, "/healthz": {503, "failing"}, "/v1/status": {200, `"version":"1.2.3"`},
		"/v1/nothing": {404, `"next"`},
	} {
		if code, body := get(path, nil); code != want.code || !strings.Contains(body, want.text) {
			t.Errorf("GET %s: %d %s", path, code, body)
		}
	}
	for _, path := range []string{"/v1/sync", "/v1/disconnect"} {
		if code := post(t, f.page, path, "{}"); code < 400 || code == 500 {
			t.Errorf("POST %s on loopback: %d", path, code)
		}
	}
	if code, _ := get("/v1/status", func(r *http.Request) { r.Host = "attacker.example:80" }); code != http.StatusForbidden {
		t.Errorf("a rebound name was answered %d", code)
	}
	if code, _ := get("/v1/status", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }); code != http.StatusForbidden {
		t.Errorf("another site's page was answered %d", code)
	}
}

// The status page authenticates nobody, so it must not be served on an address that other
// machines reach, even if systemd opened the socket.
func TestLoopbackOnly(t *testing.T) {
	for address, want := range map[string]bool{"0.0.0.0:0": false, "[::]:0": false, "127.0.0.1:0": true} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("%s: not here: %v", address, err)
			continue
		}
		s := admin.New(admin.Options{Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.ServeLoopback(ctx, l) }()
		port := l.Addr().(*net.TCPAddr).Port
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", port))
		if err == nil {
			_ = resp.Body.Close()
		}
		if served := err == nil; served != want {
			t.Errorf("%s: served %v", address, served)
		}
		cancel()
		if err := <-ended; (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestFollow(t *testing.T) {
	f := start(t, nil)
	c := f.client(t)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan message.AuditRecord, 16)
	done := make(chan error, 1)
	go func() {
		done <- c.Follow(ctx, client.AuditQuery{Denied: true}, func(r message.AuditRecord) error { got <- r; return nil })
	}()
	for _, want := range []string{"device:0", "device:2"} {
		if r := <-got; r.Principal != want {
			t.Errorf("past: %+v, want %s", r, want)
		}
	}
	f.feed.c <- message.AuditRecord{Event: "publish", Principal: "device:ok", Allowed: true, Time: time.Now()}
	f.feed.c <- message.AuditRecord{Event: "publish", Principal: "device:new", Time: time.Now()}
	if r := <-got; r.Principal != "device:new" {
		t.Errorf("live: %+v", r)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	<-f.feed.gone // the server has closed it
}

func TestServerSentEvents(t *testing.T) {
	f := start(t, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.page+"/v1/audit?follow=true&limit=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	data, ok := strings.CutPrefix(line, "data: ")
	var r message.AuditRecord
	if err != nil || !ok || json.Unmarshal([]byte(data), &r) != nil || r.Principal != "device:0" {
		t.Errorf("first event %q %v", line, err)
	}
	f.stop() // the end of the daemon ends the follower; goleak finds a goroutine that is left
}

func TestListen(t *testing.T) {
	dir, err := os.MkdirTemp("", "gh")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "a.sock")
	first, err := admin.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	var e *admin.Error
	if _, err := admin.Listen(path); !errors.As(err, &e) || e.Status != http.StatusConflict {
		t.Errorf("a second daemon: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("the socket file is still there")
	}
	// The socket file that a killed daemon leaves behind.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	again, err := admin.Listen(path)
	if err != nil {
		t.Fatalf("over a dead socket: %v", err)
	}
	_ = again.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Listen(path); err == nil {
		t.Error("a file that is no socket was replaced")
	}
	names, _ := os.ReadDir(dir)
	var left []string
	for _, n := range names {
		left = append(left, n.Name())
	}
	if diff := cmp.Diff([]string{"a.sock"}, left); diff != "" {
		t.Error(diff)
	}
	if _, err := admin.Listen(filepath.Join(dir, "no", "such.sock")); !errors.As(err, &e) || !strings.Contains(e.Next, "make the directory") {
		t.Errorf("no directory: %v", err)
	}
}
