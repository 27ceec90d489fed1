package broker

import (
	"sync"
	"sync/atomic"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// acks acknowledges the publishes of one connection in the order in which they
// came (OASIS MQTT 5.0, 4.6), whatever the order in which their answers become
// known: many publishes may wait for theirs at once (B10).
type acks struct {
	c *conn

	mu    sync.Mutex    // guards the fields below, and those of every slot
	fifo  []*slot       // publishes whose acknowledgement has not been written, in order
	acks  int           // PUBACKs among them
	held  bool          // a refused 3.1.1 publish is at the head: nothing more is written
	moved chan struct{} // closed when some have been written; nil: nobody waits
}

// slot is the place of one acknowledgement.
type slot struct {
	id    uint16
	kind  byte // frame.PUBACK or frame.PUBREC
	code  byte
	ready bool // code is known
}

// expect takes the next place in the order.
func (a *acks) expect(kind byte, id uint16) *slot {
	s := &slot{id: id, kind: kind}
	a.mu.Lock()
	a.fifo = append(a.fifo, s)
	if kind == frame.PUBACK {
		a.acks++
	}
	a.mu.Unlock()
	return s
}

// answer fills a place and writes every acknowledgement before the first place that
// is still open. Any goroutine may call it.
func (a *acks) answer(s *slot, code byte) {
	c := a.c
	a.mu.Lock()
	defer a.mu.Unlock()
	s.ready, s.code = true, code
	var buf [64]byte
	out := buf[:0]
	n := 0
	for _, s := range a.fifo {
		if !s.ready || a.held {
			break
		}
		// The message was allowed and is not kept, which MQTT 3.1.1 cannot say: the
		// ack is withheld and the reader paused instead (docs/spec/semantics.md 6.3).
		if c.level < 5 && message.Passing(s.code) {
			a.hold()
			break
		}
		out = frame.AppendAck(out, s.kind, s.id, s.code, c.level)
		if s.kind == frame.PUBACK {
			a.acks--
		}
		n++
	}
	if n == 0 {
		return
	}
	rest := copy(a.fifo, a.fifo[n:])
	clear(a.fifo[rest:])
	a.fifo = a.fifo[:rest]
	if rest == 0 {
		a.fifo = nil
	}
	if a.moved != nil {
		close(a.moved)
		a.moved = nil
	}
	c.out.Control(out)
}

// hold withholds everything from here on, and closes the connection after
// RefuseHold; a.mu is held.
func (a *acks) hold() {
	a.held = true
	c := a.c
	c.b.count.drop("refused-3.1.1")
	if c.b.clock.after(c.b.o.RefuseHold, func() {
		c.end(cause{code: message.QuotaExceeded, reason: "publish refused", keepWill: true})
	}) == nil {
		go c.end(cause{code: message.QuotaExceeded, reason: "publish refused", keepWill: true})
	}
}

// full tells whether most publishes or more wait for their acknowledgement, or are
// held. Then next is closed when the next one is written. Both are told at once:
// between two calls the last one could be written, and next would never be closed.
func (a *acks) full(most int) (next <-chan struct{}, full bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.fifo) < most && !a.held {
		return nil, false
	}
	if a.moved == nil {
		a.moved = make(chan struct{})
	}
	return a.moved, true
}

// counts is how many QoS 1 publishes, and how many publishes in all, wait for their
// acknowledgement.
func (a *acks) counts() (ones, all int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.acks, len(a.fifo)
}

// once lets only the first call through.
func once(f func(byte)) func(byte) {
	var called atomic.Bool
	return func(code byte) {
		if called.CompareAndSwap(false, true) {
			f(code)
		}
	}
}
