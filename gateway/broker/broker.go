// Package broker carries MQTT 3.1.1 and 5. github.com/mochi-mqtt/server/v2 is
// embedded unmodified and treated as untrusted: it speaks (CONNECT, CONNACK,
// SUBSCRIBE, UNSUBSCRIBE, PING, AUTH), one frame at a time that has been
// checked for its shape before; the message plane is ours. PUBLISH and its
// acknowledgements, DISCONNECT, wills, sessions, subscriptions, retained
// messages, queues, aliases, windows and packet identifiers never reach it.
//
// A connection is one goroutine that reads, plus a writer while there is
// something to write. A client's publish is delivered on the goroutine that reads
// its connection, so a client is not read faster than its messages are delivered:
// that is the back-pressure. Nobody else waits for a connection. Take-over,
// revocation and administration only ask it to end; the connection that takes a
// session over sends the will of the one before it.
//
// Ordering: deliveries and acknowledgements of a connection leave in order.
// Durability: an acknowledgement leaves after everything behind it is durable.
// Revocation: Recheck returns when nothing that lost its right is handed to
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

// Broker carries MQTT.
type Broker struct {
	o      Options
	shape  frame.Limits
	names  topic.Limits
	server *mqtt.Server
	plane  *plane.Plane
	store  *session.Store
	clock  clock
	count  counters
	nextID atomic.Uint64
	ready  chan struct{}
	losing chan struct{}   // has an element when a session's loss of deliveries has begun or ended
	ctx    context.Context // of Run

	// Connections and their writers, which stop waits for. A goroutine that is not
	// started by one that is counted already is counted by join.
	conns sync.WaitGroup

	mu          sync.Mutex     // guards the fields below; it is taken before session.Store.mu and Session.mu
	stopped     bool           // stop waits for conns already: nothing may be added
	policyKnown bool           // since the start: see Options.PolicyKnown
	parked      []*pendingWill // wills loaded at start whose delay is over; they wait for policyKnown, or for their client
	live        map[*conn]struct{}
	wills       map[string]*pendingWill     // wills whose delay runs, by session key
	ends        map[*session.Session]*timer // when sessions that are offline expire
}

// ErrOptions is what New returns for options that cannot work.
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
		o:      o,
		shape:  frame.Limits{UserProperties: o.MaxUserProperties, Filters: o.MaxFilters},
		names:  topic.Limits{Bytes: o.MaxTopic, Levels: o.MaxLevels},
		ready:  make(chan struct{}),
		losing: make(chan struct{}, 1),
		ctx:    context.Background(),
		live:   map[*conn]struct{}{},
		wills:  map[string]*pendingWill{},
		ends:   map[*session.Session]*timer{},
	}
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
	for _, l := range b.o.Listeners {
		if err := b.server.AddListener(newListener(ctx, b, l)); err != nil {
			return fmt.Errorf("broker: listener %q: %w", l.Name, err)
		}
	}
	if err := b.server.Serve(); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	close(b.ready)
	b.conns.Go(func() { b.awaitPolicy(ctx) })
	b.conns.Go(func() { b.tellOverflows(ctx) })
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
	for reason, n := range b.count.drops() { // only loading can have dropped anything yet
		b.o.Log.Warn("what was stored could not be kept", "reason", reason, "count", n)
	}
	return err
}

// stop ends the listeners, then the connections, each of which flushes what it has
// within FlushTimeout, then the timers: nothing that still runs starts anything of
// what has ended before it.
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

// join counts the caller in b.conns, which Run waits for; false if Run has begun to
// wait, and then the caller must not go on. b.conns.Done ends what join began.
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
