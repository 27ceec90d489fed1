package session

import (
	"sync"
	"sync/atomic"
)

// holder is what one principal holds: its sessions, and the bytes that wait or are
// unacknowledged in them.
type holder struct {
	key      string                // the principal's
	sessions map[*Session]struct{} // guarded by Store.mu
	bytes    atomic.Int64          // includes what is reserved; changed without a lock, by Store.add

	// rank and ranked are guarded by ranking.mu.
	rank   int   // its index in ranking.all, plus 1; 0: it is not ranked
	ranked int64 // the value of bytes by which it was ranked last
}

// losing is the set of sessions that have an Episode.
type losing struct {
	mu  sync.Mutex // guards set; it is taken after a Session.mu
	set map[*Session]struct{}
}

func (l *losing) begin(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.set == nil {
		l.set = map[*Session]struct{}{}
	}
	l.set[s] = struct{}{}
}

func (l *losing) end(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.set, s)
}

func (l *losing) all() []*Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]*Session, 0, len(l.set))
	for s := range l.set {
		list = append(list, s)
	}
	return list
}
