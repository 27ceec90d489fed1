package plane

import (
	"sync"

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
}

type target struct {
	s *session.Session
	d session.Delivery
}

type work struct {
	nodes   []*filterNode
	targets []target
}

var works = sync.Pool{New: func() any { return new(work) }}

// Publish takes m, which has been decided, to everybody who may receive it
// now, and stores it if it is retained. A code other than success: it was
// refused and nobody got it. ack may be nil.
func (p *Plane) Publish(src Source, m *message.Message, ack *session.Ack) (code byte) {
	if m.Retain {
		if code := p.retain(m, ack); code != message.Success {
			return code
		}
	}
	w := works.Get().(*work)
	defer w.give()
	p.index.Load().Subscribed(m.Topic, func(n *filterNode) { w.nodes = append(w.nodes, n) })
	if len(w.nodes) == 0 {
		return message.Success
	}
	w.collect(src.Session, m)
	if m.QoS > 0 && !p.reserve(src, w.targets) {
		p.c.Drop("queue-full-refused")
		return message.QuotaExceeded
	}
	for i := range w.targets {
		if t := &w.targets[i]; t.s != nil {
			p.deliver(src, t.s, t.d, ack)
		}
	}
	for _, n := range w.nodes {
		for _, g := range n.shares {
			p.deliverShared(src, g, m, ack)
		}
	}
	return message.Success
}

func (w *work) give() {
	clear(w.nodes)
	clear(w.targets)
	w.nodes, w.targets = w.nodes[:0], w.targets[:0]
	works.Put(w)
}

// collect merges what matched into one delivery for each session: the highest
// QoS granted and every subscription identifier (OASIS MQTT 5.0, 3.3.4).
func (w *work) collect(from *session.Session, m *message.Message) {
	var at map[*session.Session]int
	if len(w.nodes) > 1 {
		at = map[*session.Session]int{}
	}
	for _, n := range w.nodes {
		for _, sub := range n.subs {
			if sub.Suspended() || sub.NoLocal && sub.Session == from {
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
			w.targets = append(w.targets, target{sub.Session, deliveryTo(sub, m)})
		}
	}
}

func deliveryTo(sub *session.Sub, m *message.Message) session.Delivery {
	d := session.Delivery{Message: m, Sub: sub, QoS: min(m.QoS, sub.QoS), Retain: m.Retain && sub.RetainAsPublished}
	if sub.ID != 0 {
		d.SubIDs = []uint32{sub.ID}
	}
	return d
}

// reserve takes room in every queue that is needed, or in none. A receiver
// that may not have the message anyway needs none, however full it is.
func (p *Plane) reserve(src Source, targets []target) bool {
	for i := range targets {
		t := &targets[i]
		if t.d.QoS == 0 {
			continue
		}
		if p.room(src, t.s, t.d.Message) {
			continue
		}
		if !t.s.MayReceive(t.d.Message) {
			t.s = nil
			continue
		}
		for j := range targets[:i] {
			if back := &targets[j]; back.s != nil && back.d.QoS > 0 {
				back.s.Release(back.d.Message)
			}
		}
		return false
	}
	return true
}

// room reserves, and slows the publisher down when the receiver falls behind.
func (p *Plane) room(src Source, s *session.Session, m *message.Message) bool {
	out, crowded := s.Crowded()
	if crowded {
		src.wait(out)
	}
	return s.Reserve(m)
}

func (src Source) wait(out *outbuf.Buffer) bool {
	if out == nil || out.Room() {
		return out != nil
	}
	if src.Pause != nil {
		src.Pause()
	}
	return out.WaitRoom()
}

func (p *Plane) deliver(src Source, s *session.Session, d session.Delivery, ack *session.Ack) session.Outcome {
	o := s.Deliver(d, ack)
	// QoS 0 only. While the receiver reads there is room again and again, and
	// other publishers may take it first.
	for o == session.Full && src.wait(s.Buffer()) {
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
func (p *Plane) deliverShared(src Source, g *share, m *message.Message, ack *session.Ack) {
	turn := int(g.turn.Add(1))
	for _, offline := range []bool{false, true} {
		for i := range g.members {
			sub := g.members[(turn+i)%len(g.members)]
			if sub.Suspended() || (sub.Session.Buffer() == nil) != offline {
				continue
			}
			d := deliveryTo(sub, m)
			if d.QoS > 0 && !p.room(src, sub.Session, m) {
				continue
			}
			if p.deliver(src, sub.Session, d, ack) == session.Delivered {
				return
			}
		}
	}
	p.c.Drop("no-member-of-share")
}
