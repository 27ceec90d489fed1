package systemd

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The status line is told once at the start, and then only when it has changed.
func TestFollowTellsChanges(t *testing.T) {
	c := notifySocket(t)
	synctest.Test(t, func(t *testing.T) {
		n := NewNotifier(slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var line atomic.Value
		line.Store("starting")
		go func() { _ = n.Follow(ctx, func() string { return line.Load().(string) }) }()
		synctest.Wait()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		line.Store("serving; stale")
		time.Sleep(5 * time.Second)
		cancel()
		synctest.Wait()
		if told := waiting(t, c); !slices.Equal(told, []string{"STATUS=starting", "STATUS=serving; stale"}) {
			t.Errorf("%q", told)
		}
	})
}

// A line that was made before the latest change and sent after it does not stay: the daemon made the
// line of READY=1 while no policy was known, and systemd said "expired" of a policy that was fresh.
func TestLateReadyIsCorrected(t *testing.T) {
	c := notifySocket(t)
	synctest.Test(t, func(t *testing.T) {
		n := NewNotifier(slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = n.Follow(ctx, func() string { return "serving; fresh" }) }()
		synctest.Wait()
		n.Ready("serving; expired")
		time.Sleep(1500 * time.Millisecond)
		cancel()
		synctest.Wait()
		told := waiting(t, c)
		if !slices.Equal(told, []string{"STATUS=serving; fresh", "READY=1\nSTATUS=serving; expired", "STATUS=serving; fresh"}) {
			t.Errorf("%q", told)
		}
	})
}

// What a warning names may come from a client: systemctl shows the line on a terminal.
func TestStatusLineObeysNobody(t *testing.T) {
	if got := statusLine("a\nREADY=0 \x1b[2J\u009b1m\u202e"); got != `STATUS=a READY=0 \x1b[2J\u009b1m\u202e` {
		t.Errorf("%q", got)
	}
}

// What was told last is that the daemon stops: a status that comes late does not hide it.
func TestNoStatusAfterStopping(t *testing.T) {
	c := notifySocket(t)
	n := NewNotifier(slog.New(slog.DiscardHandler))
	n.Stopping("closing")
	n.Status("late")
	n.Reloading() // something to receive next
	if got := receive(t, c); got != "STOPPING=1\nSTATUS=closing" {
		t.Errorf("%q", got)
	}
	if got := receive(t, c); got == "STATUS=late" {
		t.Error("a late status hides that the daemon stops")
	}
}
