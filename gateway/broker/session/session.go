// Package session implements MQTT sessions: the subscriptions, the queue of
// deliveries, the window of deliveries that are sent and not acknowledged, and the
// packet identifiers of QoS 2. A session belongs to one pair of principal and client id.
//
// Ordering. Deliveries are sent in the order in which Deliver took them. After a
// connection was lost, its unacknowledged deliveries are sent first, in their old
// order and with their old packet identifiers (OASIS MQTT 5.0, 4.4 and 4.6).
//
// Decisions. Every delivery is decided with Session.mu held, immediately before it
// is encoded. Three things are decided: the receiver's right, the subscription that
// the delivery came for, and the right of its publisher. After a revocation everything
// that waits is decided completely again. Recheck takes the same lock, so that after it
// nothing that was decided earlier can still be appended to the output.
//
// Failure. The deliveries of QoS 1 and 2 of a persistent session are given to the Vault
// before they count as delivered, and the publisher's Ack waits until they are stored.
// While the client is away, their bodies are in the Vault only (shelving).
//
// Locks, in the order in which they are taken: the mu of package plane's retained
// store, Store.mu, Session.mu, then the lock inside the Index or the output
// buffer. No goroutine waits while it holds one of them, with one exception: when a
// session ends, messages of shared subscriptions that only the Vault has are read
// from the disk with Session.mu held (recall).
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
	MaxPacket int // the client's Maximum Packet Size, 0: none
	Window    int // the client's Receive Maximum, or the broker's own limit if that is lower
	Conn      any // identifies the connection; it is only compared
}

// Sub is one subscription. It is immutable except for its suspension (since), Asked and
// Live. It shares the suspension with the subscriptions to the same filter that it
// replaced, because a publish that is still being delivered may have found one of those in
// the index.
type Sub struct {
	message.Subscription
	Session *Session
	Inner   string // the filter without $share
	Group   string // of a shared subscription
	Private bool   // only messages of the gateway itself (Send) reach it, so it is never in the index
	// Package plane uses these for retained messages. Both are guarded by the mu of
	// its retained store.
	Asked bool               // Replay has looked up its retained messages
	Live  []*message.Message // messages that reached it live while they were being stored, before Replay looked

	since *atomic.Int64 // when it was suspended, in ns since 1970, or purged; 0: it is not suspended
}

// Suspended reports whether the right to the subscription is lost at the moment. Nothing is then
// delivered or queued for it.
func (s *Sub) Suspended() bool { return s.since.Load() != 0 }

// Session is one MQTT session. Store.Open creates it.
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
	claim      any       // the connection that owns the session, set by Open; nil: it is offline
	link       *Link     // to that connection, set by Attach; from then on deliveries can be sent
	dead       bool      // the session has ended
	stirred    bool      // the session is in reach.sending
	subs       map[string]*Sub
	inbound    map[uint16]*Exchange // QoS 2 publishes received and not released
	queue      queue                // deliveries that wait to be sent, in order of seq
	held       []*Entry             // deliveries whose subscription is suspended, in order of seq
	ids        map[uint16]*Entry    // deliveries that have a packet identifier, by their identifier
	sent       int                  // how many of ids are in the window, that is, sent and not acknowledged
	soonest    time.Time            // the first expiry of a waiting delivery; zero if none expires
	lastID     uint16
	seq        uint64
	left       []Left   // what TakeLeft returns, after the session has ended
	fair       *fair    // set from the first overflow until the queue is empty, otherwise nil
	lost       Lost     // for want of capacity, since the session was opened or loaded
	over       *Episode // while it loses deliveries for want of capacity, or nil

	// The deliveries in queue, held and the window, and those for which Reserve has taken
	// quota and which have not come yet. Changed without mu.
	count, bytes atomic.Int64

	shelf    shelving    // which deliveries of queue and held have their body in the vault only; guarded by mu
	throttle throttle    // holds up publishers that publish faster than the client reads
	paused   atomic.Bool // the client's connection is not read at the moment: see Paused

	Tally Tally
}

// Tally counts what one session did since it was opened or loaded.
type Tally struct {
	Received atomic.Uint64 // publishes of the client
	Sent     atomic.Uint64 // messages appended to the output of its connection
	Denied   atomic.Uint64 // publishes and subscriptions refused to it
	// Times that a newer connection took the session from a live one. A session that starts
	// afresh because of a take-over goes on with the number of the one before it.
	TakeOvers atomic.Uint64
}

// Principal is the owner, as the last CONNECT or AUTH authenticated it.
func (s *Session) Principal() *principal.Principal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.who
}

// belong makes p the owner; s.mu is held.
func (s *Session) belong(p *principal.Principal) {
	s.store.reach.move(s, s.who, p)
	s.who = p
}

// Renew replaces the owner's identities and rights after an MQTT 5 AUTH has authenticated the
// same principal again. It returns false if the session belongs to another connection now.
func (s *Session) Renew(conn any, p *principal.Principal, r Rights) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claim != conn {
		return false
	}
	s.belong(p)
	s.rights = r
	s.save(nil)
	return true
}

// Attach links the session to the connection that has opened it and sends the deliveries that
// waited. It returns false if another connection has opened the session since.
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

// Detach takes the session offline. It returns false if the session no longer belongs to conn.
// The unacknowledged deliveries return to the head of the queue.
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

// Away reports whether the session is offline and went offline at exactly the time since, so that
// no connection can have opened it in between.
func (s *Session) Away(since time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.dead && s.claim == nil && s.offline.Equal(since)
}

// Owned reports whether the session belongs to conn. Owned(nil) reports whether it is offline.
func (s *Session) Owned(conn any) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.dead && s.claim == conn
}

// unlink removes the link to the connection and puts the unacknowledged deliveries back at the head
// of the queue; s.mu is held.
func (s *Session) unlink() {
	s.part()
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

// Subscribed is the result of one subscription of a SUBSCRIBE.
type Subscribed struct {
	Refused bool // nothing changed, because its right was lost after it had been decided
	Existed bool // it replaced a subscription to the same filter
	old     *Sub // that subscription
}

// Subscribe adds or replaces subscriptions. allow decides each of them again with s.mu held, which
// Recheck also holds, because a Recheck between the first decision and this call has not
// found them in the session. done is called once they are stored, or at once if the session
// is not persistent. ok is false if the session belongs to another connection now.
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

// Undo reverts Subscribe after the vault could not store the subscriptions, except for those that
// another SUBSCRIBE has replaced since. The session is stored again, because the vault may have
// stored the change although it reported a failure or did not report in time.
func (s *Session) Undo(subs []*Sub, became []Subscribed) {
	if len(became) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, b := range slices.Backward(became) { // backward, because the same filter may be there twice
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
	s.doubt() // queued deliveries may have come for a subscription that is now removed
	s.unhold()
	s.save(nil)
}

// doubt makes all deliveries that wait or are unacknowledged be decided completely again before
// they are sent, or sent again; s.mu is held.
func (s *Session) doubt() {
	for _, e := range s.queue.each() {
		e.doubt()
	}
	for _, e := range s.ids {
		e.gen = 0
	}
}

// remove removes a subscription from the session and the index; s.mu is held. The subscription
// stays suspended, so that a publish that has already found it delivers nothing for it.
func (s *Session) remove(sub *Sub) {
	delete(s.subs, sub.Filter)
	s.store.c.Index.Remove(sub)
	sub.since.Store(purged)
}

// Unsubscribe removes subscriptions. existed says for each filter whether there was a
// subscription. done and ok are as those of Subscribe.
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

// Now is Store.Now of the store that the session belongs to.
func (s *Session) Now() uint64 { return s.store.Now() }

// Persistent reports whether the session outlives its connection.
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

// Subscriptions is how many subscriptions the session has.
func (s *Session) Subscriptions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.subs)
}

// Waiting is how many deliveries wait or are unacknowledged.
func (s *Session) Waiting() int { return int(s.count.Load()) }

// Subscribed reports whether there is a subscription with exactly this filter.
func (s *Session) Subscribed(filter string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subs[filter] != nil
}

// PrivateMatch returns a private subscription that matches the topic name. It returns false if
// there is none, or the session is not connected.
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

// save stores the state of a persistent session in the vault; s.mu is held. done, which may be
// nil, is called once the state is stored, or at once if the session is not persistent.
func (s *Session) save(done func(error)) {
	if !s.persistent || s.dead {
		if done != nil {
			done(nil)
		}
		return
	}
	s.store.c.Sessions.SaveSession(s.record(), done)
}

// record is the state of the session, without its queue, as the vault stores it; s.mu is held.
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
