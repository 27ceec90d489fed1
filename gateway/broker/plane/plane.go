// Package plane is the message plane: it finds the sessions that receive a
// message, delivers it to them, and keeps retained messages.
//
// Concurrency. The subscription index and the retained store are immutable
// trees behind atomic pointers. Publishers read them without a lock; changes
// are serialised. Publish runs on the publisher's own goroutine and may wait there
// for slow receivers, which slows the publisher down: for output buffers at most
// Config.Stall, for all its receivers together, and besides for receivers that read
// more slowly than it publishes (session.Session.Await).
//
// Ordering. What one goroutine publishes reaches each receiver in that order. A
// retained message never reaches a subscriber after the message that replaced it:
// retained.mu, which is taken before a Session.mu, is held while it is delivered.
//
// Durability. A publish is acknowledged (session.Ack) when the outbox has stored it,
// when it is stored for every persistent session that receives it with QoS 1 or 2, and
// when it is stored as retained, if it is to be. The acknowledgement never depends on a
// receiver whose queue is full.
package plane

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/broker/tree"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// Retained stores the retained messages, one for each topic. done may be nil; for
// when and where it runs, see session.Sessions.
type Retained interface {
	LoadRetained(yield func(*message.Message) error) error
	Retain(m *message.Message, done func(error))
	Unretain(topic string, done func(error))
}

// Config of a Plane. Everything but System must be set.
type Config struct {
	Access           session.Access
	Retained         Retained
	MaxRetained      int
	MaxRetainedBytes int64
	Stall            time.Duration       // how long one publish may wait, for all its receivers together
	Drop             func(reason string) // counts a message or a delivery that is dropped
	Denied           func()              // counts a delivery that was denied
	Delivered        func()
	// System makes the messages that want accepts of those that a new subscription gets as if they
	// were retained, although they are in no store; want looks at topic and publisher. Nil: there are none.
	System func(want func(*message.Message) bool) []*message.Message
}

// Plane is the message plane.
type Plane struct {
	c Config

	mu    sync.Mutex                             // serialises changes of index
	index atomic.Pointer[tree.Tree[*filterNode]] // subscriptions by filter; read without mu

	kept   retained
	judges judges
}

// New makes a plane without subscriptions.
func New(c Config) *Plane {
	p := &Plane{c: c}
	p.index.Store(&tree.Tree[*filterNode]{})
	p.kept.index.Store(&tree.Tree[*message.Message]{})
	p.judges.access = c.Access
	return p
}

// filterNode holds the subscriptions to one filter. It is immutable.
type filterNode struct {
	subs   []*session.Sub
	shares []*share
}

// share is one group of a shared subscription. It is immutable except for turn, which says
// which member receives the next message.
type share struct {
	group   string
	members []*session.Sub
	turn    *atomic.Uint32
}

// Add puts a subscription into the index, in place of old if that is not nil. Private
// subscriptions must not be added, because only messages of the gateway itself (Send) may
// reach them.
func (p *Plane) Add(sub, old *session.Sub) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := *p.index.Load()
	if old != nil && !old.Private {
		t = without(t, old)
	}
	if sub != nil && !sub.Private {
		t = with(t, sub)
	}
	p.index.Store(&t)
}

// Remove takes subscriptions out of the index.
func (p *Plane) Remove(subs ...*session.Sub) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := *p.index.Load()
	for _, sub := range subs {
		if !sub.Private {
			t = without(t, sub)
		}
	}
	p.index.Store(&t)
}

func with(t tree.Tree[*filterNode], sub *session.Sub) tree.Tree[*filterNode] {
	n := filterNode{}
	if old, ok := t.Get(sub.Inner); ok {
		n = *old
	}
	if sub.Group == "" {
		n.subs = append(slices.Clone(n.subs), sub)
		return t.Put(sub.Inner, &n)
	}
	n.shares = slices.Clone(n.shares)
	for i, g := range n.shares {
		if g.group == sub.Group {
			n.shares[i] = &share{g.group, append(slices.Clone(g.members), sub), g.turn}
			return t.Put(sub.Inner, &n)
		}
	}
	n.shares = append(n.shares, &share{sub.Group, []*session.Sub{sub}, &atomic.Uint32{}})
	return t.Put(sub.Inner, &n)
}

func without(t tree.Tree[*filterNode], sub *session.Sub) tree.Tree[*filterNode] {
	old, ok := t.Get(sub.Inner)
	if !ok {
		return t
	}
	n := *old
	gone := func(s *session.Sub) bool { return s == sub }
	if sub.Group == "" {
		n.subs = slices.DeleteFunc(slices.Clone(n.subs), gone)
	} else {
		n.shares = slices.Clone(n.shares)
		for i, g := range n.shares {
			if g.group != sub.Group {
				continue
			}
			members := slices.DeleteFunc(slices.Clone(g.members), gone)
			if len(members) == 0 {
				n.shares = slices.Delete(n.shares, i, i+1)
			} else {
				n.shares[i] = &share{g.group, members, g.turn}
			}
			break
		}
	}
	if len(n.subs)+len(n.shares) == 0 {
		return t.Delete(sub.Inner)
	}
	return t.Put(sub.Inner, &n)
}
