package management

import (
	"bytes"
	"iter"
	"slices"

	"github.com/gatehouse/gatehouse/device/space"
)

// table holds rows in the order of their ids. A table is immutable once its
// snapshot is published; a transaction writes to its own clone. One slice of
// pointers, because a clone of 100,000 of them costs less than 0.1 ms and
// every collection is answered in this order anyway.
type table[T any] struct{ rows []row[T] }

type row[T any] struct {
	id space.ID
	v  *T
}

func compareID(a, b space.ID) int { return bytes.Compare(a[:], b[:]) }

func (t table[T]) find(id space.ID) (int, bool) {
	return slices.BinarySearchFunc(t.rows, id, func(r row[T], id space.ID) int { return compareID(r.id, id) })
}

func (t table[T]) get(id space.ID) (*T, bool) {
	i, ok := t.find(id)
	if !ok {
		return nil, false
	}
	return t.rows[i].v, true
}

func (t table[T]) all() iter.Seq2[space.ID, *T] {
	return func(yield func(space.ID, *T) bool) {
		for _, r := range t.rows {
			if !yield(r.id, r.v) {
				return
			}
		}
	}
}

func (t table[T]) len() int { return len(t.rows) }

// edit is a table under change: it clones on the first write only.
type edit[T any] struct {
	table[T]
	owned bool
}

func (e *edit[T]) own() {
	if !e.owned {
		e.rows, e.owned = slices.Clone(e.rows), true
	}
}

func (e *edit[T]) put(id space.ID, v *T) {
	e.own()
	i, ok := e.find(id)
	if ok {
		e.rows[i].v = v
	} else {
		e.rows = slices.Insert(e.rows, i, row[T]{id, v})
	}
}

func (e *edit[T]) remove(id space.ID) {
	if i, ok := e.find(id); ok {
		e.own()
		e.rows = slices.Delete(e.rows, i, i+1)
	}
}
