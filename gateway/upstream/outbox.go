package upstream

import (
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Limits bound the messages that wait, of all devices and of each one. 0: no limit.
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
	// Memory is how many bytes of stored messages are also kept in memory, so that
	// they need not be read back to be sent; 0: 8 MiB.
	Memory int64
	// AckWait is how long upstream may leave a message unacknowledged before it is
	// sent again over a new connection. The second time counts as if upstream had ended
	// the connection because of that message. 0: 30 s.
	AckWait time.Duration
	// Shelf keeps messages that upstream never takes. Nil: such a message blocks the later ones of its device.
	Shelf  Shelf
	Parked ParkedLimits
	Log    *slog.Logger
	// Now is the clock of message.Message.Accepted; nil: time.Now. By it is counted how
	// much stored messages have aged while the process was down.
	Now func() time.Time
	// Elapsed is the time since the start of the process. By it messages age while the
	// process runs, so that they do not expire because the wall clock is set. Nil: by Now.
	Elapsed func() time.Duration
}

// Outbox is the queue of the messages that go upstream.
type Outbox struct {
	opt    Options
	routes []*route
	byName map[string]*route
	replay *rate.Limiter

	mu       sync.Mutex
	open     bool                     // guarded by mu, as all below
	nextSeq  uint64                   // numbers are given and appended under mu, so that both orders agree
	flows    map[string]map[int]*flow // by publisher or device, then priority
	lanes    map[string]*lane
	loose    loose     // streams whose route is DropOldest
	eras     []era     // by sequence number: what Now was relative to Elapsed, see note
	swept    time.Time // when sweep last ran
	use      map[string]*usage
	total    usage
	memory   int64
	counts   counts
	withheld withheld
	shelf    shelf
	// paused are the publishers whose messages are not sent; pausedAll: nobody's are.
	paused    map[string]bool
	pausedAll bool
	draining  bool        // the replay limit is lifted until nothing waits
	start     func(*lane) // set while Run runs
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
		o.AckWait = 30 * time.Second
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
		flows: map[string]map[int]*flow{}, lanes: map[string]*lane{}, use: map[string]*usage{},
		counts: newCounts(), paused: map[string]bool{}, withheld: withheld{queues: map[string]*waiters{}}}
	for _, r := range routes {
		b.byName[r.Name] = r
	}
	return b, nil
}

// Open reads from the storage how many messages of which streams it has. Call it once,
// before Offer and Run.
func (b *Outbox) Open() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note(0, b.opt.Now())
	var restored []*flow
	err := b.opt.Storage.Streams(func(q message.StoredStream) error {
		b.nextSeq = max(b.nextSeq, q.Last)
		if q.Count == 0 {
			return nil
		}
		f, err := b.restore(q)
		if f != nil {
			restored = append(restored, f)
		}
		return err
	})
	for _, f := range restored {
		b.load(f)
	}
	if err == nil {
		err = b.openShelf()
	}
	b.open = err == nil
	return err
}

// restore makes the flow and stream of stored messages, by the first one that can be read.
// The flow is nil if none can.
func (b *Outbox) restore(q message.StoredStream) (*flow, error) {
	b.counts.restored += uint64(q.Count)
	var first message.StoredOutgoing
	for after := uint64(0); first.Message == nil; after = first.Seq {
		list, err := b.opt.Storage.Next(q.ID, after, q.Last, 1, 1)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			b.opt.Log.Error("stored messages cannot be read back", "messages", q.Count)
			b.counts.dropped[ReasonUnreadable] += uint64(q.Count)
			return nil, nil
		}
		first = list[0]
	}
	r := b.byName[first.Route]
	if r == nil { // stored under an earlier configuration, which had this route
		r = &route{Route: Route{Name: first.Route}}
		b.byName[r.Name] = r
	}
	f := b.flow(first.Message, r)
	s := b.stream(f, r, first.Message)
	s.cold, s.coldBytes, s.loaded, s.durable = q.Count, q.Bytes, 0, q.Last
	f.cold += q.Count
	b.enter(s, first.Seq, q.Bytes)
	s.n += q.Count - 1
	b.use[f.publish].messages += q.Count - 1
	b.total.messages += q.Count - 1
	b.remember(f)
	return f, nil
}

// flow returns the flow of a message, and makes it if there is none.
func (b *Outbox) flow(m *message.Message, r *route) *flow {
	publish := m.Source()
	f := b.flows[publish][r.Priority]
	if f == nil {
		f = &flow{box: b, device: m.Via.Device, publish: publish, priority: r.Priority}
		b.remember(f)
	}
	return f
}

// newItem makes an item of a message. at is the present time by the clock of m.Accepted and m.Expires.
func (b *Outbox) newItem(seq uint64, r *route, topic string, m *message.Message, at time.Time) *item {
	f := b.flow(m, r)
	it := &item{
		seq:      seq,
		size:     message.OutgoingSize(m, topic),
		stream:   b.stream(f, r, m),
		flow:     f,
		topic:    topic,
		accepted: m.Accepted,
	}
	if end := r.end(m); !end.IsZero() {
		it.expires = max(b.elapsed()+end.Sub(at), 1)
	}
	return it
}

// remember enters a flow into b.flows and its lane, unless it is there.
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

// elapsed is Options.Elapsed plus 1 ns: never zero, which item.expires has for "never".
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

// insert accounts for a message. It becomes the last item of its flow, if the flow has
// fewer than window() items and no cold messages; otherwise it becomes cold, and is read
// back in its turn.
func (b *Outbox) insert(it *item, m *message.Message) {
	f := it.flow
	b.remember(f) // forget has removed the flow if its last message was dropped to make way for this one
	b.enter(it.stream, it.seq, it.size)
	it.cold = !it.volatile && (f.cold+f.writing > 0 || len(f.items)-f.head >= b.window())
	if it.cold {
		f.writing++
		return
	}
	if !it.volatile {
		it.stream.loaded = it.seq
	}
	if it.volatile || b.memory+it.size <= b.opt.Memory {
		it.message = m
		b.memory += it.size
	}
	f.items = append(f.items, it)
}

// freeze makes a message cold that has just become durable: its item ends.
func (b *Outbox) freeze(it *item) {
	s := it.stream
	it.state = gone
	it.flow.writing--
	it.flow.cold++
	s.cold++
	s.coldBytes += it.size
	s.durable = it.seq
}

// finish ends an item and takes it out of the accounts. The caller removes its record
// from the storage, if it must.
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
	if it.cold {
		f.writing--
	}
	if it.message != nil {
		b.memory -= it.size
		it.message = nil
	}
	b.leave(it.stream, it.size)
	f.compact()
	if f.lane.alone == it {
		f.lane.alone = nil
		f.lane.list(f)
	}
	b.forget(f)
}

// ready lists a flow in its lane, and starts or wakes the lane.
func (b *Outbox) ready(f *flow) {
	l := f.lane
	l.list(f)
	if !l.running && b.start != nil {
		b.start(l)
	}
	l.nudge()
}

// forget removes a flow that is empty, unless it is still listed in its lane.
func (b *Outbox) forget(f *flow) {
	if !f.empty() || f.listed {
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
