package store

import (
	"context"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"
)

// TestMemoryLeavesNothing: a store in memory works like a new store, and makes no
// file.
func TestMemoryLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("TMPDIR", dir)
	s, err := OpenMemory(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Cache().Load(t.Context()); !errors.Is(err, ErrEmpty) {
		t.Errorf("a new cache: %v", err)
	}
	if !s.Cache().HighWater().Time.IsZero() || len(s.Quarantined()) > 0 || s.Quiet() {
		t.Error("a new store has a past")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stored := make(chan error, 1)
	s.Bucket("b").Put("k", make([]byte, 256<<10), func(err error) { stored <- err })
	select {
	case err := <-stored:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("nothing was stored")
	}
	cancel()
	if err := errors.Join(<-ended, s.Close()); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestMemoryIsSmall: every reload opens one beside the store that runs.
func TestMemoryIsSmall(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s, err := OpenMemory(Options{})
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 12 {
		t.Errorf("%d MiB", took)
	}
}
