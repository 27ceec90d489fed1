package twins

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/sync/backoff"
)

// A queued report must be sent upstream even if nothing happens to its device any more: the device
// may have reported while upstream could not be reached, and sleep when it can be reached again.
const (
	resendAfter = 15 * time.Second
	resendMost  = 5 * time.Minute
	resendFails = 3 // failures in a row after which upstream counts as not reachable and the round ends
)

// noteWaiting notes whether the identity has reported patches for upstream.
func (s *Service) noteWaiting(id string, r *twinState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(r.Queue) > 0 && !r.Local {
		s.waiting[id] = true
	} else {
		delete(s.waiting, id)
	}
}

// resend tries from time to time to send the patches that wait, until ctx ends.
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
			case o.absent: // says nothing about upstream, so it does not count as a failure
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
