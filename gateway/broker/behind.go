package broker

import "sync"

// maxBehind is how many bytes of publishes wait for receivers, for one connection, before
// the connection is not read any more.
const maxBehind = 256 << 10

// heldBytes is what one of them takes beside its message, roughly.
const heldBytes = 256

// behind are the publishes of one connection that wait for a receiver whose queue is nearly
// full, or for acknowledgements of earlier ones of the same connection, and those that came after
// them, in order (docs/spec/semantics.md 6.4). They are
// carried by a goroutine of their own, so that the reader goes on: the acknowledgements of
// the same client free its own queue, and a PINGREQ is answered. Publishes of MQTT 5 of QoS 1
// and 2 are bounded by the window, and all by maxBehind.
type behind struct {
	c *conn

	mu      sync.Mutex // guards the fields below
	list    []held
	bytes   int64
	running bool          // run does
	fewer   chan struct{} // closed when the list gets shorter; nil: the reader does not wait
}

type held struct {
	size int64
	run  func()
}

// busy tells whether publishes wait. Only the reader lets one begin to, so for the reader the
// answer that none does stays true.
func (w *behind) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.running
}

// add puts a publish behind those that wait; false: none does.
func (w *behind) add(size int64, run func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.running {
		return false
	}
	w.list = append(w.list, held{size + heldBytes, run})
	w.bytes += size + heldBytes
	return true
}

// begin lets a publish wait. It is called by the reader, when nothing waits.
func (w *behind) begin(size int64, run func()) {
	if !w.c.b.join() { // the broker stops, and nobody is waited for any more
		run()
		return
	}
	w.mu.Lock()
	w.running = true
	w.list = append(w.list, held{size + heldBytes, run})
	w.bytes += size + heldBytes
	w.mu.Unlock()
	go w.run()
}

// run carries what waits until nothing does. When the connection ends it waits for no
// receiver any more, and what has come before the end is carried.
func (w *behind) run() {
	defer w.c.b.conns.Done()
	for {
		w.mu.Lock()
		if len(w.list) == 0 {
			w.list, w.running = nil, false
			w.shorter()
			w.mu.Unlock()
			return
		}
		first := w.list[0]
		w.mu.Unlock()
		w.carry(first)
		w.mu.Lock()
		w.list[0] = held{}
		w.list = w.list[1:]
		w.bytes -= first.size
		w.shorter()
		w.mu.Unlock()
	}
}

// carry runs one publish; a panic ends the connection, not the daemon (B24).
func (w *behind) carry(first held) {
	defer w.c.b.guard("publish", func() error {
		w.c.end(cause{reason: "internal error", keepWill: true})
		return nil
	})
	first.run()
}

// shorter tells the reader that the list has got shorter; w.mu is held.
func (w *behind) shorter() {
	if w.fewer != nil {
		close(w.fewer)
		w.fewer = nil
	}
}

// bound holds the reader back while more than maxBehind bytes wait.
func (w *behind) bound() {
	c := w.c
	for {
		w.mu.Lock()
		if w.bytes <= maxBehind {
			w.mu.Unlock()
			return
		}
		if w.fewer == nil {
			w.fewer = make(chan struct{})
		}
		fewer := w.fewer
		w.mu.Unlock()
		c.out.Uncork()
		c.sess.Paused(true)
		select {
		case <-fewer:
		case <-c.ended:
		}
		c.sess.Paused(false)
		if c.isOver() {
			return
		}
	}
}
