package upstream

import (
	"cmp"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Limits bound what waits. 0: no limit.
type Limits struct {
	Bytes, DeviceBytes       int64
	Messages, DeviceMessages int
}

// Options of New.
type Options struct {
	Storage   Storage
	Connector Connector
	Routes    []Route
	Limits    Limits
	// Window is how many messages of a lane may be unacknowledged; 0: 64.
	Window int
	// Replay is how many backlog messages a second may be sent, over all lanes; 0: no limit.
	Replay float64
	// Memory is how many bytes of messages are kept in memory beside the
	// storage, so that live ones are not read back; 0: 8 MiB.
	Memory int64
	// AckWait is how long upstream may leave messages unacknowledged before the connection is given up; 0: one minute.
	AckWait time.Duration
	Log     *slog.Logger
	// Now is the time that messages carry; nil: time.Now. By it they have aged
	// while nothing ran.
	Now func() time.Time
	// Elapsed is the time since the start, by which they age from then on: a wall clock
	// that is set must not expire what was just acknowledged. Nil: by Now.
	Elapsed func() time.Duration
}

// Outbox is the queue of everything that must go upstream.
type Outbox struct {
	opt    Options
	routes []*route
	byName map[string]*route
	orphan *route
	replay *rate.Limiter

	mu      sync.Mutex
	open    bool                     // guarded by mu, as all below
	nextSeq uint64                   // numbers are given and appended under mu, so that both orders agree
	flows   map[string]map[int]*flow // by publisher or device, then priority
	lanes   map[string]*lane
	byRoute map[*route]*queue // in order of seq, for drop-oldest and expiry
	swept   time.Time         // the last sweep
	use     map[string]*usage
	total   usage
	memory  int64
	counts  counts
	rooms   rooms
	start   func(*lane) // set while Run runs
}

type usage struct {
	bytes    int64
	messages int
}

// New checks the routes. It starts nothing and touches no storage.
func New(o Options) (*Outbox, []Problem) {
	if o.Window <= 0 {
		o.Window = 64
	}
	if o.Memory <= 0 {
		o.Memory = 8 << 20
	}
	if o.AckWait <= 0 {
		o.AckWait = time.Minute
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Elapsed == nil {
		began := o.Now()
		o.Elapsed = func() time.Duration { return o.Now().Sub(began) }
	}
	routes, bad := compileRoutes(o.Routes)
	if len(bad) > 0 {
		return nil, bad
	}
	limit := rate.Inf
	if o.Replay > 0 {
		limit = rate.Limit(o.Replay)
	}
	b := &Outbox{opt: o, routes: routes, byName: map[string]*route{}, replay: rate.NewLimiter(limit, max(1, int(o.Replay))),
		orphan: &route{Route: Route{Name: "(removed route)"}},
		flows:  map[string]map[int]*flow{}, lanes: map[string]*lane{}, byRoute: map[*route]*queue{}, use: map[string]*usage{},
		counts: newCounts(), rooms: rooms{refused: map[string]int64{}}}
	for _, r := range routes {
		b.byName[r.Name] = r
	}
	return b, nil
}

// Open reads what is stored and counts it. Call it once, before Offer and Run.
func (b *Outbox) Open() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.opt.Storage.Load(func(seq uint64, name, topic string, size int, m *message.Message) error {
		r := b.byName[name]
		if r == nil { // promised under an earlier configuration
			r = b.orphan
		}
		it := b.newItem(seq, r, topic, int64(size), m, b.opt.Now())
		it.state = queued
		b.insert(it)
		b.counts.restored++
		b.nextSeq = max(b.nextSeq, seq)
		return nil
	})
	b.open = err == nil
	return err
}

func key(m *message.Message) (device, publish string) {
	device = m.Via.Device
	if device != "" {
		return device, device
	}
	if m.Publisher != nil {
		return "", "key " + m.Publisher.Key
	}
	return "", ""
}

// newItem makes an item of a message that is as old as it was at the time at.
func (b *Outbox) newItem(seq uint64, r *route, topic string, size int64, m *message.Message, at time.Time) *item {
	device, publish := key(m)
	f := b.flows[publish][r.Priority]
	if f == nil {
		f = &flow{device: device, publish: publish, priority: r.Priority}
		b.remember(f)
	}
	it := &item{seq: seq, size: size, route: r, flow: f, topic: topic, accepted: m.Accepted}
	end := m.Expires
	if r.TTL > 0 {
		if ttl := m.Accepted.Add(r.TTL); !m.Accepted.IsZero() && (end.IsZero() || ttl.Before(end)) {
			end = ttl
		}
	}
	if !end.IsZero() {
		it.expires = max(b.elapsed()+end.Sub(at), 1)
	}
	return it
}

// remember gives a flow its place and its lane, unless it has them.
func (b *Outbox) remember(f *flow) {
	if b.flows[f.publish][f.priority] == f {
		return
	}
	b.attach(f)
	if b.flows[f.publish] == nil {
		b.flows[f.publish] = map[int]*flow{}
	}
	b.flows[f.publish][f.priority] = f
}

// elapsed is never zero, which means never.
func (b *Outbox) elapsed() time.Duration { return b.opt.Elapsed() + 1 }

func (b *Outbox) attach(f *flow) {
	name := b.opt.Connector.Lane(f.device)
	l := b.lanes[name]
	if l == nil {
		l = newLane(name)
		b.lanes[name] = l
	}
	f.lane = l
	l.flows[f] = true
}

// insert puts it at the end of its flow and accounts for it.
func (b *Outbox) insert(it *item) {
	f := it.flow
	b.remember(f) // it was forgotten if its last message made room for this one
	f.items = append(f.items, it)
	q := b.byRoute[it.route]
	if q == nil {
		q = &queue{}
		b.byRoute[it.route] = q
	}
	q.items = append(q.items, it)
	u := b.use[f.publish]
	if u == nil {
		u = &usage{}
		b.use[f.publish] = u
	}
	for _, u := range [...]*usage{u, &b.total} {
		u.bytes += it.size
		u.messages++
	}
	if it.message != nil {
		b.memory += it.size
	}
}

// finish takes it out of the accounts; its record is the caller's matter.
func (b *Outbox) finish(it *item) {
	if it.state == gone {
		return
	}
	f := it.flow
	switch it.state {
	case inflight:
		delete(f.lane.sent, it.seq)
		f.lane.inflight--
	case pending:
		b.counts.appending--
	}
	it.state = gone
	u := b.use[f.publish]
	for _, u := range [...]*usage{u, &b.total} {
		u.bytes -= it.size
		u.messages--
	}
	if u.messages == 0 {
		delete(b.use, f.publish)
	}
	b.released()
	if it.message != nil {
		b.memory -= it.size
		it.message = nil
	}
	f.compact()
	if f.lane.alone == it {
		f.lane.alone = nil
		f.lane.list(f)
	}
	b.forget(f)
	if q := b.byRoute[it.route]; q.finished() {
		delete(b.byRoute, it.route)
	}
}

// Refusal reasons and drop reasons, as counted.
const (
	ReasonFull       = "outbox-full"
	ReasonExpired    = "expired"
	ReasonOldest     = "drop-oldest"
	ReasonNewest     = "drop-newest"
	ReasonUnsendable = "unsendable"
	ReasonUnreadable = "unreadable"
	ReasonOffline    = "qos0-offline"
)

// Offer takes m if a route sends it upstream; false: none does, and done is
// not called. done(nil): m is durable (or its route exempts it); done of a
// *message.Refused: nothing of it is kept. done runs in the order of the
// calls, on the storage's goroutine, never inside Offer; it may be nil.
func (b *Outbox) Offer(m *message.Message, done func(error)) bool {
	r := b.route(m)
	if r == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		b.answer(done, &message.Refused{Code: message.ServerUnavailable, Reason: "store-failed"})
		return true
	}
	target, qos, err := r.target(m)
	if err != nil {
		b.counts.refused[ReasonUnsendable]++
		b.answer(done, &message.Refused{Code: message.TopicNameInvalid, Reason: ReasonUnsendable})
		return true
	}
	volatile := m.QoS == 0
	if qos != m.QoS { // kept like any message of its own QoS, and sent with this one
		lowered := *m
		lowered.QoS, m = qos, &lowered
	}
	size := m.Size() + int64(len(target)) + 128
	it := b.newItem(b.nextSeq+1, r, target, size, m, cmp.Or(m.Accepted, b.opt.Now()))
	it.volatile = volatile
	if l := it.flow.lane; it.volatile && l.running && !l.up {
		b.forget(it.flow)
		b.counts.accepted++
		b.counts.dropped[ReasonOffline]++
		b.answer(done, nil)
		return true
	}
	if keep := b.makeRoom(it); !keep {
		b.forget(it.flow)
		switch {
		case it.volatile || r.Overflow == DropNewest:
			b.counts.accepted++
			b.counts.dropped[ReasonNewest]++
			b.answer(done, nil)
		default:
			b.counts.refused[ReasonFull]++
			b.refuse(it.flow.publish, size)
			b.answer(done, &message.Refused{Code: message.QuotaExceeded, Reason: ReasonFull})
		}
		return true
	}
	b.nextSeq++
	if it.volatile || b.memory+size <= b.opt.Memory {
		it.message = m
	}
	b.insert(it)
	if it.volatile {
		it.state = queued
		b.counts.accepted++
		b.ready(it)
		b.answer(done, nil)
		return true
	}
	b.counts.appending++
	b.opt.Storage.Append(it.seq, r.Name, target, m, func(err error) { b.appended(it, err, done) })
	return true
}

func (b *Outbox) route(m *message.Message) *route {
	for _, r := range b.routes {
		if r.matches(m) {
			return r
		}
	}
	return nil
}

// answer keeps the order of done with what is being written.
func (b *Outbox) answer(done func(error), err error) {
	if done == nil {
		return
	}
	b.opt.Storage.Remove(nil, func(error) { done(err) })
}

func (b *Outbox) appended(it *item, err error, done func(error)) {
	b.mu.Lock()
	switch {
	case err != nil:
		b.finish(it)
		reason := "store-failed"
		var coded interface{ Reason() string }
		if errors.As(err, &coded) {
			reason = coded.Reason()
		}
		b.counts.refused[reason]++
		code := message.ImplementationSpecificError
		if reason == "disk-full" || reason == "store-busy" {
			code = message.QuotaExceeded
			b.refuseByStore()
		}
		err = &message.Refused{Code: code, Reason: reason}
	case it.state == pending:
		it.state = queued
		b.counts.appending--
		b.counts.accepted++
		b.ready(it)
	default: // dropped while it was being written, by a policy that may
		b.counts.accepted++
	}
	b.mu.Unlock()
	if done != nil {
		done(err)
	}
}

// ready gives the item's flow a turn and wakes its lane.
func (b *Outbox) ready(it *item) {
	l := it.flow.lane
	l.list(it.flow)
	if !l.running && b.start != nil {
		b.start(l)
	}
	l.nudge()
}

// forget removes a flow with nothing in it, unless it still stands in a turn.
func (b *Outbox) forget(f *flow) {
	if f.items != nil || f.listed {
		return
	}
	delete(f.lane.flows, f)
	if byPriority := b.flows[f.publish]; byPriority[f.priority] == f {
		delete(byPriority, f.priority)
		if len(byPriority) == 0 {
			delete(b.flows, f.publish)
		}
	}
}
