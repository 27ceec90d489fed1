package session

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Overflow is what is given up when a delivery finds the queue full (docs/spec/semantics.md 6.4).
type Overflow uint8

// The policies.
const (
	DropOldest Overflow = iota // the oldest delivery of the publisher that holds most of the queue
	DropNewest                 // the delivery that finds the queue full
	Disconnect                 // the session: it ends, and what it held is forgotten
)

// Reasons by which what is lost for want of capacity is counted.
const (
	lostOldest = "session-overflow-oldest"
	lostNewest = "session-overflow-newest"
)

// Lost is how many deliveries a session lost for want of capacity.
type Lost struct {
	Oldest uint64 // dropped by DropOldest, to make way for later ones
	Newest uint64 // that found the queue full, or were the last of a queue when another session needed the capacity
}

// Episode is a time in which a session loses deliveries for want of capacity. It begins
// with the first loss. It is over when the session's queue is at most a quarter full, and
// the limits of its principal and of all sessions are used to at most three quarters, or
// when the session ends.
type Episode struct {
	Session *Session
	Owner   string // its principal's key
	Since   time.Time
	Lost    uint64 // since then
	Over    bool
}

// Admit takes quota for one more delivery of QoS 1 or 2, as Reserve does. If there
// is none, one session gives something up by Config.Overflow: s itself, if its own queue
// is full; the fullest session of its principal, if PrincipalBytes are used up; the
// fullest session of the principal that holds most, if TotalQueueBytes are. It returns
// false if the new delivery is what is lost. It also returns false, and nothing is given
// up, if s has no right to receive m. No lock may be held, because the policy may end a
// session.
func (s *Session) Admit(m *message.Message) bool {
	st := s.store
	if s.Reserve(m) || s.Expire(time.Now()) && s.Reserve(m) {
		return true
	}
	if !s.MayReceive(m) {
		return false
	}
	if sizeOf(m) > st.most() { // it would not fit into an empty queue either
		s.losesNewest()
		return false
	}
	if s.stalled() {
		s.losesNewest()
		st.c.End(s)
		return false
	}
	for !s.Reserve(m) {
		var ok, reserved bool
		if st.c.Overflow == Disconnect {
			ok, reserved = st.endOne(s, m)
		} else {
			ok = st.evict(s, sizeOf(m))
		}
		if !ok || reserved {
			return ok
		}
	}
	return true
}

// endOne ends one session, so that m may fit into s. ok is false if m is lost instead;
// reserved tells that quota has been taken for m. Store.ending lets one session end at a
// time: of several publishers whose messages do not fit, each tries Reserve again after
// the one before it has ended a session. Quota is taken before the session ends.
// Otherwise the messages that it leaves to the other members of its shared subscriptions
// would take what it frees, and another session would have to end.
func (st *Store) endOne(s *Session, m *message.Message) (ok, reserved bool) {
	st.ending.Lock()
	defer st.ending.Unlock()
	if s.Reserve(m) {
		return true, true
	}
	size := sizeOf(m)
	losers := st.losers(s, size, 1)
	if len(losers) == 0 {
		return s.Alive(), false // there is capacity by now
	}
	loser := losers[0]
	loser.losesNewest()
	s.overdraw(size)
	st.c.End(loser)
	if loser != s && !s.overdrawn() {
		return true, true
	}
	s.release(size)
	return loser != s, false
}

// most is the size of the largest delivery that an empty queue takes.
func (st *Store) most() int64 {
	return min(int64(st.c.QueueBytes), st.c.PrincipalBytes, st.c.TotalQueueBytes)
}

// evict drops one queued delivery, so that a new one of size bytes may fit into s. It
// returns false if the new one is lost instead.
func (st *Store) evict(s *Session, size int64) bool {
	for n := 1; ; n *= 8 { // mostly the first loser has something that may be dropped
		losers := st.losers(s, size, n)
		for _, loser := range losers {
			switch {
			case st.c.Overflow == DropNewest && loser == s:
				s.losesNewest()
				return false
			case loser.shed(st.c.Overflow):
				return true
			}
		}
		switch {
		case len(losers) == 0:
			return s.Alive() // there is capacity by now
		case len(losers) < n:
			s.losesNewest()
			return false
		}
	}
}

// losers lists the first n sessions that may lose a delivery, so that one of size bytes
// fits into s. The session that should lose first comes first. The list is empty if the
// delivery fits.
func (st *Store) losers(s *Session, size int64, n int) []*Session {
	c := &st.c
	if s.count.Load() >= int64(c.QueueMessages) || s.bytes.Load()+size > int64(c.QueueBytes) {
		return []*Session{s}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if s.owner.bytes.Load()+size > c.PrincipalBytes {
		return s.owner.fullest(n)
	}
	if st.queued.Load()+size <= c.TotalQueueBytes {
		return nil
	}
	// The principals that hold more than an equal part of TotalQueueBytes, the one that
	// holds most first. A principal below its equal part loses nothing to another one.
	st.rank.begin(st.owned)
	above := st.rank.first(n, c.TotalQueueBytes/int64(max(1, len(st.owned))))
	if !slices.Contains(above, s.owner) {
		above = append(above, s.owner)
	}
	var list []*Session
	for _, h := range above {
		if len(list) < n {
			list = append(list, h.fullest(n-len(list))...)
		}
	}
	return list
}

// fullest lists the first n sessions of h, the one with most bytes first; Store.mu is held.
func (h *holder) fullest(n int) []*Session {
	if n == 1 { // the usual case, without a sorted list of all
		var most *Session
		for s := range h.sessions {
			if most == nil || fuller(s, most) < 0 {
				most = s
			}
		}
		if most == nil {
			return nil
		}
		return []*Session{most}
	}
	list := slices.SortedFunc(maps.Keys(h.sessions), fuller)
	return list[:min(n, len(list))]
}

// fuller orders sessions by their bytes, most first.
func fuller(a, b *Session) int {
	return cmp.Or(cmp.Compare(b.bytes.Load(), a.bytes.Load()), cmp.Compare(a.Key, b.Key))
}

// shed drops one queued delivery: the one that DropOldest chooses, or else the last. It
// returns false if there is none that may be dropped. A delivery with a packet identifier
// stays: the client may have received it, and would take the next message with that
// identifier for a repetition.
func (s *Session) shed(by Overflow) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return false
	}
	var e *Entry
	if by == DropOldest {
		if s.fair == nil {
			s.fair = newFair(s.publisher, s.queue.each(), s.held)
		}
		e = s.fair.oldest()
	} else if all := s.queue.each(); len(all) > 0 && !all[len(all)-1].numbered() {
		e = all[len(all)-1]
	}
	if e == nil {
		return false
	}
	if i := slices.Index(s.held, e); i >= 0 {
		s.held = slices.Delete(s.held, i, i+1)
	} else {
		s.queue.remove(e)
	}
	if by == DropOldest {
		s.lose(lostOldest)
	} else {
		s.lose(lostNewest)
	}
	s.finish(e)
	return true
}

// losesNewest counts a delivery that found the queue full.
func (s *Session) losesNewest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose(lostNewest)
}

// lose counts a delivery that is lost for want of capacity; s.mu is held.
func (s *Session) lose(reason string) {
	s.store.c.Drop(reason)
	if s.dead {
		return
	}
	if reason == lostOldest {
		s.lost.Oldest++
	} else {
		s.lost.Newest++
	}
	if s.over == nil {
		s.over = &Episode{Session: s, Owner: s.who.Key, Since: time.Now()}
		s.store.losing.begin(s)
		s.store.c.Overflowed(*s.over)
	}
	s.over.Lost++
}

// endEpisode ends the episode, if there is one and it is over; s.mu is held.
func (s *Session) endEpisode() {
	c := &s.store.c
	if s.over == nil || !s.dead &&
		(s.count.Load()*4 > int64(c.QueueMessages) || s.bytes.Load()*4 > int64(c.QueueBytes) ||
			s.owner.bytes.Load()*4 > c.PrincipalBytes*3 || s.store.queued.Load()*4 > c.TotalQueueBytes*3) {
		return
	}
	e := *s.over
	e.Over = true
	s.over = nil
	s.store.losing.end(s)
	c.Overflowed(e)
}

// Losing lists the episodes that are not over, in order of the session's key. It first
// ends those that are over because other sessions' deliveries have left: nothing in
// their own session has noticed that.
func (st *Store) Losing() []Episode {
	var list []Episode
	for _, s := range st.losing.all() {
		s.mu.Lock()
		s.endEpisode()
		if s.over != nil {
			list = append(list, *s.over)
		}
		s.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b Episode) int { return cmp.Compare(a.Session.Key, b.Session.Key) })
	return list
}
