// Package session is what MQTT calls a session: subscriptions, the queue of
// deliveries, the window of unacknowledged ones, and the identifiers of QoS 2,
// each belonging to one (principal, client id) and to nobody else.
//
// Ordering. Deliveries leave in the order in which Deliver took them; what a
// lost connection left unacknowledged leaves first, in its old order and with
// its old packet identifiers (OASIS MQTT 5.0, 4.4 and 4.6).
//
// Decisions. Every delivery is decided with Session.mu held, immediately
// before it is encoded, and everything that waited is decided completely again
// once anything was revoked: the receiver's right, the subscription it came
// for, and the right of its publisher. Recheck takes the same lock, so after
// it nothing decided earlier can still be appended.
//
// Failure. A persistent session's deliveries of QoS 1 and 2 are given to the
// Vault before they count as delivered; the publisher's Ack waits for it. While the
// session is away, only the Vault has them (shelving).
//
// Locks, in the order in which they are taken: the mu of package plane's retained
// store, Store.mu, Session.mu, then the lock inside the Index or the output
// buffer. Nobody waits for anything while holding one of them, but for the disk when a
// session ends that leaves messages of a share which only the Vault has (recall).
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
	Conn      any // names the connection; it is compared and never used
}

// Sub is one subscription. Everything is immutable but its suspension, Asked and
// Live. The suspension is shared with the subscriptions to the same filter that it
// replaced, because a publish under way may have found one of those in the index.
type Sub struct {
	message.Subscription
	Session *Session
	Inner   string // the filter without $share
	Group   string // of a shared subscription
	Private bool   // reached by Send only, never through the index
	// Package plane uses these for retained messages. Both are guarded by the mu of
	// its retained store.
	Asked bool               // Replay has looked which retained messages it gets
	Live  []*message.Message // delivered to it while they were being stored, before Replay looked

	since *atomic.Int64 // when it was suspended, in ns since 1970; 0: it is not; or purged
}

// Suspended tells whether its right is lost at the moment: nothing is delivered
// for it, and nothing is queued.
func (s *Sub) Suspended() bool { return s.since.Load() != 0 }

// Session is one session. Create with Store.Open.
type Session struct {
	Key      string
	ClientID string
	store    *Store
	owner    *holder

	mu         sync.Mutex // guards the fields down to over
	who        *principal.Principal
	rights     Rights
	level      byte
	persistent bool
	expiry     time.Duration
	offline    time.Time // zero while connected
	claim      any       // the connection that owns the session, from Open on; nil: it is offline
	link       *Link     // to that connection, from Attach on: deliveries can leave
	dead       bool      // the session has ended
	subs       map[string]*Sub
	inbound    map[uint16]*Exchange // QoS 2 publishes received and not released
	queue      queue                // deliveries that wait to be sent, in order of seq
	held       []*Entry             // deliveries whose subscription is suspended, in order of seq
	ids        map[uint16]*Entry    // deliveries that have a packet identifier, by that
	sent       int                  // how many of ids are in the window: sent and not acknowledged
	soonest    time.Time            // the first expiry of what waits; zero if nothing expires
	lastID     uint16
	seq        uint64
	left       []Left   // once dead: see TakeLeft
	fair       *fair    // from the first overflow until the queue is empty, or nil
	lost       Lost     // for want of capacity, since the session was opened or loaded
	over       *Episode // while it loses deliveries for want of capacity, or nil

	// What queue, held and window hold, and what Reserve has promised to publishers
	// whose delivery has not come yet. Changed without mu.
	count, bytes atomic.Int64

	shelf    shelving    // what of queue and held is in the vault only; guarded by mu
	throttle throttle    // of the publishers that this session is too slow for
	paused   atomic.Bool // see Paused

	Tally Tally
}

// Tally counts what one session did since it was opened or loaded.
type Tally struct {
	Received atomic.Uint64 // publishes of the client
	Sent     atomic.Uint64 // messages given to its connection
	Denied   atomic.Uint64 // publishes and subscriptions refused to it
}

// Principal is the owner, as the last CONNECT or AUTH proved it.
func (s *Session) Principal() *principal.Principal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.who
}

// Renew replaces the owner's identity and rights after an MQTT 5 AUTH has proved
// the same principal again; false if the session belongs to another connection now.
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

// Attach links the session to the connection that has opened it and sends what
// waited; false if another connection has opened it since.
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

// Detach takes the session offline; false if it does not belong to conn any more.
// What was sent and not acknowledged goes back to the head of the queue.
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
		s.shelveAll()
	}
	return true
}

// Away tells whether the session is offline and went offline at exactly that time,
// that is, whether no connection has opened it in between.
func (s *Session) Away(since time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.dead && s.claim == nil && s.offline.Equal(since)
}

// Owned tells whether the session belongs to conn; for nil, whether it is offline.
func (s *Session) Owned(conn any) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.dead && s.claim == conn
}

// unlink forgets the connection and puts the window back at the head of the queue;
// s.mu is held.
func (s *Session) unlink() {
	s.link = nil
	s.ease(true)
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

// SetExpiry changes the session expiry interval, as an MQTT 5 DISCONNECT may,
// unless the session belongs to another connection now.
func (s *Session) SetExpiry(conn any, d time.Duration, persistent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claim != conn {
		return
	}
	s.expiry = d
	if s.persistent && !persistent {
		s.unkeep()
	}
	s.persistent = persistent
}

// Subscribed is what became of one subscription of a SUBSCRIBE.
type Subscribed struct {
	Refused bool // its right was lost after it had been decided: nothing changed
	Existed bool // it replaced a subscription to the same filter
	old     *Sub // that subscription
}

// Subscribe adds or replaces subscriptions. allow decides each of them again,
// under the lock that a Recheck takes: a revocation between the first decision and
// this call has not found them here. done runs once they are as durable as the
// session is. ok is false if the session belongs to another connection now.
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

// Undo takes back what Subscribe did when the vault could not keep it, except for
// what another SUBSCRIBE has replaced since. The vault is told again, because it
// may have kept the change although it reported a failure or nothing in time.
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
	s.doubt() // what is queued may have come for a subscription that is gone
	s.unhold()
	s.save(nil)
}

// doubt makes everything that waits or is unacknowledged be decided completely
// again before it is sent (the next time); s.mu is held.
func (s *Session) doubt() {
	for _, e := range s.queue.each() {
		e.doubt()
	}
	for _, e := range s.ids {
		e.gen = 0
	}
}

// remove takes a subscription out of the session and the index; s.mu is held. It
// leaves it suspended, so that a publish that has found it already delivers
// nothing for it.
func (s *Session) remove(sub *Sub) {
	delete(s.subs, sub.Filter)
	s.store.c.Index.Remove(sub)
	sub.since.Store(purged)
}

// Unsubscribe removes subscriptions, and tells of each filter whether it was there.
// done and ok are as those of Subscribe.
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

// Now is Store.Now, of the store that the session belongs to.
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

// save gives the vault what must survive of a persistent session; s.mu is held.
// done, which may be nil, runs once that is durable; at once if nothing must survive.
func (s *Session) save(done func(error)) {
	if !s.persistent || s.dead {
		if done != nil {
			done(nil)
		}
		return
	}
	s.store.c.Sessions.SaveSession(s.record(), done)
}

// record is what the vault keeps of the session itself; s.mu is held.
func (s *Session) record() message.StoredSession {
	r := message.StoredSession{
		Key:            s.Key,
		ClientID:       s.ClientID,
		Principal:      s.who,
		Version:        s.level,
		Expiry:         s.expiry,
		DisconnectedAt: s.offline,
	}
	for _, sub := range s.subs {
		r.Subscriptions = append(r.Subscriptions, sub.Subscription)
	}
	slices.SortFunc(r.Subscriptions, func(a, b message.Subscription) int {
		if a.Filter < b.Filter {
			return -1
		}
		return 1
	})
	return r
}
