package plane

import (
	"iter"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/outbuf"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// Source is where a message comes from.
type Source struct {
	Session *session.Session // nil: the gateway itself, an upstream link
	// Pause, if set, runs before the goroutine waits, so that what it holds
	// back (its own corked output) does not wait with it.
	Pause func()
	// MayDefer tells that Publish may return without having done anything, when it would
	// have to wait for a receiver.
	MayDefer bool
	// Gone is closed when the connection that the message came on ends.
	Gone <-chan struct{}
	// Receiver tells that the message is refused unless somebody receives it: its
	// sender keeps it until then.
	Receiver bool
	// Gen is session.Store.Now as it was before the publish was decided.
	Gen uint64
}

// target is one receiver of a publish.
type target struct {
	s *session.Session // nil: it may not have the message, or its queue is full
	d session.Delivery
}

// pick is the member of a share that gets the message; its session is nil while
// none has been chosen.
type pick struct {
	target
	g     *share
	turn  int
	spent bool // no member may lose a delivery for the message any more
}

// work is one publish while it is being made.
type work struct {
	src     Source
	nodes   []*filterNode
	targets []target
	picks   []pick
	// patience is how long the publisher may still wait, for all receivers
	// together: many that do not read hold it up no longer than one does (B20).
	patience time.Duration
	// waited is how long it has waited for queues that were nearly full.
	waited time.Duration
}

var works = sync.Pool{New: func() any { return new(work) }}

// Publish delivers m, which its publisher may publish, to everybody who may receive
// it now, and stores it if it is to be retained and there is capacity. A code other than
// success is only given for Source.Receiver: then nobody has got it. ack, which may be
// nil, waits for what must be durable. A receiver that is full loses a delivery by its
// own policy (session.Session.Admit), and nobody else learns of it.
// deferred: nothing has been done, because a receiver holds the publisher up (Source.MayDefer).
func (p *Plane) Publish(src Source, m *message.Message, ack *session.Ack) (code byte, deferred bool) {
	w := works.Get().(*work)
	defer w.give()
	w.src, w.patience, w.waited = src, p.c.Stall, 0
	index := p.index.Load()
	index.Subscribed(m.Topic, func(n *filterNode) { w.nodes = append(w.nodes, n) })
	if len(w.nodes) > 0 {
		w.collect(m)
	}
	if src.Receiver && !m.Retain && len(w.targets)+len(w.picks) == 0 {
		return message.NoMatchingSubscribers, false
	}
	if src.MayDefer && m.QoS > 0 && w.slowed() {
		return 0, true
	}
	if m.QoS > 0 && !p.reserve(w, m) && src.Receiver && !m.Retain {
		return message.QuotaExceeded, false // its sender keeps it, and tries again
	}
	if m.Retain {
		p.retain(m, ack, func() {
			w.note(m)
			if p.index.Load() != index {
				p.late(w, m)
			}
		})
	}
	for i := range w.targets {
		if t := &w.targets[i]; t.s != nil {
			p.deliver(w, t.s, t.d, ack)
		}
	}
	for i := range w.picks {
		p.deliverShared(w, &w.picks[i], m, ack)
	}
	return message.Success, false
}

// slowed tells whether a receiver would hold the publisher up.
func (w *work) slowed() bool {
	for i := range w.targets {
		if t := &w.targets[i]; t.d.QoS > 0 && t.s.Slows(w.src.Session) {
			return true
		}
	}
	return false
}

// maxNoted bounds Sub.Live; beyond it a message may come twice, live and as retained.
const maxNoted = 64

// note tells the subscriptions for which Replay has not looked yet that m, which is
// being stored as retained, comes to them live; p.kept.mu is held.
func (w *work) note(m *message.Message) {
	for i := range w.targets {
		if sub := w.targets[i].d.Sub; !sub.Asked && w.targets[i].s != nil && len(sub.Live) < maxNoted {
			sub.Live = append(sub.Live, m)
		}
	}
}

// late adds the subscriptions that entered the index after Publish had found its
// receivers, and for which Replay looked before m was stored: they would get m
// neither live nor as retained. A subscription for which Replay has not looked yet
// will find m there. A receiver without quota misses m, as it would in Replay.
// p.kept.mu is held.
func (p *Plane) late(w *work, m *message.Message) {
	found := map[*session.Session]bool{}
	for i := range w.targets {
		found[w.targets[i].s] = true
	}
	p.index.Load().Subscribed(m.Topic, func(n *filterNode) {
		for _, sub := range n.subs {
			if found[sub.Session] || !sub.Asked || sub.Suspended() || sub.NoLocal && sub.Session == w.src.Session {
				continue
			}
			d := w.src.to(sub, m)
			if d.QoS > 0 && !sub.Session.Reserve(m) {
				p.c.Drop("queue-full-retained")
				continue
			}
			found[sub.Session] = true
			w.targets = append(w.targets, target{sub.Session, d})
		}
	})
}

// give returns w to the pool.
func (w *work) give() {
	clear(w.nodes)
	clear(w.targets)
	clear(w.picks)
	w.src, w.nodes, w.targets, w.picks = Source{}, w.nodes[:0], w.targets[:0], w.picks[:0]
	works.Put(w)
}

// collect merges what matched into one delivery for each session: the highest
// QoS granted and every subscription identifier (OASIS MQTT 5.0, 3.3.4).
func (w *work) collect(m *message.Message) {
	var at map[*session.Session]int
	if len(w.nodes) > 1 {
		at = map[*session.Session]int{}
	}
	for _, n := range w.nodes {
		for _, g := range n.shares {
			w.picks = append(w.picks, pick{g: g, turn: int(g.turn.Add(1))})
		}
		for _, sub := range n.subs {
			if sub.Suspended() || sub.NoLocal && sub.Session == w.src.Session {
				continue
			}
			if i, again := at[sub.Session]; again {
				d := &w.targets[i].d
				d.QoS = max(d.QoS, min(m.QoS, sub.QoS))
				d.Retain = d.Retain || m.Retain && sub.RetainAsPublished
				if sub.ID != 0 {
					d.SubIDs = append(d.SubIDs, sub.ID)
				}
				continue
			}
			if at != nil {
				at[sub.Session] = len(w.targets)
			}
			w.targets = append(w.targets, target{s: sub.Session, d: w.src.to(sub, m)})
		}
	}
}

// to is the delivery of m for one subscription.
func (src Source) to(sub *session.Sub, m *message.Message) session.Delivery {
	d := session.Delivery{
		Message: m,
		Sub:     sub,
		QoS:     min(m.QoS, sub.QoS),
		Retain:  m.Retain && sub.RetainAsPublished,
		Gen:     src.Gen,
	}
	if sub.ID != 0 {
		d.SubIDs = []uint32{sub.ID}
	}
	return d
}

// reserve takes quota in every receiver's queue, and in that of one member of each
// share. A receiver for which there is none is left out; false if that leaves nobody.
func (p *Plane) reserve(w *work, m *message.Message) (any bool) {
	for i := range w.targets {
		t := &w.targets[i]
		if t.d.QoS > 0 && !p.reserveIn(w, t.s, m, true) {
			t.s = nil
		}
		any = any || t.s != nil
	}
	for i := range w.picks {
		p.pick(w, &w.picks[i], m)
		any = any || w.picks[i].s != nil
	}
	return any
}

// pick chooses the member of a share that gets m and takes quota in its queue. A full
// one is passed over while another has capacity; if all are full, forced chooses. If no
// member may have m, none is chosen.
func (p *Plane) pick(w *work, k *pick, m *message.Message) {
	for sub, offline := range k.members() {
		d := w.src.to(sub, m)
		if offline && d.QoS == 0 || !sub.Session.MayReceive(m) {
			continue
		}
		if d.QoS == 0 || p.reserveIn(w, sub.Session, m, false) {
			k.target = target{sub.Session, d}
			return
		}
	}
	p.forced(w, k, m)
}

// forced lets the first member that may have m lose a delivery for it by its policy,
// and chooses it; false if it is full even so. It asks one member, once for each
// message: by drop-newest each one asked would count m as lost, and by disconnect each
// would end.
func (p *Plane) forced(w *work, k *pick, m *message.Message) bool {
	if k.spent {
		return false
	}
	for sub := range k.members() {
		d := w.src.to(sub, m)
		if sub.Session == k.s || d.QoS == 0 || !sub.Session.MayReceive(m) {
			continue
		}
		k.spent = true
		if !p.reserveIn(w, sub.Session, m, true) {
			return false
		}
		k.target = target{sub.Session, d}
		return true
	}
	return false
}

// members yields the connected members, beginning with the one whose turn it is, and
// then the offline ones.
func (k *pick) members() iter.Seq2[*session.Sub, bool] {
	return func(yield func(sub *session.Sub, offline bool) bool) {
		for _, offline := range []bool{false, true} {
			for i := range k.g.members {
				sub := k.g.members[(k.turn+i)%len(k.g.members)]
				if sub.Suspended() || (sub.Session.Buffer() == nil) != offline {
					continue
				}
				if !yield(sub, offline) {
					return
				}
			}
		}
	}
}

// reserveIn takes quota in the queue of s. If s reads and falls behind, it first
// holds the publisher up for a while. must tells it to give something up by its policy.
func (p *Plane) reserveIn(w *work, s *session.Session, m *message.Message, must bool) bool {
	if out, crowded := s.Crowded(); crowded {
		w.wait(out)
	}
	if must && !w.src.MayDefer { // with MayDefer the goroutine is the reader of a connection
		w.waited += s.Await(session.Publisher{
			Session: w.src.Session,
			Gone:    w.src.Gone,
			Pause:   w.src.Pause,
			Waited:  w.waited,
		})
	}
	if must {
		return s.Admit(m)
	}
	return s.Reserve(m) || s.Expire(time.Now()) && s.Reserve(m)
}

// wait waits for capacity in an output buffer, within w.patience; false if there is none.
func (w *work) wait(out *outbuf.Buffer) bool {
	if out == nil || out.HasCapacity() {
		return out != nil
	}
	if w.src.Pause != nil {
		w.src.Pause()
	}
	began := time.Now()
	ok := out.WaitCapacity(w.patience)
	w.patience = max(0, w.patience-time.Since(began))
	return ok
}

func (p *Plane) deliver(w *work, s *session.Session, d session.Delivery, ack *session.Ack) session.Outcome {
	o := s.Deliver(d, ack)
	// Full is of QoS 0 only. More than once, because other publishers may take the
	// capacity that becomes free.
	for o == session.Full && w.wait(s.Buffer()) {
		o = s.Deliver(d, ack)
	}
	return p.counted(o)
}

// counted counts the outcome of a delivery.
func (p *Plane) counted(o session.Outcome) session.Outcome {
	if o == session.Full {
		p.c.Drop("slow-receiver-qos0")
	}
	switch o {
	case session.Delivered:
		p.c.Delivered()
	case session.Denied:
		p.c.Denied()
	}
	return o
}

// Redeliver gives a message of a shared subscription, whose member has gone
// without acknowledging it, to another one of the group.
func (p *Plane) Redeliver(gone *session.Sub, m *message.Message) {
	if !m.Expires.IsZero() && !time.Now().Before(m.Expires) {
		p.c.Drop("expired")
		return
	}
	w := &work{} // without patience it waits for nobody; without Gen the publisher is decided again
	if n, ok := p.index.Load().Get(gone.Inner); ok {
		for _, g := range n.shares {
			if g.group != gone.Group {
				continue
			}
			// Nobody loses anything for what another one left: by disconnect its end
			// would leave more, and end the next one.
			k := pick{g: g, turn: int(g.turn.Add(1)), spent: true}
			p.pick(w, &k, m)
			p.deliverShared(w, &k, m, nil)
			return
		}
	}
	p.c.Drop("no-member-of-share")
}

// deliverShared delivers m to the member that was picked. If none was, or that one
// cannot have m any more, it goes to another member that may receive it now: a
// connected one first, and one with capacity before one that loses a delivery for it (forced).
func (p *Plane) deliverShared(w *work, k *pick, m *message.Message, ack *session.Ack) {
	if k.s != nil && p.deliver(w, k.s, k.d, ack) == session.Delivered {
		return
	}
	for sub := range k.members() {
		d := w.src.to(sub, m)
		if sub.Session == k.s || d.QoS > 0 && !p.reserveIn(w, sub.Session, m, false) {
			continue
		}
		if p.deliver(w, sub.Session, d, ack) == session.Delivered {
			return
		}
	}
	if p.forced(w, k, m) && p.deliver(w, k.s, k.d, ack) == session.Delivered {
		return
	}
	p.c.Drop("no-member-of-share")
}
