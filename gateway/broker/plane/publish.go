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
	Session *session.Session // the publisher's; nil: the gateway itself, or an upstream link
	// Pause, if set, is called before the goroutine waits. It flushes the output that the
	// goroutine has corked, so that this does not wait as well.
	Pause func()
	// MayDefer allows Publish to return without having done anything, if it would otherwise
	// wait for a receiver.
	MayDefer bool
	// Gone is closed when the connection that the message came on ends.
	Gone <-chan struct{}
	// Receiver asks Publish to refuse the message if nobody receives it, because the
	// sender then keeps it and tries again.
	Receiver bool
	// Gen is what session.Store.Now returned before the right to publish was decided.
	Gen uint64
}

// target is one receiver of a publish.
type target struct {
	s *session.Session // nil: it does not get the message, because of its rights or its full queue
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

// work is the state of one call of Publish.
type work struct {
	src     Source
	nodes   []*filterNode
	targets []target
	picks   []pick
	// patience is how long the publisher may still wait. It counts for all receivers
	// together, so that many that do not read hold it up no longer than one (B20).
	patience time.Duration
	// waited is how long it has waited for queues that were nearly full.
	waited time.Duration
}

var works = sync.Pool{New: func() any { return new(work) }}

// Publish delivers m to every session that may receive it now, and stores it if it is to be
// retained and the retained store has capacity. The caller has decided that its publisher may
// publish it. A code other than success is returned only if Source.Receiver is set, and means
// that nobody has received m. ack, which may be nil, then also waits until m is stored where it
// must be. A receiver whose queue is full loses a delivery by its own policy
// (session.Session.Admit); the publisher does not learn of it. deferred means that nothing has
// been done, because a receiver would hold the publisher up (Source.MayDefer).
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
	if src.MayDefer && m.QoS > 0 && w.slowed(m) {
		return 0, true
	}
	if m.QoS > 0 && !p.reserve(w, m) && src.Receiver && !m.Retain {
		return message.QuotaExceeded, false // the sender keeps m and tries again
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

// slowed reports whether a receiver would hold the publisher up.
func (w *work) slowed(m *message.Message) bool {
	for i := range w.targets {
		if t := &w.targets[i]; t.d.QoS > 0 && t.s.Slows(w.src.Session) {
			return true
		}
	}
	for i := range w.picks {
		if m.QoS > 0 && w.slowedBy(&w.picks[i], m) {
			return true
		}
	}
	return false
}

// slowedBy reports whether every connected member of the share that may receive m would hold the
// publisher up, and there is one. A member that would not gets the message.
func (w *work) slowedBy(k *pick, m *message.Message) (slowed bool) {
	for sub, offline := range k.members() {
		if offline {
			break
		}
		if d := w.src.to(sub, m); d.QoS == 0 || !sub.Session.MayReceive(m) {
			continue
		}
		if slowed = sub.Session.Slows(w.src.Session); !slowed {
			return false
		}
	}
	return slowed
}

// maxNoted is the largest length of Sub.Live. A message that is not noted any more may reach its
// subscriber twice, live and as retained.
const maxNoted = 64

// note adds m, which is being stored as retained, to Sub.Live of those receivers for which
// Replay has not looked yet, so that Replay does not deliver it a second time. p.kept.mu is held.
func (w *work) note(m *message.Message) {
	for i := range w.targets {
		if sub := w.targets[i].d.Sub; !sub.Asked && w.targets[i].s != nil && len(sub.Live) < maxNoted {
			sub.Live = append(sub.Live, m)
		}
	}
}

// late adds receivers whose subscriptions entered the index after Publish had searched it, and for
// which Replay looked before m was stored. Without late they would get m neither live nor as
// retained. A subscription for which Replay has not looked yet finds m in the retained store. A
// receiver whose queue is full misses m, as it would in Replay. p.kept.mu is held.
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

// collect merges the matching subscriptions of a session into one delivery, with the highest
// granted QoS and all subscription identifiers (OASIS MQTT 5.0, 3.3.4).
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

// reserve takes quota in the queue of every receiver, and of one member of each share. A
// receiver whose queue has none is left out. reserve returns false if no receiver is left.
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

// pick chooses the member of a share that gets m, and takes quota in its queue. A member whose
// queue is full is passed over while another one has capacity. If all are full, forced chooses. If
// no member may receive m, none is chosen.
func (p *Plane) pick(w *work, k *pick, m *message.Message) {
	for again := true; again; again = w.awaitMember(k, m) {
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
	}
	p.forced(w, k, m)
}

// memberWait is how long a publisher waits for one member of a share before it looks at all again:
// another one may have capacity meanwhile.
const memberWait = 20 * time.Millisecond

// awaitMember holds the publisher up for a member of the share whose client reads, one after the
// other; false: there is none, or the publisher has waited long enough.
func (w *work) awaitMember(k *pick, m *message.Message) bool {
	if w.src.MayDefer {
		return false
	}
	k.turn++
	for sub, offline := range k.members() {
		if offline {
			break
		}
		if d := w.src.to(sub, m); d.QoS == 0 || !sub.Session.MayReceive(m) {
			continue
		}
		waited := sub.Session.Await(session.Publisher{
			Session: w.src.Session,
			Gone:    w.src.Gone,
			Pause:   w.src.Pause,
			Waited:  w.waited,
			Most:    memberWait,
		})
		w.waited += waited
		if waited > 0 {
			return true
		}
	}
	return false
}

// forced makes the first member that may receive m lose a delivery by its overflow policy, so that
// m fits, and chooses this member. It returns false if m does not fit even then. It asks only one
// member, and only once for each message: by drop-newest every member asked would count m as lost,
// and by disconnect every one would lose its session.
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

// members yields the connected members of the share, beginning with the one whose turn it is, and
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

// reserveIn takes quota in the queue of s. If the client of s reads, but slower than messages
// arrive, it first holds the publisher up for a while. With must, s gives up a delivery by its
// overflow policy if its queue is still full.
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

// wait waits for capacity in an output buffer, for w.patience at most. It returns false if there
// is none by then.
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
	// Only a delivery of QoS 0 has the outcome Full. It is tried again, because other
	// publishers may take the capacity that becomes free.
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

// Redeliver delivers a message of a shared subscription to another member of the group, after the
// session of the member that had it ended without acknowledging it.
func (p *Plane) Redeliver(gone *session.Sub, m *message.Message) {
	if !m.Expires.IsZero() && !time.Now().Before(m.Expires) {
		p.c.Drop("expired")
		return
	}
	w := &work{} // patience is zero, so it does not wait; Gen is zero, so the publisher's right is decided again
	if n, ok := p.index.Load().Get(gone.Inner); ok {
		for _, g := range n.shares {
			if g.group != gone.Group {
				continue
			}
			// No member loses a delivery for one that another member left. By disconnect
			// its session would end, leave more messages, and so end the next one.
			k := pick{g: g, turn: int(g.turn.Add(1)), spent: true}
			p.pick(w, &k, m)
			p.deliverShared(w, &k, m, nil)
			return
		}
	}
	p.c.Drop("no-member-of-share")
}

// deliverShared delivers m to the member that was picked. If none was, or this member can no
// longer receive m, it goes to another member that may receive it now: connected members come
// first, and one with capacity before one that loses a delivery for it (forced).
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
