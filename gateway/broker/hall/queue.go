package hall

import "container/heap"

// queue is a heap of which any item can be moved or removed, not only the first: each knows its
// place in it. Every change costs the logarithm of its length.
type queue[T any] struct {
	items  []T
	before func(a, b T) bool
	place  func(T) *int // where an item keeps its place
}

// top is the first item; ok is false if there is none.
func (q *queue[T]) top() (first T, ok bool) {
	if len(q.items) == 0 {
		return first, false
	}
	return q.items[0], true
}

func (q *queue[T]) add(x T)    { heap.Push(q, x) }
func (q *queue[T]) remove(x T) { heap.Remove(q, *q.place(x)) }
func (q *queue[T]) moved(x T)  { heap.Fix(q, *q.place(x)) }

// first returns the first n items in order, without changing the heap: a child never
// comes before its parent, so only the children of what was taken have to be compared.
func (q *queue[T]) first(n int) []T {
	var list []T
	open := []int{0}
	for len(list) < n && len(open) > 0 {
		best := -1
		for i, at := range open {
			if at < len(q.items) && (best < 0 || q.before(q.items[at], q.items[open[best]])) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		at := open[best]
		list = append(list, q.items[at])
		open[best] = 2*at + 1
		open = append(open, 2*at+2)
	}
	return list
}

// Len, Less, Swap, Push and Pop are for container/heap.
func (q *queue[T]) Len() int           { return len(q.items) }
func (q *queue[T]) Less(i, j int) bool { return q.before(q.items[i], q.items[j]) }

func (q *queue[T]) Swap(i, j int) {
	q.items[i], q.items[j] = q.items[j], q.items[i]
	*q.place(q.items[i]), *q.place(q.items[j]) = i, j
}

func (q *queue[T]) Push(x any) {
	item, _ := x.(T)
	*q.place(item) = len(q.items)
	q.items = append(q.items, item)
}

func (q *queue[T]) Pop() any {
	var none T
	last := len(q.items) - 1
	x := q.items[last]
	q.items[last] = none // so that the array does not keep it
	q.items = q.items[:last]
	return x
}
