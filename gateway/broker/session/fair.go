package session

import (
	"cmp"
	"container/heap"
	"slices"
)

// fair tells which publisher holds most of what a session may drop: its waiting
// deliveries that never got a packet identifier. A session has one from its first
// overflow until its queue is empty, so that others pay nothing for it. It is
// guarded by the mu of its session.
type fair struct {
	of   func(*Entry) string // principal key of the publisher
	by   map[string]*part    // by principal key of the publisher
	heap parts
}

// part is what one publisher holds.
type part struct {
	key     string
	entries []*Entry // in order of seq; the first one and at least half of all are counted
	live    int      // how many of entries are counted
	bytes   int64    // of those that are counted
	at      int      // in the heap
}

// parts is a heap whose first element is the next to lose: the one with most bytes,
// and of several the one with the oldest delivery.
type parts []*part

func (h parts) Len() int { return len(h) }
func (h parts) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[j].bytes, h[i].bytes), bySeq(h[i].entries[0], h[j].entries[0])) < 0
}

func (h parts) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *parts) Push(x any) {
	p := x.(*part)
	p.at = len(*h)
	*h = append(*h, p)
}

func (h *parts) Pop() any {
	last := len(*h) - 1
	p := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return p
}

func newFair(of func(*Entry) string, waiting ...[]*Entry) *fair {
	f := &fair{of: of, by: map[string]*part{}}
	all := slices.Concat(waiting...)
	slices.SortFunc(all, bySeq)
	for _, e := range all {
		f.add(e)
	}
	return f
}

// add counts a delivery that waits, unless it has an identifier; f may be nil.
func (f *fair) add(e *Entry) {
	if f == nil || e.numbered() {
		return
	}
	e.counted = true
	key := f.of(e)
	p := f.by[key]
	if p == nil {
		p = &part{key: key, entries: []*Entry{e}, live: 1, bytes: int64(e.size)}
		f.by[key] = p
		heap.Push(&f.heap, p)
		return
	}
	p.entries = append(p.entries, e)
	p.live++
	p.bytes += int64(e.size)
	heap.Fix(&f.heap, p.at)
}

// remove takes out a delivery that got an identifier or is gone; f may be nil.
func (f *fair) remove(e *Entry) {
	if f == nil || !e.counted {
		return
	}
	e.counted = false
	p := f.by[f.of(e)]
	p.live--
	p.bytes -= int64(e.size)
	for len(p.entries) > 0 && !p.entries[0].counted {
		p.entries[0] = nil
		p.entries = p.entries[1:]
	}
	if len(p.entries) == 0 {
		delete(f.by, p.key)
		heap.Remove(&f.heap, p.at)
		return
	}
	if p.live*2 < len(p.entries) {
		p.entries = counted(p.entries)
	}
	heap.Fix(&f.heap, p.at)
}

// counted copies the counted ones of entries, so that what is gone can be freed.
func counted(entries []*Entry) []*Entry {
	list := make([]*Entry, 0, len(entries)/2)
	for _, e := range entries {
		if e.counted {
			list = append(list, e)
		}
	}
	return list
}

// oldest is the delivery that is dropped next; nil: none may be.
func (f *fair) oldest() *Entry {
	if len(f.heap) == 0 {
		return nil
	}
	return f.heap[0].entries[0]
}
