package session

import (
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Info describes a session.
type Info struct {
	Principal     *principal.Principal
	Level         byte
	Conn          any
	Offline       time.Time // since when the session has been offline; zero while it is connected
	Subscriptions int
	Suspended     int // how many of the subscriptions are suspended
	Inflight      int // deliveries that are sent and not acknowledged
	Queued        int // deliveries that wait
	Bytes         int // of the deliveries that wait and those that are not acknowledged
	Lost          Lost
	Losing        bool // it loses deliveries at the moment, for want of capacity
	Persistent    bool
	Expiry        time.Duration
}

// Info returns a description.
func (s *Session) Info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := Info{
		Principal:     s.who,
		Level:         s.level,
		Conn:          s.claim,
		Offline:       s.offline,
		Subscriptions: len(s.subs),
		Inflight:      s.sent,
		Queued:        s.queue.len() + len(s.held),
		Bytes:         int(s.bytes.Load()),
		Lost:          s.lost,
		Losing:        s.over != nil,
		Persistent:    s.persistent,
		Expiry:        s.expiry,
	}
	for _, sub := range s.subs {
		if sub.Suspended() {
			i.Suspended++
		}
	}
	return i
}

// Filters lists the filters of the subscriptions, and of those among them whose right is lost at
// the moment. Both lists are sorted.
func (s *Session) Filters() (all, suspended []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for filter, sub := range s.subs {
		all = append(all, filter)
		if sub.Suspended() {
			suspended = append(suspended, filter)
		}
	}
	slices.Sort(all)
	slices.Sort(suspended)
	return all, suspended
}

// Alive reports whether the session has not ended.
func (s *Session) Alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.dead
}

// Asks decides a filter by the owner's rights. Only the allow function that is given to Recheck
// may call it, because Recheck holds s.mu, which guards the rights.
func (s *Session) Asks(filter string) message.Verdict { return s.rights.Subscribe(filter) }

// Claimed is the connection that owns the session. Only callers of Asks may call it, because s.mu
// must be held.
func (s *Session) Claimed() any { return s.claim }

// Owner is the session's principal. Only the allow function that is given to Store.Load may call
// it, because the session is not shared yet then.
func (s *Session) Owner() *principal.Principal { return s.who }
