package twins

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/sync/backoff"
)

// A report must go up even if nothing happens to its device any more: it may
// have reported while upstream was away, and be asleep when it is back.
const (
	resendAfter = 15 * time.Second
	resendMost  = 5 * time.Minute
	resendFails = 3 // in a row: upstream is away, the others need not be tried
)

// note remembers whether the identity has something for upstream.
func (s *Service) note(id string, r *twinState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(r.Queue) > 0 && !r.Local {
		s.waiting[id] = true
	} else {
		delete(s.waiting, id)
	}
}

// resend tries what waits again, now and then, until ctx ends.
func (s *Service) resend(ctx context.Context) {
	back := backoff.Backoff{Min: resendAfter, Max: resendMost}
	for back.Wait(ctx) {
		if s.o.Upstream == nil || s.round(ctx) {
			back.Reset()
		}
	}
}

// round tries every identity that has something for upstream, one after the other and in random
// order, so that one that fails is not always tried before the same others. It returns false if
// upstream is not reachable. A twin that does not exist at the moment says nothing about
// upstream.
func (s *Service) round(ctx context.Context) bool {
	s.mu.Lock()
	ids := slices.Collect(maps.Keys(s.waiting))
	s.mu.Unlock()
	failed := 0
	for _, id := range ids {
		type outcome struct{ sent, absent bool }
		tried := make(chan outcome, 1)
		if !s.do(id, func(ctx context.Context, i *identity) {
			absent := s.flush(ctx, i)
			tried <- outcome{len(i.rec.Queue) == 0, absent}
		}) {
			continue
		}
		select {
		case o := <-tried:
			switch {
			case o.sent:
				failed = 0
			case o.absent: // it waits for itself alone
			default:
				if failed++; failed == resendFails {
					return false
				}
			}
		case <-ctx.Done():
			return false
		}
	}
	return failed == 0
}
