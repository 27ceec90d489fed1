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
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
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

func receive(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	b := make([]byte, 4096)
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
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
	if got := receive(t, c); got != "READY=1\nSTATUS=serving 3 listeners" {
		t.Errorf("Ready: %q", got)
	}
	n.Status("stale since 12:00\nREADY=0")
	if got := receive(t, c); got != "STATUS=stale since 12:00 READY=0" {
		t.Errorf("Status: %q, foreign text must stay on its line", got)
	}
	n.Reloading()
	got := receive(t, c)
	usec, ok := strings.CutPrefix(got, "RELOADING=1\nMONOTONIC_USEC=")
	if v, err := strconv.ParseInt(strings.TrimSpace(usec), 10, 64); !ok || err != nil || v <= 0 {
		t.Errorf("Reloading: %q", got)
	}
	n.Stopping("flushing the outbox")
	if got := receive(t, c); got != "STOPPING=1\nSTATUS=flushing the outbox" {
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
	const interval = 30 * time.Second
	t.Setenv("WATCHDOG_USEC", strconv.Itoa(int(interval/time.Microsecond)))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	synctest.Test(t, func(t *testing.T) { watchdog(t, c, interval) })
}

func watchdog(t *testing.T, c *net.UnixConn, interval time.Duration) {
	var mode atomic.Value
	mode.Store("ok")
	var failed atomic.Int32
	w, err := NewWatchdog(NewNotifier(slog.New(slog.DiscardHandler)), time.Hour, func(ctx context.Context) error {
		switch mode.Load() {
		case "fail":
			return errors.New("no answer")
		case "hang":
			<-ctx.Done()
		}
		return nil
	}, func(err error) {
		if err != nil {
			failed.Add(1)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	expect := func(m string, want int, during time.Duration) {
		t.Helper()
		mode.Store(m)
		before := failed.Load()
		time.Sleep(during)
		synctest.Wait()
		if got := failed.Load() > before; got != (want == 0) {
			t.Errorf("%s: a failure was heard of: %v", m, got)
		}
		if got := waiting(t, c); len(got) != want || want > 0 && got[want-1] != "WATCHDOG=1" {
			t.Errorf("%s for %v: %q, want %d pings", m, during, got, want)
		}
	}
	expect("ok", 1, time.Second) // at once
	expect("ok", 3, interval)
	expect("fail", 0, interval)
	expect("ok", 3, interval)
	expect("hang", 0, interval)
	mode.Store("ok")
	time.Sleep(interval / 3) // the one that hangs ends, and counts as failed; the next begins
	waiting(t, c)
	expect("ok", 3, interval)
	cancel()
	<-done
}

// waiting is what has arrived, without waiting for more: the kernel knows nothing of a test's clock.
func waiting(t *testing.T, c *net.UnixConn) (got []string) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	for n := 1; n > 0; {
		if err := raw.Control(func(fd uintptr) { n, _, _ = unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT) }); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			got = append(got, string(b[:n]))
		}
	}
	return got
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
	if got := waiting(t, c); len(got) > 0 {
		t.Errorf("pinged %q for a watchdog meant for another process", got)
	}
}
