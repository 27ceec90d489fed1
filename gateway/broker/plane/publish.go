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
	// Receiver: whoever sent it keeps it until somebody takes it.
	Receiver bool
	// Gen is the generation of the sessions before the publish was decided.
	Gen uint64
}

type target struct {
	s        *session.Session
	d        session.Delivery
	reserved bool // room in the queue of s is taken for it
}

// pick is the member of a group that gets the message. Without a session none
// has been picked yet.
type pick struct {
	target
	g    *share
	turn int
}

// work is one publish on its way.
type work struct {
	src     Source
	nodes   []*filterNode
	targets []target
	picks   []pick
	// patience is how long the publisher may still wait, for all receivers
	// together: many that do not read hold it up no longer than one.
	patience time.Duration
}

var works = sync.Pool{New: func() any { return new(work) }}

// Publish takes m, which has been decided, to everybody who may receive it
// now, and stores it if it is retained. A code other than success: it was
// refused and nobody got it. ack may be nil.
func (p *Plane) Publish(src Source, m *message.Message, ack *session.Ack) (code byte) {
	w := works.Get().(*work)
	defer w.give()
	w.src, w.patience = src, p.c.Stall
	index := p.index.Load()
	index.Subscribed(m.Topic, func(n *filterNode) { w.nodes = append(w.nodes, n) })
	if len(w.nodes) > 0 {
		w.collect(m)
	}
	if src.Receiver && !m.Retain && len(w.targets)+len(w.picks) == 0 {
		return message.NoMatchingSubscribers
	}
	if m.QoS > 0 && !p.reserve(w, m) {
		w.release()
		p.c.Drop("queue-full-refused")
		return message.QuotaExceeded
	}
	if m.Retain { // what a full queue refuses is not kept either
		if code := p.retain(m, ack, func() {
			w.note(m)
			if p.index.Load() != index {
				p.late(w, m)
			}
		}); code != message.Success {
			w.release()
			return code
		}
	}
	for i := range w.targets {
		if t := &w.targets[i]; t.s != nil {
			p.deliver(w, t.s, t.d, ack)
		}
	}
	for i := range w.picks {
		p.deliverShared(w, &w.picks[i], m, ack)
	}
	return message.Success
}

// maxNoted bounds what is noted of one subscription; past it a message may come
// twice, live and as retained.
const maxNoted = 64

// note tells those who have not read the retained messages yet that m, which is
// being stored, comes to them live.
func (w *work) note(m *message.Message) {
	for i := range w.targets {
		if sub := w.targets[i].d.Sub; !sub.Asked && w.targets[i].s != nil && len(sub.Live) < maxNoted {
			sub.Live = append(sub.Live, m)
		}
	}
}

// late adds those who subscribed after the receivers were found, and read the
// retained messages before m was one. Who has not read them yet will find m
// there: nobody reads while m is being stored. Who has no room misses it, as it
// does when it reads.
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
			w.targets = append(w.targets, target{sub.Session, d, d.QoS > 0})
		}
	})
}

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

func (src Source) to(sub *session.Sub, m *message.Message) session.Delivery {
	d := session.Delivery{Message: m, Sub: sub, QoS: min(m.QoS, sub.QoS), Retain: m.Retain && sub.RetainAsPublished, Gen: src.Gen}
	if sub.ID != 0 {
		d.SubIDs = []uint32{sub.ID}
	}
	return d
}

// reserve takes room in every queue that is needed, and in one of each share.
// A receiver that may not have the message anyway needs none, however full it
// is. After false the caller releases.
func (p *Plane) reserve(w *work, m *message.Message) bool {
	for i := range w.targets {
		t := &w.targets[i]
		if t.d.QoS == 0 || p.room(w, t.s, m) {
			t.reserved = t.d.QoS > 0
			continue
		}
		if t.s.MayReceive(m) {
			return false
		}
		t.s = nil
	}
	for i := range w.picks {
		if !p.pick(w, &w.picks[i], m) {
			return false
		}
	}
	return true
}

// pick chooses the member of a share that gets m, and takes room with it;
// false: some may have m, and none has room. Nobody may have it: no session.
func (p *Plane) pick(w *work, k *pick, m *message.Message) bool {
	full := false
	for sub, offline := range k.members() {
		d := w.src.to(sub, m)
		if offline && d.QoS == 0 || !sub.Session.MayReceive(m) {
			continue
		}
		if d.QoS > 0 && !p.room(w, sub.Session, m) {
			full = true
			continue
		}
		k.target = target{sub.Session, d, d.QoS > 0}
		return true
	}
	return !full
}

// members yields the connected members in turn, and then the others.
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

// release gives back what reserve took.
func (w *work) release() {
	for i := range w.targets {
		w.targets[i].release()
	}
	for i := range w.picks {
		w.picks[i].release()
	}
}

func (t *target) release() {
	if t.reserved {
		t.s.Release(t.d.Message)
	}
}

// room reserves, and slows the publisher down when the receiver falls behind.
func (p *Plane) room(w *work, s *session.Session, m *message.Message) bool {
	out, crowded := s.Crowded()
	if crowded {
		w.wait(out)
	}
	return s.Reserve(m) || s.Expire(time.Now()) && s.Reserve(m)
}

func (w *work) wait(out *outbuf.Buffer) bool {
	if out == nil || out.Room() {
		return out != nil
	}
	if w.src.Pause != nil {
		w.src.Pause()
	}
	began := time.Now()
	ok := out.WaitRoom(w.patience)
	w.patience = max(0, w.patience-time.Since(began))
	return ok
}

func (p *Plane) deliver(w *work, s *session.Session, d session.Delivery, ack *session.Ack) session.Outcome {
	o := s.Deliver(d, ack)
	// QoS 0 only. While the receiver reads there is room again and again, and
	// other publishers may take it first.
	for o == session.Full && w.wait(s.Buffer()) {
		o = s.Deliver(d, ack)
	}
	return p.counted(o)
}

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
	w := &work{} // it waits for nobody; without a generation, the publisher is judged again
	if n, ok := p.index.Load().Get(gone.Inner); ok {
		for _, g := range n.shares {
			if g.group != gone.Group {
				continue
			}
			k := pick{g: g, turn: int(g.turn.Add(1))}
			if p.pick(w, &k, m) {
				p.deliverShared(w, &k, m, nil)
				return
			}
		}
	}
	p.c.Drop("no-member-of-share")
}

// deliverShared gives m to the member that was picked. If there is none, or
// that one cannot have it any more, to one that may receive it now: to a
// connected one in turn if there is any, else to a queue. If then only room is
// missing, the publisher learns it: what was acknowledged would be lost.
func (p *Plane) deliverShared(w *work, k *pick, m *message.Message, ack *session.Ack) {
	if k.s != nil && p.deliver(w, k.s, k.d, ack) == session.Delivered {
		return
	}
	full := false
	for sub := range k.members() {
		d := w.src.to(sub, m)
		if sub.Session == k.s {
			continue
		}
		if d.QoS > 0 && !p.room(w, sub.Session, m) {
			full = full || sub.Session.MayReceive(m)
			continue
		}
		if p.deliver(w, sub.Session, d, ack) == session.Delivered {
			return
		}
	}
	p.c.Drop("no-member-of-share")
	if full && ack != nil {
		ack.Add()
		ack.Done(message.QuotaExceeded)
	}
}
