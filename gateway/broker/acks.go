package broker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// acks acknowledges the publishes of one connection in the order in which they
// came (OASIS MQTT 5.0, 4.6), whatever the order in which their reason codes become
// known: many publishes may wait for theirs at once (B10).
type acks struct {
	c *conn

	mu      sync.Mutex    // guards the fields below, and those of every slot
	fifo    []*slot       // publishes whose acknowledgement has not been written, in order
	acks    int           // how many in fifo are PUBACKs
	held    bool          // a refused 3.1.1 publish is at the head: nothing more is written
	moved   chan struct{} // closed when acknowledgements were written or a withheld publish was answered; nil: await does not wait
	carried int           // how many in fifo have carried set

	withheld      int       // publishes that wait for capacity of the outbox
	withheldBytes int64     // their size
	progress      time.Time // when the outbox last answered one of them; before that, when the first one began to wait
	patience      *timer    // calls overdue RefuseHold after progress
}

// slot is the place of one acknowledgement.
type slot struct {
	id      uint16
	kind    byte // frame.PUBACK or frame.PUBREC
	code    byte
	ready   bool  // code is known
	carried bool  // admit has counted the publish: the plane has it, or gets it without waiting for others of its connection
	waits   int64 // bytes of the publish, if it waits for capacity of the outbox
}

// expect appends a slot for a publish that has just come.
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

// answer sets the reason code of s, and writes every acknowledgement that comes before
// the first slot without a code. Any goroutine may call it.
func (a *acks) answer(s *slot, code byte) {
	c := a.c
	a.mu.Lock()
	defer a.mu.Unlock()
	s.ready, s.code = true, code
	if s.waits > 0 {
		a.withheld--
		a.withheldBytes -= s.waits
		s.waits = 0
		a.progress = time.Now()
		a.stirred()
	}
	var buf [64]byte
	out := buf[:0]
	n := 0
	for _, s := range a.fifo {
		if !s.ready || a.held {
			break
		}
		// The message was allowed, but is not kept. MQTT 3.1.1 has no reason code for
		// that: the acknowledgement is withheld and the reader paused instead
		// (docs/spec/semantics.md 6.3).
		if c.level < 5 && message.Passing(s.code) {
			a.hold()
			break
		}
		out = frame.AppendAck(out, s.kind, s.id, s.code, c.level)
		if s.kind == frame.PUBACK {
			a.acks--
		}
		if s.carried {
			a.carried--
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
	a.stirred()
	c.out.Control(out)
}

// stirred wakes await; a.mu is held.
func (a *acks) stirred() {
	if a.moved != nil {
		close(a.moved)
		a.moved = nil
	}
}

// withhold notes that a publish of size bytes waits for capacity of the outbox. If the
// outbox answers none of the waiting publishes for RefuseHold, overdue closes the
// connection.
func (a *acks) withhold(s *slot, size int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.ready || s.waits > 0 {
		return
	}
	s.waits = max(size, 1)
	a.withheldBytes += s.waits
	if a.withheld++; a.withheld == 1 {
		a.progress = time.Now()
	}
	if a.patience == nil {
		a.patience = a.c.b.clock.after(a.c.b.o.RefuseHold, a.overdue)
	}
}

// overdue ends the connection if publishes wait and the outbox has answered none of them
// for RefuseHold; otherwise it runs again when that may be so.
func (a *acks) overdue() {
	a.mu.Lock()
	c := a.c
	a.patience = nil
	left := c.b.o.RefuseHold - time.Since(a.progress)
	over := a.withheld > 0 && left <= 0
	if a.withheld > 0 && !over {
		a.patience = c.b.clock.after(left, a.overdue)
	}
	a.mu.Unlock()
	if over {
		c.b.count.drop("refused-after-waiting")
		c.end(cause{code: message.QuotaExceeded, reason: "no capacity upstream", keepWill: true})
	}
}

// close cancels the timer that calls overdue.
func (a *acks) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.c.b.clock.cancel(a.patience)
	a.patience = nil
}

// hold writes no acknowledgement any more, and closes the connection after RefuseHold;
// a.mu is held.
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

// admit lets the publish of s go to the plane, and counts it as carried until it is acknowledged.
// It refuses while ReceiveMaximum publishes are counted, while those that wait for the outbox
// have MaxWithheld bytes, or while held is set; next is then closed when that may have changed.
// One call returns both: between two calls the last acknowledgement could be written, and next
// would never be closed. s is nil for QoS 0, which is not acknowledged and always admitted.
func (a *acks) admit(s *slot) (next <-chan struct{}, ok bool) {
	if s == nil {
		return nil, true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.carried {
		return nil, true
	}
	if a.carried < a.c.b.o.ReceiveMaximum && !a.held && a.withheldBytes < message.MaxWithheld {
		s.carried = true
		a.carried++
		return nil, true
	}
	if a.moved == nil {
		a.moved = make(chan struct{})
	}
	return a.moved, false
}

// await waits until admit lets s go, or the connection has ended.
func (a *acks) await(s *slot) {
	for {
		next, ok := a.admit(s)
		if ok {
			return
		}
		select {
		case <-next:
		case <-a.c.ended:
			return
		}
	}
}

// counts is how many QoS 1 publishes, and how many publishes in all, wait for their
// acknowledgement.
func (a *acks) counts() (ones, all int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.acks, len(a.fifo)
}

// once returns a function that passes only its first call on to f.
func once(f func(byte)) func(byte) {
	var called atomic.Bool
	return func(code byte) {
		if called.CompareAndSwap(false, true) {
			f(code)
		}
	}
}
