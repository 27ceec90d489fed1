package session

import (
	"cmp"
	"slices"
)

// queue is a double-ended queue of entries in order of seq.
type queue struct {
	list []*Entry
	head int // index of the first entry, which is never one that was removed
	gone int // how many removed entries are still in list, until it is compacted
}

func (q *queue) len() int      { return len(q.list) - q.head - q.gone }
func (q *queue) front() *Entry { return q.list[q.head] }
func (q *queue) push(e *Entry) { q.list = append(q.list, e) }

// each lists the entries. The list is valid until the queue changes.
func (q *queue) each() []*Entry {
	if q.gone > 0 {
		q.filter(func(*Entry) bool { return true })
	}
	return q.list[q.head:]
}

// remove removes an entry, wherever in the queue it is.
func (q *queue) remove(e *Entry) {
	if q.front() == e {
		q.pop()
		return
	}
	e.gone = true
	if q.gone++; q.gone > 64 && q.gone*2 > len(q.list) {
		q.each()
	}
}

func (q *queue) pop() {
	q.list[q.head] = nil
	q.head++
	for q.head < len(q.list) && q.list[q.head].gone {
		q.list[q.head] = nil
		q.head++
		q.gone--
	}
	switch {
	case q.head == len(q.list):
		q.list, q.head = nil, 0
	case q.head > 64 && q.head*2 > len(q.list):
		n := copy(q.list, q.list[q.head:])
		clear(q.list[n:])
		q.list, q.head = q.list[:n], 0
	}
}

// putBack puts entries that were taken out back into their places, by seq.
func (q *queue) putBack(back []*Entry) {
	if len(back) == 0 {
		return
	}
	all := slices.Concat(back, q.each())
	slices.SortFunc(all, bySeq)
	q.list, q.head, q.gone = all, 0, 0
}

// filter drops the entries for which keep is false.
func (q *queue) filter(keep func(*Entry) bool) {
	kept := make([]*Entry, 0, q.len())
	for _, e := range q.list[q.head:] {
		if !e.gone && keep(e) {
			kept = append(kept, e)
		}
	}
	q.list, q.head, q.gone = kept, 0, 0
}

func bySeq(a, b *Entry) int { return cmp.Compare(a.seq, b.seq) }
