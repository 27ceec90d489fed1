package systemd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// notifySocket is systemd's end of NOTIFY_SOCKET, a real one.
func notifySocket(t *testing.T) *net.UnixConn {
	t.Helper()
	dir, err := os.MkdirTemp("", "gh") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	addr := &net.UnixAddr{Net: "unixgram", Name: filepath.Join(dir, "notify")}
	c, err := net.ListenUnixgram("unixgram", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	t.Setenv("NOTIFY_SOCKET", addr.Name)
	return c
}

func receive(t *testing.T, c *net.UnixConn, within time.Duration) string {
	t.Helper()
	b := make([]byte, 4096)
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(b)
	if err != nil {
		return ""
	}
	return string(b[:n])
}

func TestNotify(t *testing.T) {
	c := notifySocket(t)
	n := NewNotifier(slog.New(slog.DiscardHandler))
	n.Ready("serving 3 listeners")
	if got := receive(t, c, time.Second); got != "READY=1\nSTATUS=serving 3 listeners" {
		t.Errorf("Ready: %q", got)
	}
	n.Status("stale since 12:00\nREADY=0")
	if got := receive(t, c, time.Second); got != "STATUS=stale since 12:00 READY=0" {
		t.Errorf("Status: %q, foreign text must stay on its line", got)
	}
	n.Reloading()
	got := receive(t, c, time.Second)
	usec, ok := strings.CutPrefix(got, "RELOADING=1\nMONOTONIC_USEC=")
	if v, err := strconv.ParseInt(strings.TrimSpace(usec), 10, 64); !ok || err != nil || v <= 0 {
		t.Errorf("Reloading: %q", got)
	}
	n.Stopping("flushing the outbox")
	if got := receive(t, c, time.Second); got != "STOPPING=1\nSTATUS=flushing the outbox" {
		t.Errorf("Stopping: %q", got)
	}
}

func TestWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	n := NewNotifier(slog.New(slog.DiscardHandler))
	n.Ready("x")
	tested := make(chan struct{}, 100)
	w, err := NewWatchdog(n, 5*time.Millisecond, func(context.Context) error { tested <- struct{}{}; return nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	<-tested
	<-tested // the self-test runs without a watchdog, too
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestWatchdog: pings come at a third of the interval while the self-test
// passes, stop while it fails or hangs, and come back.
func TestWatchdog(t *testing.T) {
	c := notifySocket(t)
	const interval = 300 * time.Millisecond
	t.Setenv("WATCHDOG_USEC", strconv.Itoa(int(interval/time.Microsecond)))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	var mode atomic.Value
	mode.Store("ok")
	results := make(chan error, 100)
	w, err := NewWatchdog(NewNotifier(slog.New(slog.DiscardHandler)), time.Hour, func(ctx context.Context) error {
		switch mode.Load() {
		case "fail":
			return errors.New("no answer")
		case "hang":
			<-ctx.Done()
		}
		return nil
	}, func(err error) { results <- err })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()

	begin := time.Now()
	for range 4 {
		if got := receive(t, c, time.Second); got != "WATCHDOG=1" {
			t.Fatalf("got %q, want a ping", got)
		}
	}
	if d := time.Since(begin); d > 4*interval {
		t.Errorf("4 pings took %v, want one each %v", d, interval/3)
	}
	for _, m := range []string{"fail", "hang"} {
		mode.Store(m)
		for err := range results {
			if err != nil {
				break
			}
		}
		for receive(t, c, time.Millisecond) != "" { // what was on its way
		}
		if got := receive(t, c, interval); got != "" {
			t.Errorf("%s: got %q although the self-test does not pass", m, got)
		}
	}
	mode.Store("ok")
	if got := receive(t, c, time.Second); got != "WATCHDOG=1" {
		t.Errorf("after recovery: %q", got)
	}
	cancel()
	<-done
}

func TestForeignWatchdog(t *testing.T) {
	c := notifySocket(t)
	t.Setenv("WATCHDOG_USEC", "3000")
	t.Setenv("WATCHDOG_PID", "1")
	w, err := NewWatchdog(NewNotifier(slog.New(slog.DiscardHandler)), time.Hour, func(context.Context) error { return nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.once(t.Context())
	if got := receive(t, c, 20*time.Millisecond); got != "" {
		t.Errorf("pinged %q for a watchdog meant for another process", got)
	}
}
