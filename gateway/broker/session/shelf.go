package session

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// shelving says which deliveries of a session have their body in the vault only. While no
// connection owns the session, these are all deliveries that are stored and have no packet
// identifier. When a connection takes the queue over, their bodies are read ahead, a page at a
// time, and they are decided as any other delivery.
//
// An Entry without a body stays in memory. Its number, size, expiry and origin are all that
// is needed for limits, overflow, expiry and the deletion of its publisher. The message
// itself is read by fetch, which sends it to the client, by purge, which looks for lost rights, and
// by recall, which leaves it to other members of a shared subscription.
type shelving struct {
	away    atomic.Bool // no connection owns the session; changed with Session.mu held
	entries int         // how many of queue and held have no body
	origins origins     // the publishers and shared subscriptions of these
	reading bool        // fetch is reading a page
	stays   bool        // the session ends with its connection, and bodies of it are in the vault
}

// The size of a page that is read ahead, which has at least one delivery. A larger page would wait in
// memory for a client whose window is full; a smaller one would mean a read for each delivery.
const (
	pageMessages = 64
	pageBytes    = 64 << 10
	readAgain    = time.Second // wait before the next attempt, after the vault could not be read
)

// shelves reports whether the bodies of stored deliveries are left to the vault: because no
// connection owns the session, or because the session has held up its publishers for too long.
func (s *Session) shelves() bool { return s.shelf.away.Load() || s.throttle.spent.Load() }

// keep stores e in the vault; s.mu is held. The caller must call after once e is in the queue.
func (s *Session) keep(e *Entry, ack *Ack) (after func()) {
	var tell func(error)
	if ack != nil {
		ack.Add()
		tell = ack.Stored
	}
	if s.store.c.Pages == nil {
		s.store.c.Queues.Enqueue(s.Key, e.stored(), tell)
		return func() {}
	}
	b := e.body
	var over atomic.Bool // set by the first of the callback and after; the second calls shelve
	s.store.c.Queues.Enqueue(s.Key, e.stored(), func(err error) {
		if err == nil {
			b.durable.Store(true)
		}
		if !over.CompareAndSwap(false, true) && s.shelves() {
			s.mu.Lock()
			if s.shelves() {
				s.shelve(e)
			}
			s.mu.Unlock()
		}
		if tell != nil {
			tell(err)
		}
	})
	return func() {
		if !over.CompareAndSwap(false, true) && s.shelves() {
			s.shelve(e)
		}
	}
}

// shelve drops the body of e from memory, if the vault has it and e has no packet identifier; s.mu
// is held.
func (s *Session) shelve(e *Entry) {
	switch {
	case s.store.c.Pages == nil || !s.persistent || s.dead:
	case e.body == nil || e.gone || e.id != 0 || e.released || !e.durable.Load():
	default:
		e.origin = s.shelf.origins.add(e.m.Publisher, e.share)
		if at := e.m.Expires; !at.IsZero() {
			e.expires = uint32(min(math.MaxUint32, max(1, at.Add(time.Second-1).Unix())))
		}
		e.body = nil
		s.shelf.entries++
	}
}

// shelveAll calls shelve for all deliveries, when the connection is lost; s.mu is held. keep calls
// shelve for those that are not stored yet.
func (s *Session) shelveAll() {
	s.shelf.away.Store(true)
	for _, list := range [...][]*Entry{s.queue.each(), s.held} {
		for _, e := range list {
			s.shelve(e)
		}
	}
}

// take gives e its body back. s.mu is held.
func (s *Session) take(e *Entry, q message.StoredDelivery) {
	e.body = bodyOf(q)
	e.share = s.shared(e)
	s.shelf.drop(e)
}

// drop uncounts e, which has its body again or has left the session.
func (h *shelving) drop(e *Entry) {
	if e.origin != 0 {
		h.origins.drop(e.origin)
		e.origin = 0
		h.entries--
	}
}

// sender is the publisher of e; s.mu is held.
func (s *Session) sender(e *Entry) *principal.Principal {
	if e.body != nil {
		return e.m.Publisher
	}
	return s.shelf.origins.list[e.origin-1].who
}

// publisher is the principal key of the publisher of e, or ""; s.mu is held.
func (s *Session) publisher(e *Entry) string {
	if p := s.sender(e); p != nil {
		return p.Key
	}
	return ""
}

// shared is the shared subscription that e came for, or nil; s.mu is held.
func (s *Session) shared(e *Entry) *Sub {
	if e.origin != 0 {
		return s.shelf.origins.list[e.origin-1].share
	}
	return e.share
}

// shelved lists the deliveries without a body, in order of seq; s.mu is held.
func (s *Session) shelved() []*Entry {
	if s.shelf.entries == 0 {
		return nil
	}
	all := slices.Concat(s.queue.each(), s.held)
	all = slices.DeleteFunc(all, func(e *Entry) bool { return e.body != nil })
	slices.SortFunc(all, bySeq)
	return all
}

// page is how many of the entries, from the first on, make up a page.
func page(entries []*Entry) int {
	size := 0
	for i, e := range entries {
		if size += int(e.size); i == pageMessages || i > 0 && size > pageBytes {
			return i
		}
	}
	return len(entries)
}

// read reads the entries that the vault has. It needs no lock, but s.mu may be held.
func (s *Session) read(entries []*Entry) (map[uint64]message.StoredDelivery, error) {
	seqs := make([]uint64, len(entries))
	for i, e := range entries {
		seqs[i] = e.seq
	}
	list, err := s.store.c.Pages.ReadQueue(s.Key, seqs)
	if err != nil {
		return nil, err
	}
	found := make(map[uint64]message.StoredDelivery, len(list))
	for _, q := range list {
		if q.Message != nil && q.Message.Publisher != nil { // without a publisher it could never be decided
			found[q.Seq] = q
		}
	}
	return found, nil
}

// fetch reads the first page of the queue on a goroutine of its own, which then calls pump. s.mu is
// held.
func (s *Session) fetch() {
	if s.shelf.reading {
		return
	}
	var next []*Entry
	for _, e := range s.queue.each() {
		if e.body != nil || len(next) == pageMessages {
			break
		}
		next = append(next, e)
	}
	next = next[:page(next)]
	s.shelf.reading = true
	go func() {
		found, err := s.read(next)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.shelf.reading = false
		switch {
		case s.link == nil: // the connection is lost again: the bodies stay in the vault
		case err != nil:
			time.AfterFunc(readAgain, s.Pump)
		default:
			s.fill(next, found)
			s.pump()
		}
	}()
}

// fill gives entries their bodies. An entry that the vault does not have or cannot read is
// dropped, because it would hold up all entries behind it. s.mu is held.
func (s *Session) fill(entries []*Entry, found map[uint64]message.StoredDelivery) {
	for _, e := range entries {
		if e.origin == 0 { // it has its body already, or has left the session
			continue
		}
		if q, ok := found[e.seq]; ok {
			s.take(e, q)
			continue
		}
		s.store.c.Drop("queued-unreadable")
		s.leave(e)
	}
}

// leave removes e, which has no packet identifier, from queue or held, here and in the vault. s.mu
// is held.
func (s *Session) leave(e *Entry) {
	if i := slices.Index(s.held, e); i >= 0 {
		s.held = slices.Delete(s.held, i, i+1)
	} else {
		s.queue.remove(e)
	}
	s.finish(e)
}

// recall reads the bodies of all entries without one for which meant is true, with s.mu held. It is
// called when the session ends and leaves them to other members of shared subscriptions
// (bequeath).
func (s *Session) recall(meant func(*Entry) bool) {
	all := slices.DeleteFunc(s.shelved(), func(e *Entry) bool { return !meant(e) })
	for len(all) > 0 {
		n := page(all)
		if found, err := s.read(all[:n]); err == nil {
			for _, e := range all[:n] {
				if q, ok := found[e.seq]; ok {
					s.take(e, q)
				}
			}
		}
		all = all[n:]
	}
}

// purgeShelved does Purge for entries without a body, a page at a time.
func (s *Session) purgeShelved(entries []*Entry) (n int) {
	for len(entries) > 0 {
		few := page(entries)
		found, err := s.read(entries[:few])
		if err != nil {
			return n // the others are decided before they are sent, so nothing is revealed
		}
		n += s.purgePage(entries[:few], found)
		entries = entries[few:]
	}
	return n
}

func (s *Session) purgePage(entries []*Entry, found map[uint64]message.StoredDelivery) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		q, ok := found[e.seq]
		// Skipped are entries that have their body by now (they are decided before they are sent),
		// that have left the session, or that cannot be read (fetch drops them).
		if e.origin == 0 || !ok {
			continue
		}
		e.body = bodyOf(q)
		allowed, hold := s.may(e)
		e.body = nil
		if !allowed && !hold {
			s.store.c.Drop("revoked")
			s.leave(e)
			n++
		}
	}
	s.endEpisode()
	s.pump()
	return n
}

// unkeep is called when a persistent session has become one that ends with its connection; s.mu is
// held. Bodies that only the vault has stay there until the session ends. If the gateway
// restarts before, the session is ended then.
func (s *Session) unkeep() {
	if s.shelf.entries == 0 {
		s.store.c.Sessions.DeleteSession(s.Key, nil)
		return
	}
	s.shelf.stays = true
	r := s.record()
	r.Expiry = 0
	s.store.c.Sessions.SaveSession(r, nil)
}
