package broker

import "sync"

// maxBehind is how many bytes of one connection's publishes may be in behind. While there are
// more, the connection is not read.
const maxBehind = 256 << 10

// heldBytes is roughly what a publish in behind takes in addition to its message.
const heldBytes = 256

// behind is a list, in order, of one connection's publishes that wait: for a receiver whose queue
// is nearly full, for the acknowledgement of earlier publishes of the connection, or behind one
// that does (docs/spec/semantics.md 6.4). A goroutine of its own carries them, so that the reader
// goes on: it must read the acknowledgements by which the same client frees its own queue, and
// answer PINGREQ. The receive maximum bounds an MQTT 5 client's publishes of QoS 1 and 2, and
// maxBehind bounds all.
type behind struct {
	c *conn

	mu      sync.Mutex // guards the fields below
	list    []held
	bytes   int64
	running bool          // a goroutine executes run
	fewer   chan struct{} // closed when list gets shorter; nil: the reader does not wait
}

type held struct {
	size int64
	run  func()
}

// busy tells whether publishes wait. Only the reader calls begin, so if the reader is told that
// none waits, none does until the reader itself calls begin.
func (w *behind) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.running
}

// add appends a publish to those that wait. It returns false, and adds nothing, if none waits.
func (w *behind) add(size int64, run func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.running {
		return false
	}
	w.push(size, run)
	return true
}

// push appends a publish; w.mu is held.
func (w *behind) push(size int64, run func()) {
	w.list = append(w.list, held{size + heldBytes, run})
	w.bytes += size + heldBytes
}

// begin lets a publish wait and starts the goroutine that carries it. Only the reader calls it,
// when no publish waits.
func (w *behind) begin(size int64, run func()) {
	if !w.c.b.join() { // the broker stops, and no goroutine may be added to those that it waits for
		run()
		return
	}
	w.mu.Lock()
	w.running = true
	w.push(size, run)
	w.mu.Unlock()
	go w.run()
}

// run carries the waiting publishes, one after the other, until the list is empty. After the
// connection has ended a publish waits for no receiver any more, but is still carried, because
// it came before the end.
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

// shorter wakes the reader, if it waits in bound; w.mu is held.
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
