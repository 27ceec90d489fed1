package session

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// shelving says which deliveries of a session are kept in the vault only: while it is away,
// all that are durable and have no packet identifier. When a connection takes what
// waits, they are read ahead, a page at a time, and decided then as any other delivery.
//
// Of each, an Entry without a body stays in memory: its number, size, expiry and origin
// are what limits, overflow, expiry and the deletion of its publisher ask for. Whoever
// needs its message reads it: fetch for the client, purge for lost rights, recall for the
// other members of a share.
type shelving struct {
	away    atomic.Bool // no connection owns the session; changed with Session.mu held
	entries int         // how many of queue and held have no body
	origins origins     // whom they are from
	reading bool        // fetch reads a page
	stays   bool        // the session ends with its connection, and something of it is in the vault
}

// What is read ahead at once, at least one delivery. More would wait in memory for a
// client whose window is full; less would read once for each delivery.
const (
	pageMessages = 64
	pageBytes    = 64 << 10
	readAgain    = time.Second // after the vault could not be read
)

// shelves tells whether what is durable goes to the vault: the session is away, or
// counts as away because it has held up its publishers for too long.
func (s *Session) shelves() bool { return s.shelf.away.Load() || s.throttle.spent.Load() }

// keep gives e to the vault; s.mu is held. The caller calls after once e is in the queue.
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
	var over atomic.Bool // set by the first of done and after; the second looks at e
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

// shelve leaves the body of e to the vault, if it may; s.mu is held.
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

// shelveAll does so for everything, when the session goes away; s.mu is held. What is
// still on its way into the vault follows by itself (keep).
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

// drop takes e, which has a body again or has left the session, out of the count.
func (h *shelving) drop(e *Entry) {
	if e.origin != 0 {
		h.origins.drop(e.origin)
		e.origin = 0
		h.entries--
	}
}

// sender is who published e; s.mu is held.
func (s *Session) sender(e *Entry) *principal.Principal {
	if e.body != nil {
		return e.m.Publisher
	}
	return s.shelf.origins.list[e.origin-1].who
}

// publisher is the principal key of that, or "".
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

// shelved lists what has no body, in order of seq; s.mu is held.
func (s *Session) shelved() []*Entry {
	if s.shelf.entries == 0 {
		return nil
	}
	all := slices.Concat(s.queue.each(), s.held)
	all = slices.DeleteFunc(all, func(e *Entry) bool { return e.body != nil })
	slices.SortFunc(all, bySeq)
	return all
}

// page is how many of the first entries are read at once.
func page(entries []*Entry) int {
	size := 0
	for i, e := range entries {
		if size += int(e.size); i == pageMessages || i > 0 && size > pageBytes {
			return i
		}
	}
	return len(entries)
}

// read reads what the vault has of entries, without a lock or with s.mu held.
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
		if q.Message != nil && q.Message.Publisher != nil { // else it could never be judged
			found[q.Seq] = q
		}
	}
	return found, nil
}

// fetch reads the first page of the queue on a goroutine of its own, and pumps then. s.mu is held.
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
		case s.link == nil: // away again: it stays where it is
		case err != nil:
			time.AfterFunc(readAgain, s.Pump)
		default:
			s.fill(next, found)
			s.pump()
		}
	}()
}

// fill gives entries their bodies. What the vault does not have, or cannot read, is
// dropped: it would hold up everything behind it. s.mu is held.
func (s *Session) fill(entries []*Entry, found map[uint64]message.StoredDelivery) {
	for _, e := range entries {
		if e.origin == 0 { // it has a body already, or has left
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

// leave takes e, which has no packet identifier, out of the queue or of what is held,
// and forgets it. s.mu is held.
func (s *Session) leave(e *Entry) {
	if i := slices.Index(s.held, e); i >= 0 {
		s.held = slices.Delete(s.held, i, i+1)
	} else {
		s.queue.remove(e)
	}
	s.finish(e)
}

// recall reads everything that is meant and has no body, with s.mu held: the session
// ends, and what it leaves goes to others (bequeath).
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

// purgeShelved does Purge for entries that are not in memory, a page at a time.
func (s *Session) purgeShelved(entries []*Entry) (n int) {
	for len(entries) > 0 {
		few := page(entries)
		found, err := s.read(entries[:few])
		if err != nil {
			return n // they are decided again before they are sent
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
		if e.origin == 0 || !ok { // loaded, and decided before it is sent; gone; or unreadable, which fetch sees
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

// unkeep is called when the session has been made to end with its connection; s.mu is
// held. What is in the vault only stays there until then; a restart ends the session.
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
