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
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var line atomic.Value
		line.Store("starting")
		var told []string
		go func() {
			_ = follow(ctx, func() string { return line.Load().(string) }, func(s string) { told = append(told, s) })
		}()
		synctest.Wait()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		line.Store("serving; stale")
		time.Sleep(5 * time.Second)
		cancel()
		synctest.Wait()
		if !slices.Equal(told, []string{"starting", "serving; stale"}) {
			t.Errorf("%q", told)
		}
	})
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
