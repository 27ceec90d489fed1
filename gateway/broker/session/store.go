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
	Vault Vault
	// Judge tells whether the publisher of a stored message may publish it
	// now. It is asked under a session's lock.
	Judge func(*message.Message) bool
	Drop  func(reason string) // counts
	Index Index

	QueueMessages, QueueBytes int   // of one session
	TotalQueueBytes           int64 // of all
	MaxSessions               int   // of one principal; 0: any number
}

// Index is the subscription index. It is changed under the session's lock, so
// that a session that has ended is never found in it.
type Index interface {
	Add(sub, old *Sub) // old may be nil
	Remove(subs ...*Sub)
}

// Store holds all sessions.
type Store struct {
	c      Config
	queued atomic.Int64  // bytes waiting, of all sessions
	gen    atomic.Uint64 // rises with every revocation

	mu       sync.Mutex // guards the rest
	sessions map[string]*Session
	owned    map[string]map[*Session]struct{} // by principal
}

// NewStore makes an empty store.
func NewStore(c Config) *Store {
	s := &Store{c: c, sessions: map[string]*Session{}, owned: map[string]map[*Session]struct{}{}}
	s.gen.Store(1)
	return s
}

// Key is the key of a session. It names the principal first: a client id
// alone never leads to a session.
func Key(p *principal.Principal, clientID string) string { return p.Key + "\x00" + clientID }

// NewSub makes a subscription of s from what a SUBSCRIBE said.
func NewSub(s *Session, m message.Subscription, t topic.Subscription) *Sub {
	return &Sub{Subscription: m, Session: s, Inner: t.Filter, Group: t.Group, Private: Private(t.Filter), since: new(atomic.Int64)}
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

// Request is a CONNECT that has been proved and allowed.
type Request struct {
	Principal  *principal.Principal
	Rights     Rights
	ClientID   string
	Level      byte
	Clean      bool
	Persistent bool
	Expiry     time.Duration // negative: never
	Conn       any
	Allow      func(*Sub) bool // decides a stored subscription again
}

// Opened is the answer to a Request.
type Opened struct {
	Session   *Session // nil: this principal has as many as it may
	Present   bool
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
		// A record that was deleted and made again under its name is another
		// principal, also if nobody was here to forget the first.
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
	} else if st.c.MaxSessions > 0 && len(st.owned[r.Principal.Key]) >= st.c.MaxSessions {
		return o
	}
	s := st.create(key, r.ClientID)
	s.who, s.rights, s.level = r.Principal, r.Rights, r.Level
	s.persistent, s.expiry, s.claim = r.Persistent, r.Expiry, r.Conn
	st.enter(s)
	s.mu.Lock()
	s.save(nil)
	s.mu.Unlock()
	o.Session = s
	return o
}

// enter puts s in the place of whatever had its key; Store.mu is held.
func (st *Store) enter(s *Session) {
	if old := st.sessions[s.Key]; old != nil {
		st.leave(old)
	}
	st.sessions[s.Key] = s
	owner := ownerOf(s.Key)
	if st.owned[owner] == nil {
		st.owned[owner] = map[*Session]struct{}{}
	}
	st.owned[owner][s] = struct{}{}
}

func (st *Store) leave(s *Session) {
	if st.sessions[s.Key] != s {
		return
	}
	delete(st.sessions, s.Key)
	owner := ownerOf(s.Key)
	delete(st.owned[owner], s)
	if len(st.owned[owner]) == 0 {
		delete(st.owned, owner)
	}
}

func ownerOf(key string) string {
	owner, _, _ := strings.Cut(key, "\x00")
	return owner
}

func (st *Store) create(key, clientID string) *Session {
	return &Session{Key: key, ClientID: clientID, store: st, subs: map[string]*Sub{},
		inbound: map[uint16]*Exchange{}, ids: map[uint16]*Entry{}}
}

// resume hands an existing session to a new connection: everything in it is
// decided again by who is there now.
func (s *Session) resume(r Request) {
	s.unlink()
	s.who, s.rights, s.level = r.Principal, r.Rights, r.Level
	s.persistent, s.expiry, s.claim, s.offline = r.Persistent, r.Expiry, r.Conn, time.Time{}
	s.doubt()
	s.decide(time.Now(), r.Allow)
	if !s.persistent {
		// MQTT 5 may resume a session and end it with this connection.
		s.store.c.Vault.DeleteSession(s.Key, nil)
		return
	}
	s.save(nil)
}

// kill ends a session; the lock is held. What it held is given back.
func (s *Session) kill() {
	if s.dead {
		return
	}
	s.dead = true
	s.link, s.claim = nil, nil
	s.bequeath()
	// Entry by entry: a delivery that has reserved and not arrived yet gives
	// back its own.
	for _, e := range s.queue.each() {
		s.Release(e.m)
	}
	for _, e := range s.held {
		s.Release(e.m)
	}
	for _, e := range s.ids {
		if e.sent {
			s.Release(e.m)
		}
	}
	s.queue, s.held, s.ids, s.sent = queue{}, nil, map[uint16]*Entry{}, 0
	s.inbound = map[uint16]*Exchange{} // whatever is still answered is not the next session's
	s.store.c.Index.Remove(s.list()...)
	s.subs = map[string]*Sub{}
	if s.persistent {
		s.store.c.Vault.DeleteSession(s.Key, nil)
	}
}

// Left is a message of a shared subscription that a session has not had
// acknowledged before it ended.
type Left struct {
	Sub     *Sub
	Message *message.Message
}

// bequeath notes what other members of its shares may have instead (OASIS MQTT
// 5.0, 4.8.2): of QoS 2 only what this one cannot have received.
func (s *Session) bequeath() {
	all := slices.Concat(s.queue.each(), s.held)
	for _, e := range s.ids {
		if e.sent {
			all = append(all, e)
		}
	}
	all = slices.DeleteFunc(all, func(e *Entry) bool {
		return e.share == nil || e.released || e.qos == 2 && (e.sent || e.dup)
	})
	slices.SortFunc(all, bySeq)
	for _, e := range all {
		s.left = append(s.left, Left{e.share, e.m})
	}
}

// TakeLeft returns, once, what an ended session has left to the other members of its shares.
func (s *Session) TakeLeft() []Left {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.left
	s.left = nil
	return left
}

// EndIf ends the session if it is offline since exactly that time (the zero
// time: in any case), and tells so.
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

// All lists the sessions in order of their key.
func (st *Store) All() []*Session {
	st.mu.Lock()
	list := make([]*Session, 0, len(st.sessions))
	for _, s := range st.sessions {
		list = append(list, s)
	}
	st.mu.Unlock()
	slices.SortFunc(list, func(a, b *Session) int { return strings.Compare(a.Key, b.Key) })
	return list
}

// Of lists the sessions of one principal, however many others there are: every
// private message asks.
func (st *Store) Of(principalKey string) []*Session {
	st.mu.Lock()
	defer st.mu.Unlock()
	own := st.owned[principalKey]
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

// QueuedBytes is what waits in all sessions.
func (st *Store) QueuedBytes() int64 { return st.queued.Load() }
