package session

import (
	"cmp"
	"slices"
)

// queue is a deque of entries in order of seq.
type queue struct {
	list []*Entry
	head int
}

func (q *queue) len() int       { return len(q.list) - q.head }
func (q *queue) front() *Entry  { return q.list[q.head] }
func (q *queue) push(e *Entry)  { q.list = append(q.list, e) }
func (q *queue) each() []*Entry { return q.list[q.head:] }

func (q *queue) pop() {
	q.list[q.head] = nil
	q.head++
	switch {
	case q.head == len(q.list):
		q.list, q.head = nil, 0
	case q.head > 64 && q.head*2 > len(q.list):
		n := copy(q.list, q.list[q.head:])
		clear(q.list[n:])
		q.list, q.head = q.list[:n], 0
	}
}

// putBack merges entries that were taken out earlier back into their places.
func (q *queue) putBack(back []*Entry) {
	if len(back) == 0 {
		return
	}
	all := slices.Concat(back, q.each())
	slices.SortFunc(all, bySeq)
	q.list, q.head = all, 0
}

// filter drops the entries for which keep is false.
func (q *queue) filter(keep func(*Entry) bool) {
	kept := make([]*Entry, 0, q.len())
	for _, e := range q.each() {
		if keep(e) {
			kept = append(kept, e)
		}
	}
	q.list, q.head = kept, 0
}

func bySeq(a, b *Entry) int { return cmp.Compare(a.seq, b.seq) }
