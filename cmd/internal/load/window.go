package load

import "sync"

// window is the publishes of one connection that are under way at QoS 1 or 2.
// A packet identifier is a place in it, from 1.
type window struct {
	qos byte

	mu      sync.Mutex // guards everything below
	places  []place
	free    []uint16 // identifiers
	refused []uint32 // numbers that were answered with a reason code of 0x80 or above
}

type place struct {
	seq      uint32
	at       int64
	used     bool
	released bool // QoS 2: PUBREC came, PUBREL went
}

func newWindow(n int, qos byte) *window {
	w := &window{qos: qos, places: make([]place, n), free: make([]uint16, n)}
	for i := range n {
		w.free[i] = uint16(n - i)
	}
	return w
}

// take finds a place; 0: there is none.
func (w *window) take(seq uint32, at int64) uint16 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.free)
	if n == 0 {
		return 0
	}
	id := w.free[n-1]
	w.free = w.free[:n-1]
	w.places[id-1] = place{seq: seq, at: at, used: true}
	return id
}

// release notes a PUBREC of success; false: nobody waits for one.
func (w *window) release(id uint16) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if int(id) > len(w.places) || !w.places[id-1].used || w.places[id-1].released {
		return false
	}
	w.places[id-1].released = true
	return true
}

// end gives a place back; false: it was not taken, or not that far.
func (w *window) end(id uint16, refused bool) (at int64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if int(id) > len(w.places) {
		return 0, false
	}
	p := &w.places[id-1]
	if !p.used || w.qos == 2 && !refused && !p.released {
		return 0, false
	}
	at = p.at
	if refused {
		w.refused = append(w.refused, p.seq)
	}
	*p = place{}
	w.free = append(w.free, id)
	return at, true
}

// hasCapacity tells whether enough is free for the writer to be worth waking.
func (w *window) hasCapacity() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return 2*len(w.free) >= len(w.places)
}

// unpromised are the numbers of which the broker did not say that it took them over.
func (w *window) unpromised() map[uint32]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	none := make(map[uint32]bool, len(w.refused))
	for _, seq := range w.refused {
		none[seq] = true
	}
	for i := range w.places {
		if p := &w.places[i]; p.used {
			none[p.seq] = true
		}
	}
	return none
}

// under is how many are under way.
func (w *window) under() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.places) - len(w.free)
}
