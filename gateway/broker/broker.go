// Package broker is an MQTT 3.1.1 and 5 broker. github.com/mochi-mqtt/server/v2 is
// embedded unmodified and treated as untrusted. It answers CONNECT, SUBSCRIBE,
// UNSUBSCRIBE, PINGREQ and AUTH, and gets one frame at a time, whose shape has been
// checked before. Everything else is implemented here and never reaches it: PUBLISH
// and its acknowledgements, DISCONNECT, wills, sessions, subscriptions, retained
// messages, queues, topic aliases, windows and packet identifiers.
//
// A connection has one goroutine that reads, and another one that writes while there
// is something to write. A client's publish is delivered on the goroutine that reads
// its connection, so that a client is not read faster than its messages are
// delivered (back-pressure). No other goroutine waits for a connection. Take-over,
// revocation and administration only ask it to end, and the connection that takes a
// session over sends the will of the one before it. The exception is a newcomer that
// finds a contested session taken: it waits for a while (ContestLimits).
//
// Ordering: the deliveries and acknowledgements of a connection are sent in order.
// Durability: an acknowledgement is sent after everything that it promises is stored.
// Revocation: when Recheck returns, no message that needs a lost right is handed to
// the kernel any more.
// Failure: a panic ends its connection and is counted; a failed accept is
// retried; a connection that cannot be written to ends.
package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/broker/plane"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// Broker is an MQTT broker. New makes one.
type Broker struct {
	o        Options
	shape    frame.Limits
	names    topic.Limits
	server   *mqtt.Server
	plane    *plane.Plane
	store    *session.Store
	clock    clock
	count    counters
	contests *contests
	averages averages
	started  time.Time
	nextID   atomic.Uint64
	ready    chan struct{}
	losing   chan struct{}   // has an element when a session's loss of deliveries has begun or ended
	crowded  chan struct{}   // has an element when a crowd has begun
	ctx      context.Context // of Run

	// conns counts the goroutines of connections and their writers, for which stop waits. A
	// goroutine that is started by none of these must call join first.
	conns sync.WaitGroup

	mu          sync.Mutex     // guards the fields below; it is taken before session.Store.mu and Session.mu
	stopped     bool           // stop is waiting for conns, so nothing may be added to it
	policyKnown bool           // the policy was read since the start: see Options.PolicyKnown
	parked      []*pendingWill // wills loaded at start whose delay is over; they wait for policyKnown, or for their client
	live        map[*conn]struct{}
	wills       map[string]*pendingWill     // wills whose delay runs, by session key
	ends        map[*session.Session]*timer // when sessions that are offline expire
}

// ErrOptions is wrapped by the errors of New for options that cannot work.
var ErrOptions = errors.New("broker: bad options")

// New makes a broker; it does no I/O and starts nothing.
func New(o Options) (*Broker, error) {
	if o.Authenticator == nil || o.Access == nil || o.Log == nil {
		return nil, fmt.Errorf("%w: Authenticator, Access and Log must be set", ErrOptions)
	}
	seen := map[string]bool{}
	for _, l := range o.Listeners {
		if l.Listener == nil || l.Name == "" || seen[l.Name] {
			return nil, fmt.Errorf("%w: listener %q needs a socket and a name of its own", ErrOptions, l.Name)
		}
		seen[l.Name] = true
	}
	o = o.withDefaults()
	if o.ReceiveMaximum > 65535 || o.TopicAliasMaximum > 65535 || o.Inflight > 32768 || o.MaxKeepAlive > 65535*time.Second {
		return nil, fmt.Errorf("%w: a maximum does not fit its field on the wire", ErrOptions)
	}
	o.Vault = o.Vault.orVolatile()
	if o.Auditor == nil {
		o.Auditor = silent{}
	}
	b := &Broker{
		o:        o,
		shape:    frame.Limits{UserProperties: o.MaxUserProperties, Filters: o.MaxFilters},
		names:    topic.Limits{Bytes: o.MaxTopic, Levels: o.MaxLevels},
		ready:    make(chan struct{}),
		losing:   make(chan struct{}, 1),
		crowded:  make(chan struct{}, 1),
		contests: newContests(o.Contest),
		started:  time.Now(),
		ctx:      context.Background(),
		live:     map[*conn]struct{}{},
		wills:    map[string]*pendingWill{},
		ends:     map[*session.Session]*timer{},
	}
	b.averages.asOf = b.started
	// Message ids rise with acceptance order, also across restarts: loadWills raises
	// this further if the clock has been set back.
	b.nextID.Store(uint64(time.Now().UnixNano()))
	b.plane = plane.New(plane.Config{
		Access:           o.Access,
		Retained:         o.Vault.Retained,
		MaxRetained:      o.MaxRetained,
		MaxRetainedBytes: o.MaxRetainedBytes,
		Stall:            o.Stall,
		Drop:             b.count.drop,
		Denied:           func() { b.count.denied.Add(1) },
		Delivered:        func() { b.count.delivered.Add(1) },
		System:           b.sysMessages,
	})
	b.store = session.NewStore(session.Config{
		Sessions:        o.Vault.Sessions,
		Queues:          o.Vault.Queues,
		Pages:           o.Vault.Pages,
		Judge:           b.plane.Judge,
		Drop:            b.count.drop,
		Index:           b.plane,
		QueueMessages:   o.QueueMessages,
		QueueBytes:      o.QueueBytes,
		PrincipalBytes:  o.PrincipalBytes,
		TotalQueueBytes: o.TotalQueueBytes,
		Overflow:        o.Overflow,
		HoldUp:          o.HoldUp,
		HoldUpWindow:    o.HoldUpWindow,
		End:             b.endOverfull,
		Overflowed:      b.overflowed,
		AllSessions:     o.AllSessions,
		MaxSessions:     o.MaxSessions,
	})
	return b, nil
}

// Run loads what the vault has, serves the listeners until ctx ends, and closes
// everything it opened and was given. It is called once.
func (b *Broker) Run(ctx context.Context) error {
	b.ctx = ctx
	if err := b.load(); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	b.server = b.newServer()
	var doors []*admission
	for _, l := range b.o.Listeners {
		made := newListener(ctx, b, l)
		if err := b.server.AddListener(made); err != nil {
			return fmt.Errorf("broker: listener %q: %w", l.Name, err)
		}
		doors = append(doors, made.door)
	}
	if err := b.server.Serve(); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	close(b.ready)
	b.conns.Go(func() { b.awaitPolicy(ctx) })
	b.conns.Go(func() { b.tellOverflows(ctx) })
	b.conns.Go(func() { b.tellContests(ctx) })
	b.conns.Go(func() { b.tellCrowds(ctx, doors) })
	b.sys(ctx)
	<-ctx.Done()
	b.stop()
	return nil
}

func (b *Broker) load() error {
	now := time.Now()
	open := func(r *message.StoredSession) session.Rights { return b.o.Access.Open(r.Principal) }
	allow := func(s *session.Sub) bool {
		return b.o.Access.Open(s.Session.Owner()).Subscribe(s.Filter).Allowed
	}
	if err := b.store.Load(now, open, allow); err != nil {
		return err
	}
	for _, s := range b.store.All() {
		i := s.Info()
		if i.Suspended > 0 {
			b.purgeLater(s, now)
		}
		if i.Expiry < 0 {
			continue
		}
		b.expireAfter(s, i.Offline, max(0, i.Offline.Add(i.Expiry).Sub(now)))
	}
	err := b.plane.LoadRetained()
	if err == nil {
		err = b.loadWills(now)
	}
	for reason, n := range b.count.dropped.all() { // until now only loading can have dropped something
		b.o.Log.Warn("what was stored could not be kept", "reason", reason, "count", n)
	}
	return err
}

// stop ends the listeners, then the connections, which flush their output within FlushTimeout, and
// then the timers. The order matters: what ends later cannot start anything of what ended
// before.
func (b *Broker) stop() {
	_ = b.server.Close()
	for _, c := range b.connections() {
		c.end(cause{code: message.ServerShuttingDown, reason: "server shutting down", keepWill: true})
	}
	b.mu.Lock()
	b.stopped = true
	b.mu.Unlock()
	b.conns.Wait()
	b.clock.stop()
}

// join counts the caller in b.conns, for which Run waits; the caller must call b.conns.Done when
// it ends. join returns false if Run has begun to wait, and the caller must then not go on.
func (b *Broker) join() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.stopped {
		b.conns.Add(1)
	}
	return !b.stopped
}

// Ready is closed once the listeners are served.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

func (b *Broker) enter(c *conn) {
	b.mu.Lock()
	b.live[c] = struct{}{}
	b.mu.Unlock()
	if b.ctx.Err() != nil {
		c.end(cause{reason: "server shutting down"})
	}
}

func (b *Broker) connections() []*conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	live := make([]*conn, 0, len(b.live))
	for c := range b.live {
		live = append(live, c)
	}
	return live
}

func (b *Broker) leave(c *conn) {
	b.mu.Lock()
	delete(b.live, c)
	b.mu.Unlock()
}

// audit reports a decision. c, which may be nil, is the connection that it is
// about, and what the topic or filter.
func (b *Broker) audit(event string, allowed bool, who *principal.Principal, c *conn, what string, v message.Verdict) {
	r := message.AuditRecord{
		Time:      time.Now(),
		Event:     event,
		Allowed:   allowed,
		Principal: who.Key,
		Topic:     what,
		Reason:    v.Reason,
		Detail:    v.Detail,
		Count:     1,
	}
	if v.ReportOnly {
		r.Detail = "report only: " + v.Detail
	}
	if c != nil {
		r.ClientID, r.Remote = c.hello.ClientID, c.remote
	}
	b.o.Auditor.Audit(r)
}
