package watch

import (
	"context"
	"fmt"

	"github.com/gatehouse/gatehouse/gateway/health/warnings"
	"github.com/gatehouse/gatehouse/gateway/store"
)

// recordCost is what a stored record may need on disk for its removal (package store).
const recordCost = 64

// disk notices within a second that the disk refuses, and that it does no more. It writes a record to
// find out only when a commit has failed since the last look, or to see whether a refusal is over, and
// never while little is free: a record a second would wear out flash memory, and the store writes through
// memory maps, so that a page which another program takes first ends the process (gateway/store/headroom.go).
func (w *Watch) disk(ctx context.Context) {
	s := w.o.Store.Stats()
	failed := s.FailedCommits != w.failed
	w.failed = s.FailedCommits
	if want := s.MinFree + s.Records*recordCost; s.Free < want {
		w.refuses(&store.Error{
			Op:   "commit",
			Err:  store.ErrDiskFull,
			Hint: fmt.Sprintf("%d MiB free, %d MiB wanted; writing goes on by itself when enough is free", s.Free>>20, want>>20),
		})
		return
	}
	if failed || w.refusing.Load() {
		ctx, cancel := context.WithTimeout(ctx, second)
		defer cancel()
		_ = w.Stored(ctx) // a store that does not answer at all is the watchdog's concern
	}
}

// refuses tells health whether the store refuses; err nil: it does not.
func (w *Watch) refuses(err error) {
	warnings.StoreRefuses(w.o.Health, err)
	w.refusing.Store(err != nil)
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
		for _, q := range w.o.Store.Quarantined() { // the outbox is verified while the daemon runs
			warnings.Quarantined(w.o.Health, q.Store, q.Reason, q.MovedTo)
		}
		w.refuses(err)
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the message store did not answer: %w", context.Cause(ctx))
	}
}
