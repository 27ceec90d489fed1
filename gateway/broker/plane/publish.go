package plane

import (
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
	// Gen is the generation of the sessions before the publish was decided.
	Gen uint64
}

type target struct {
	s *session.Session
	d session.Delivery
}

// work is one publish on its way.
type work struct {
	src     Source
	nodes   []*filterNode
	targets []target
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
	p.index.Load().Subscribed(m.Topic, func(n *filterNode) { w.nodes = append(w.nodes, n) })
	if len(w.nodes) > 0 {
		w.collect(m)
	}
	if m.QoS > 0 && !p.reserve(w) {
		p.c.Drop("queue-full-refused")
		return message.QuotaExceeded
	}
	if m.Retain { // what a full queue refuses is not kept either
		if code := p.retain(m, ack); code != message.Success {
			release(w.targets)
			return code
		}
	}
	for i := range w.targets {
		if t := &w.targets[i]; t.s != nil {
			p.deliver(w, t.s, t.d, ack)
		}
	}
	for _, n := range w.nodes {
		for _, g := range n.shares {
			p.deliverShared(w, g, m, ack)
		}
	}
	return message.Success
}

func (w *work) give() {
	clear(w.nodes)
	clear(w.targets)
	w.src, w.nodes, w.targets = Source{}, w.nodes[:0], w.targets[:0]
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
			w.targets = append(w.targets, target{sub.Session, w.src.to(sub, m)})
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

// reserve takes room in every queue that is needed, or in none. A receiver
// that may not have the message anyway needs none, however full it is.
func (p *Plane) reserve(w *work) bool {
	for i := range w.targets {
		t := &w.targets[i]
		if t.d.QoS == 0 {
			continue
		}
		if p.room(w, t.s, t.d.Message) {
			continue
		}
		if !t.s.MayReceive(t.d.Message) {
			t.s = nil
			continue
		}
		release(w.targets[:i])
		return false
	}
	return true
}

func release(targets []target) {
	for i := range targets {
		if t := &targets[i]; t.s != nil && t.d.QoS > 0 {
			t.s.Release(t.d.Message)
		}
	}
}

// room reserves, and slows the publisher down when the receiver falls behind.
func (p *Plane) room(w *work, s *session.Session, m *message.Message) bool {
	out, crowded := s.Crowded()
	if crowded {
		w.wait(out)
	}
	return s.Reserve(m)
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

// deliverShared gives m to one member that may receive it now: to a connected
// one in turn if there is any, else to a queue.
func (p *Plane) deliverShared(w *work, g *share, m *message.Message, ack *session.Ack) {
	turn := int(g.turn.Add(1))
	for _, offline := range []bool{false, true} {
		for i := range g.members {
			sub := g.members[(turn+i)%len(g.members)]
			if sub.Suspended() || (sub.Session.Buffer() == nil) != offline {
				continue
			}
			d := w.src.to(sub, m)
			if d.QoS > 0 && !p.room(w, sub.Session, m) {
				continue
			}
			if p.deliver(w, sub.Session, d, ack) == session.Delivered {
				return
			}
		}
	}
	p.c.Drop("no-member-of-share")
}
