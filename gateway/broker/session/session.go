// Package session is what MQTT calls a session: subscriptions, the queue of
// deliveries, the window of unacknowledged ones, and the identifiers of QoS 2,
// each belonging to one (principal, client id) and to nobody else.
//
// Ordering. Deliveries leave in the order in which Deliver took them; what a
// lost connection left unacknowledged leaves first, in its old order and with
// its old packet identifiers (OASIS MQTT 5.0, 4.4 and 4.6).
//
// Decisions. Every delivery is decided under the session's lock immediately
// before it is encoded, and everything that waited is decided completely again
// once anything was revoked: the receiver's right, the subscription it came
// for, and the right of its publisher. Recheck takes the same lock, so after
// it nothing decided earlier can still be appended.
//
// Failure. A persistent session's deliveries of QoS 1 and 2 are given to the
// Vault before they count as delivered; the publisher's Ack waits for it.
//
// Locks: Store.mu, then Session.mu, then the index's or the output buffer's
// own. Nothing waits while it holds any of them.
package session

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/outbuf"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// Link is the connection that a session has at the moment.
type Link struct {
	Out       *outbuf.Buffer
	Level     byte
	MaxPacket int // the client's maximum packet size, 0: none
	Window    int // its receive maximum, bounded by ours
	Conn      any // the connection; compared, never looked into
}

// Sub is one subscription. Everything but the suspension is immutable. That is
// shared with the ones that it replaced: a publish may have found one of them.
type Sub struct {
	message.Subscription
	Session *Session
	Inner   string // the filter without $share
	Group   string // of a shared subscription
	Private bool   // reached by Send only, never through the index
	// Of retained messages, both guarded by the lock of whoever keeps them.
	Asked bool               // it has been decided which it gets
	Live  []*message.Message // came to it as they were stored, before it asked

	since *atomic.Int64
}

// Suspended tells whether the right to it is lost at the moment.
func (s *Sub) Suspended() bool { return s.since.Load() != 0 }

// Session is one session. Create with Store.Open.
type Session struct {
	Key      string
	ClientID string
	store    *Store

	mu         sync.Mutex // guards everything below
	who        *principal.Principal
	rights     Rights
	level      byte
	persistent bool
	expiry     time.Duration
	offline    time.Time // zero while connected
	claim      any       // the connection that owns it, also before it is linked
	link       *Link
	dead       bool
	subs       map[string]*Sub
	inbound    map[uint16]*Exchange // QoS 2 publishes received and not released
	queue      queue                // waiting, in order of seq
	held       []*Entry             // waiting for a suspended subscription, in order
	ids        map[uint16]*Entry    // every identifier in use, sent or waiting to be
	sent       int                  // of those, how many are in the window
	soonest    time.Time            // nothing that waits expires before; zero: nothing expires
	lastID     uint16
	seq        uint64
	left       []Left // once dead

	count, bytes atomic.Int64 // of queue, held and window; reserved before the lock is taken

	Tally Tally
}

// Tally counts what one session did since it was opened or loaded.
type Tally struct {
	Received atomic.Uint64 // publishes of the client
	Sent     atomic.Uint64 // messages given to its connection
	Denied   atomic.Uint64 // publishes and subscriptions refused to it
}

// Entry is one delivery of QoS 1 or 2.
type Entry struct {
	seq      uint64
	m        *message.Message
	share    *Sub // the shared subscription that it came for, if it is one
	subIDs   []uint32
	size     int64
	gen      uint64 // the store's generation at which it was decided completely
	id       uint16
	qos      byte
	retain   bool
	private  bool
	dup      bool // has been with the kernel, perhaps
	sent     bool // in the window
	released bool // PUBREC received, or given up: a PUBREL is what is left to send
	firm     bool // what its next packet says is as durable as it must be
}

func (e *Entry) stored() message.StoredDelivery {
	return message.StoredDelivery{Seq: e.seq, Message: e.m, QoS: e.qos, Retain: e.retain, SubIDs: e.subIDs,
		PacketID: e.id, Released: e.released}
}

// Principal is the owner, as it was proved last.
func (s *Session) Principal() *principal.Principal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.who
}

// Renew replaces the owner's proof: the same principal again (MQTT 5 AUTH).
// false: the session belongs to another connection now.
func (s *Session) Renew(conn any, p *principal.Principal, r Rights) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claim != conn {
		return false
	}
	s.who, s.rights = p, r
	s.save(nil)
	return true
}

// Attach links a claimed session to its connection and sends what waited.
// false: somebody else has claimed it since.
func (s *Session) Attach(l *Link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead || s.claim != l.Conn {
		return false
	}
	s.link = l
	s.pump()
	return true
}

// Detach ends the link of conn, if it still is this one's, and tells so.
// What was unacknowledged goes back to the head of the queue.
func (s *Session) Detach(conn any, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claim != conn {
		return false
	}
	s.unlink()
	s.claim, s.offline = nil, now
	if !s.dead {
		s.save(nil)
	}
	return true
}

// Away tells whether the session has been waiting for its client since exactly then.
func (s *Session) Away(since time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.dead && s.claim == nil && s.offline.Equal(since)
}

// Owned tells whether the session belongs to that connection; nil: to none.
func (s *Session) Owned(conn any) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.dead && s.claim == conn
}

// unlink forgets the connection; the window becomes the head of the queue.
func (s *Session) unlink() {
	s.link = nil
	if s.sent == 0 {
		return
	}
	back := make([]*Entry, 0, s.sent)
	for _, e := range s.ids {
		if e.sent {
			e.sent, e.dup = false, true
			e.gen = 0 // decided again before it is sent again
			back = append(back, e)
		}
	}
	s.sent = 0
	s.queue.putBack(back)
}

// SetExpiry changes the session expiry interval (DISCONNECT of MQTT 5), unless
// the session belongs to another connection now.
func (s *Session) SetExpiry(conn any, d time.Duration, persistent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claim != conn {
		return
	}
	if s.persistent && !persistent {
		s.store.c.Vault.DeleteSession(s.Key, nil)
	}
	s.expiry, s.persistent = d, persistent
}

// Subscribed is what became of one subscription of a SUBSCRIBE.
type Subscribed struct {
	Refused bool // its right was lost since it was judged: nothing changed
	Existed bool // it replaced one
	old     *Sub // that one
}

// Subscribe adds or replaces subscriptions for the connection that owns the
// session. allow is asked again for each: a revocation that did not find it
// here yet has changed the rights before. done runs once they are as durable
// as the session is. ok is false when somebody else owns it now.
func (s *Session) Subscribe(conn any, subs []*Sub, allow func(*Sub) bool, done func(error)) (became []Subscribed, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead || s.claim != conn {
		return nil, false
	}
	became = make([]Subscribed, len(subs))
	for i, sub := range subs {
		if !allow(sub) {
			became[i].Refused = true
			continue
		}
		old := s.subs[sub.Filter]
		if old != nil {
			sub.since = old.since
			sub.since.Store(0)
		}
		s.subs[sub.Filter] = sub
		s.store.c.Index.Add(sub, old)
		became[i].Existed, became[i].old = old != nil, old
	}
	s.unhold()
	s.save(done)
	return became, true
}

// Undo takes back what Subscribe did and could not keep, but for what was
// replaced since. The Vault is told again: it may have kept it after all.
func (s *Session) Undo(subs []*Sub, became []Subscribed) {
	if len(became) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, b := range slices.Backward(became) { // the same filter may be there twice
		sub := subs[i]
		if b.Refused || s.subs[sub.Filter] != sub {
			continue
		}
		if b.old == nil {
			s.remove(sub)
			continue
		}
		s.subs[sub.Filter] = b.old
		s.store.c.Index.Add(b.old, sub)
	}
	s.doubt() // it may have come for what is not there any more
	s.unhold()
	s.save(nil)
}

// doubt lets everything that is not acknowledged be decided completely again
// before it is sent.
func (s *Session) doubt() {
	for _, e := range s.queue.each() {
		e.gen = 0
	}
	for _, e := range s.ids {
		e.gen = 0
	}
}

// remove takes a subscription away. A publish that has found it already
// delivers nothing for it any more.
func (s *Session) remove(sub *Sub) {
	delete(s.subs, sub.Filter)
	s.store.c.Index.Remove(sub)
	sub.since.Store(purged)
}

// Unsubscribe removes subscriptions, and tells of each whether it was there.
func (s *Session) Unsubscribe(conn any, filters []string, done func(error)) (existed []bool, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead || s.claim != conn {
		return nil, false
	}
	for _, filter := range filters {
		old := s.subs[filter]
		if old != nil {
			s.remove(old)
		}
		existed = append(existed, old != nil)
	}
	s.unhold()
	s.save(done)
	return existed, true
}

// Now is the present generation of all sessions: who decides a publish asks
// before deciding (Delivery.Gen).
func (s *Session) Now() uint64 { return s.store.Now() }

// Persistent tells whether the session outlives its connection.
func (s *Session) Persistent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.persistent
}

func (s *Session) list() []*Sub {
	list := make([]*Sub, 0, len(s.subs))
	for _, sub := range s.subs {
		list = append(list, sub)
	}
	return list
}

// Subscriptions is how many there are.
func (s *Session) Subscriptions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.subs)
}

// Waiting is how many deliveries wait or are unacknowledged.
func (s *Session) Waiting() int { return int(s.count.Load()) }

// Subscribed tells whether there is one with exactly that filter.
func (s *Session) Subscribed(filter string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subs[filter] != nil
}

// PrivateMatch tells whether a connected session holds a private subscription
// that matches.
func (s *Session) PrivateMatch(name string) (*Sub, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == nil {
		return nil, false
	}
	for _, sub := range s.subs {
		if sub.Private && !sub.Suspended() && topic.Match(sub.Inner, name) {
			return sub, true
		}
	}
	return nil, false
}

// save writes the record of a persistent session; the lock is held.
func (s *Session) save(done func(error)) {
	if !s.persistent || s.dead {
		if done != nil {
			done(nil)
		}
		return
	}
	r := message.StoredSession{Key: s.Key, ClientID: s.ClientID, Principal: s.who, Version: s.level,
		Expiry: s.expiry, DisconnectedAt: s.offline}
	for _, sub := range s.subs {
		r.Subscriptions = append(r.Subscriptions, sub.Subscription)
	}
	slices.SortFunc(r.Subscriptions, func(a, b message.Subscription) int {
		if a.Filter < b.Filter {
			return -1
		}
		return 1
	})
	s.store.c.Vault.SaveSession(r, done)
}
