package watch

import (
	"context"
	"fmt"

	"github.com/gatehouse/gatehouse/gateway/health/warnings"
)

// recordCost is what a stored record may need on disk for its removal (package store).
const recordCost = 64

// disk notices within a second that the disk refuses, and that it does no more. It does not write to
// find out while nothing points to it: a record a second would wear out flash memory. What points to it
// is a commit that failed since the last look, or little free space.
func (w *Watch) disk(ctx context.Context) {
	s := w.o.Store.Stats()
	failed := s.FailedCommits != w.failed
	w.failed = s.FailedCommits
	if failed || w.refusing.Load() || s.Free < 2*s.MinFree+s.Records*recordCost {
		ctx, cancel := context.WithTimeout(ctx, second)
		defer cancel()
		_ = w.Stored(ctx) // a store that does not answer at all is the watchdog's concern
	}
}

// Stored writes a record to the message store, waits until it is synced, and tells health whether the
// disk refuses. A refusal is no error, because it is no reason to restart the daemon. An error means
// that the store did not answer before ctx ended.
func (w *Watch) Stored(ctx context.Context) error {
	stored := make(chan error, 1)
	w.o.Record(func(err error) { stored <- err })
	select {
	case err := <-stored:
		warnings.StoreCramped(w.o.Health, w.o.Store.Quiet())
		warnings.StoreRefuses(w.o.Health, err)
		w.refusing.Store(err != nil)
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the message store did not answer: %w", context.Cause(ctx))
	}
}
