package session

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// Config of a Store.
type Config struct {
	Sessions Sessions
	Queues   Queues
	// Pages, if set, lets what waits for a session that is away be kept in the vault only.
	Pages Pages
	// Judge tells whether the publisher of a message may publish it now. It is
	// called with a Session.mu held.
	Judge func(*message.Message) bool
	Drop  func(reason string) // counts what is given up, by reason
	Index Index

	QueueMessages, QueueBytes int   // of one session
	PrincipalBytes            int64 // of all sessions of one principal; 0: as TotalQueueBytes
	TotalQueueBytes           int64 // of all
	Overflow                  Overflow
	// Publishers wait for the capacity of one connected session at most HoldUp in any HoldUpWindow.
	HoldUp, HoldUpWindow time.Duration
	AllSessions          int // that exist at once; 0: any number
	MaxSessions          int // of one principal; 0: any number

	// End ends a session and its connection, by the policy Disconnect. It is called
	// without a lock.
	End func(*Session)
	// Overflowed is told when an Episode begins and when it is over, with the
	// session's mu held. It may be nil.
	Overflowed func(Episode)
}

// Index is the subscription index. It is changed with the mu of the subscription's
// session held, so that a session that has ended is never found in it.
type Index interface {
	Add(sub, old *Sub) // old may be nil
	Remove(subs ...*Sub)
}

// Store holds all sessions.
type Store struct {
	c      Config
	queued atomic.Int64  // bytes that wait or are unacknowledged, and reserved ones, of all sessions
	gen    atomic.Uint64 // rises with every revocation: see Generation

	mu       sync.Mutex          // guards sessions and owned
	sessions map[string]*Session // by Session.Key
	owned    map[string]*holder  // by principal key

	losing losing
	reach  reach
	rank   ranking    // of owned
	ending sync.Mutex // held while sessions are ended for want of capacity: see endOne; taken before mu
}

// NewStore makes an empty store.
func NewStore(c Config) *Store {
	if c.PrincipalBytes == 0 {
		c.PrincipalBytes = c.TotalQueueBytes
	}
	if c.Overflowed == nil {
		c.Overflowed = func(Episode) {}
	}
	s := &Store{c: c, sessions: map[string]*Session{}, owned: map[string]*holder{}, reach: newReach()}
	s.gen.Store(1)
	return s
}

// Key is the key of a session: the principal and the client id, so that a client
// id alone never leads to a session (B4).
func Key(p *principal.Principal, clientID string) string { return p.Key + "\x00" + clientID }

// NewSub makes a subscription of s from what a SUBSCRIBE said.
func NewSub(s *Session, m message.Subscription, t topic.Subscription) *Sub {
	return &Sub{
		Subscription: m,
		Session:      s,
		Inner:        t.Filter,
		Group:        t.Group,
		Private:      Private(t.Filter),
		since:        new(atomic.Int64),
	}
}

// Private tells whether a topic or filter names something that is delivered
// to one connection only: answers and twins (docs/spec/semantics.md 3.3).
func Private(text string) bool {
	first, rest, more := topic.Cut(text)
	if strings.EqualFold(first, "$iothub") {
		return true
	}
	if first != "deviceupdate" && first != "registry" || !more {
		return false
	}
	second, _, _ := topic.Cut(rest)
	return second == "responses"
}

// Request asks for the session of a CONNECT that has been authenticated and allowed.
type Request struct {
	Principal  *principal.Principal
	Rights     Rights
	ClientID   string
	Level      byte
	Clean      bool
	Persistent bool
	Expiry     time.Duration   // negative: never
	Conn       any             // names the connection: see Link.Conn
	Allow      func(*Sub) bool // decides each subscription of a session that is resumed
}

// Opened is the answer to a Request.
type Opened struct {
	Session   *Session // nil: MaxSessions of the principal or AllSessions exist already
	Present   bool     // session present: it is an existing one
	Displaced any      // the connection that lost the session, or nil
	Discarded *Session // the session that ended because of this one, or nil
}

// Open gives the session of exactly this principal and client id to the
// connection, and takes it from another one of the same principal. It never
// waits for that other one.
func (st *Store) Open(r Request) Opened {
	key := Key(r.Principal, r.ClientID)
	st.mu.Lock()
	defer st.mu.Unlock()
	var o Opened
	if old := st.sessions[key]; old != nil {
		old.mu.Lock()
		o.Displaced = old.claim
		// A device that was deleted and created again under the same name is
		// another principal, and inherits nothing, even if the gateway missed the
		// deletion. Its topology GUID tells.
		if r.Clean || !old.persistent || old.who.Node != r.Principal.Node {
			old.kill()
			o.Discarded = old
		} else {
			old.resume(r)
			o.Session, o.Present = old, true
		}
		old.mu.Unlock()
		if o.Present {
			return o
		}
	} else if full(len(st.sessions), st.c.AllSessions) || full(len(st.held(r.Principal.Key)), st.c.MaxSessions) {
		return o
	}
	s := st.create(key, r.ClientID)
	s.mu.Lock()
	s.rights, s.level = r.Rights, r.Level
	s.persistent, s.expiry, s.claim = r.Persistent, r.Expiry, r.Conn
	s.belong(r.Principal)
	st.enter(s)
	s.save(nil)
	s.mu.Unlock()
	if o.Displaced != nil {
		s.Tally.TakeOvers.Store(o.Discarded.Tally.TakeOvers.Load())
	}
	o.Session = s
	return o
}

// full tells whether n reaches the limit most; 0 is no limit.
func full(n, most int) bool { return most > 0 && n >= most }

// enter puts s in the place of the session that had its key; st.mu is held.
func (st *Store) enter(s *Session) {
	if old := st.sessions[s.Key]; old != nil {
		st.leave(old)
	}
	st.sessions[s.Key] = s
	st.owned[s.owner.key] = s.owner // the session that left may have been its only one
	s.owner.sessions[s] = struct{}{}
	st.rank.enter(s.owner)
}

// held are the sessions of a principal; st.mu is held.
func (st *Store) held(principalKey string) map[*Session]struct{} {
	if h := st.owned[principalKey]; h != nil {
		return h.sessions
	}
	return nil
}

// leave removes s from the store, if it is still the session of its key; st.mu is held.
func (st *Store) leave(s *Session) {
	if st.sessions[s.Key] != s {
		return
	}
	delete(st.sessions, s.Key)
	delete(s.owner.sessions, s)
	if len(s.owner.sessions) == 0 {
		delete(st.owned, s.owner.key)
		st.rank.leave(s.owner)
	}
}

func ownerOf(key string) string {
	owner, _, _ := strings.Cut(key, "\x00")
	return owner
}

// create makes a session that enter puts in its place; st.mu is held.
func (st *Store) create(key, clientID string) *Session {
	owner := st.owned[ownerOf(key)]
	if owner == nil {
		owner = &holder{key: ownerOf(key), sessions: map[*Session]struct{}{}}
	}
	return &Session{
		Key:      key,
		ClientID: clientID,
		store:    st,
		owner:    owner,
		subs:     map[string]*Sub{},
		inbound:  map[uint16]*Exchange{},
		ids:      map[uint16]*Entry{},
	}
}

// resume hands an existing session to a new connection; s.mu is held. Everything in
// it is decided again by the rights that the new connection has.
func (s *Session) resume(r Request) {
	s.unlink()
	s.belong(r.Principal)
	s.rights, s.level = r.Rights, r.Level
	s.persistent, s.expiry, s.claim, s.offline = r.Persistent, r.Expiry, r.Conn, time.Time{}
	s.shelf.away.Store(false)
	s.doubt()
	s.decide(time.Now(), r.Allow)
	if !s.persistent {
		// MQTT 5 may resume a session with a session expiry interval of 0: it ends
		// with this connection.
		s.unkeep()
		return
	}
	s.save(nil)
}

// kill ends a session and gives back the quota of what it held; s.mu is held.
func (s *Session) kill() {
	if s.dead {
		return
	}
	s.dead = true
	s.part()
	s.link, s.claim = nil, nil
	s.calm()
	s.store.reach.move(s, s.who, nil)
	s.ease(true)
	s.bequeath()
	// What is held is given back one by one, and count is not set to 0: it includes
	// what publishers have reserved for deliveries that have not come yet, and each of
	// them gives its part back itself.
	for _, list := range [...][]*Entry{s.queue.each(), s.held} {
		for _, e := range list {
			s.release(int64(e.size))
			s.shelf.drop(e)
		}
	}
	for _, e := range s.ids {
		if e.sent {
			s.release(int64(e.size))
		}
	}
	s.queue, s.held, s.ids, s.sent = queue{}, nil, map[uint16]*Entry{}, 0
	s.fair = nil
	s.endEpisode()
	for id := range s.inbound {
		s.conclude(id)
	}
	s.inbound = map[uint16]*Exchange{} // an Answer that comes later finds nothing of its own
	s.store.c.Index.Remove(s.list()...)
	s.subs = map[string]*Sub{}
	if s.persistent || s.shelf.stays {
		s.store.c.Sessions.DeleteSession(s.Key, nil)
	}
}

// Left is a message of a shared subscription that was queued for a session, or sent
// and not acknowledged, when the session ended.
type Left struct {
	Sub     *Sub
	Message *message.Message
}

// bequeath collects in s.left the messages that other members of the shared
// subscriptions may get instead (OASIS MQTT 5.0, 4.8.2); s.mu is held. A QoS 2 message
// that this client may have received already goes to nobody else.
func (s *Session) bequeath() {
	s.recall(func(e *Entry) bool { return s.shared(e) != nil })
	all := slices.Concat(s.queue.each(), s.held)
	for _, e := range s.ids {
		if e.sent {
			all = append(all, e)
		}
	}
	all = slices.DeleteFunc(all, func(e *Entry) bool {
		return e.body == nil || e.share == nil || e.released || e.qos == 2 && (e.sent || e.dup)
	})
	slices.SortFunc(all, bySeq)
	for _, e := range all {
		s.left = append(s.left, Left{e.share, e.m})
	}
}

// TakeLeft returns what an ended session has left to the other members of its shared
// subscriptions. A second call returns nothing.
func (s *Session) TakeLeft() []Left {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.left
	s.left = nil
	return left
}

// EndIf ends the session if it has been offline since exactly that time, or in any
// case if the time is zero, and tells whether it did.
func (st *Store) EndIf(s *Session, offline time.Time) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead || !offline.IsZero() && (s.claim != nil || !s.offline.Equal(offline)) {
		return false
	}
	s.kill()
	st.leave(s)
	return true
}

// list lists the sessions.
func (st *Store) list() []*Session {
	st.mu.Lock()
	defer st.mu.Unlock()
	list := make([]*Session, 0, len(st.sessions))
	for _, s := range st.sessions {
		list = append(list, s)
	}
	return list
}

// All lists the sessions in order of their key.
func (st *Store) All() []*Session {
	list := st.list()
	slices.SortFunc(list, func(a, b *Session) int { return strings.Compare(a.Key, b.Key) })
	return list
}

// Of lists the sessions of one principal. It is called for every private message, so
// its cost depends on that principal's sessions alone.
func (st *Store) Of(principalKey string) []*Session {
	st.mu.Lock()
	defer st.mu.Unlock()
	own := st.held(principalKey)
	list := make([]*Session, 0, len(own))
	for s := range own {
		list = append(list, s)
	}
	return list
}

// Get finds a session by key.
func (st *Store) Get(key string) (*Session, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	s, ok := st.sessions[key]
	return s, ok
}

// Len is how many sessions there are.
func (st *Store) Len() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.sessions)
}

// QueuedBytes is how many bytes wait or are unacknowledged in all sessions.
func (st *Store) QueuedBytes() int64 { return st.queued.Load() }
