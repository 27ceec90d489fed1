package session

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
	"sync"

	"github.com/gatehouse/gatehouse/gateway/principal"
)

// reach finds what a revocation has to look at, so that it does not cost a look at every session:
// the sessions of the principals who are concerned, and whatever may hold encoded messages of theirs
// for others. A delivery that is not encoded yet needs no search: the generation makes it be decided
// again (Store.Generation).
//
// A session enters sending, with its mu held, before it decides a delivery that it may then encode.
// A revocation takes the list after the new rights are in force. So a session that is not on the
// list decides by these.
type reach struct {
	seed maphash.Seed

	mu       sync.Mutex            // guards the fields below; it is taken after a Session.mu
	identity map[uint64]sharers    // sessions by the hash of each identity of their owner
	entra    map[*Session]struct{} // sessions whose owner has an Entra object id
	sending  map[*Session]struct{} // may have encoded something since the last Recheck that found nothing
	parted   map[any]struct{}      // connections that lost their session with messages in their output
}

func newReach() reach {
	return reach{
		seed:     maphash.MakeSeed(),
		identity: map[uint64]sharers{},
		entra:    map[*Session]struct{}{},
		sending:  map[*Session]struct{}{},
		parted:   map[any]struct{}{},
	}
}

// sharers is the set of sessions with one identity, which is nearly always one session.
type sharers struct {
	one  *Session
	more map[*Session]struct{}
}

// move finds s by the identities of to and no longer by those of from; both may be nil.
func (r *reach) move(s *Session, from, to *principal.Principal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if from != nil {
		delete(r.entra, s)
		for _, i := range from.Subject.Identities {
			r.remove(maphash.Comparable(r.seed, i), s)
		}
	}
	if to == nil {
		return
	}
	if !to.Subject.Object.IsZero() {
		r.entra[s] = struct{}{}
	}
	for _, i := range to.Subject.Identities {
		r.add(maphash.Comparable(r.seed, i), s)
	}
}

func (r *reach) add(k uint64, s *Session) {
	c := r.identity[k]
	switch {
	case c.one == nil && c.more == nil:
		c.one = s
	case c.more == nil:
		c = sharers{more: map[*Session]struct{}{c.one: {}, s: {}}}
	default:
		c.more[s] = struct{}{}
	}
	r.identity[k] = c
}

func (r *reach) remove(k uint64, s *Session) {
	c := r.identity[k]
	delete(c.more, s)
	if c.one == s || c.one == nil && len(c.more) == 0 {
		delete(r.identity, k)
	}
}

// stir notes that something may be encoded for s; s.mu is held.
func (s *Session) stir() {
	if s.stirred {
		return
	}
	s.stirred = true
	r := &s.store.reach
	r.mu.Lock()
	r.sending[s] = struct{}{}
	r.mu.Unlock()
}

// calm ends that, if the output of s has no message left; s.mu is held.
func (s *Session) calm() {
	if !s.stirred || s.link != nil && s.link.Out.Carries() {
		return
	}
	s.stirred = false
	r := &s.store.reach
	r.mu.Lock()
	delete(r.sending, s)
	r.mu.Unlock()
}

// part notes that s is about to lose its link, whose output may still have messages; s.mu is held.
func (s *Session) part() {
	if s.link == nil || !s.stirred || !s.link.Out.Carries() {
		return
	}
	r := &s.store.reach
	r.mu.Lock()
	r.parted[s.link.Conn] = struct{}{}
	r.mu.Unlock()
}

// Closed tells the store that the output of a connection is closed, which has no session any more.
func (st *Store) Closed(conn any) {
	st.reach.mu.Lock()
	delete(st.reach.parted, conn)
	st.reach.mu.Unlock()
}

// Parted lists the connections that do not own their session any more, and may still send messages
// that were appended to their output before.
func (st *Store) Parted() []any {
	st.reach.mu.Lock()
	defer st.reach.mu.Unlock()
	return slices.Collect(maps.Keys(st.reach.parted))
}

// Reach lists the sessions that must be rechecked when the rights of who have changed, each once:
// the sessions of owners who may be concerned, in order of their key unless that is everyone, then
// those that may have encoded messages of concerned publishers.
func (st *Store) Reach(who principal.Concerned) []*Session {
	if who.Everyone {
		return st.list()
	}
	r := &st.reach
	r.mu.Lock()
	defer r.mu.Unlock()
	own := map[*Session]struct{}{}
	for _, i := range who.Identities {
		c := r.identity[maphash.Comparable(r.seed, i)]
		if c.one != nil {
			own[c.one] = struct{}{}
		}
		maps.Copy(own, c.more)
	}
	if who.Entra {
		maps.Copy(own, r.entra)
	}
	list := slices.AppendSeq(make([]*Session, 0, len(own)+len(r.sending)), maps.Keys(own))
	slices.SortFunc(list, func(a, b *Session) int { return cmp.Compare(a.Key, b.Key) })
	for s := range r.sending {
		if _, listed := own[s]; !listed {
			list = append(list, s)
		}
	}
	return list
}
