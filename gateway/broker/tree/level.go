package tree

import (
	"hash/maphash"
	"math/bits"
	"slices"
)

// level is the children of one node: a persistent hash trie with sixteen
// slots a step. A nil level is empty, which is what nearly all nodes of a tree
// have. Names with the same 64-bit hash are in one bucket, which is searched
// linearly.
//
// A generic map of the same build measures the same here, but nothing else
// would use it: authz/array.go, device/shardedmap.go and sync/management/rows.go
// each hold a copy-on-write container too, and say by how much the trie is slower
// for what they do.
type level[V any] struct {
	used   uint16
	slots  []slot[V]
	bucket []entry[V] // only at maxShift
}

// slot is an entry, or, when deeper is set, the node of the next four bits of the hash.
type slot[V any] struct {
	entry[V]
	deeper *level[V]
}

type entry[V any] struct {
	name string
	node *node[V]
}

const (
	step     = 4
	maxShift = 64
)

// seed differs in each process and never changes, so that nobody outside can choose names
// that collide.
var seed = maphash.MakeSeed()

func hash(name string) uint64 { return maphash.String(seed, name) }

func (l *level[V]) get(name string) *node[V] {
	if l == nil {
		return nil
	}
	h := hash(name)
	for shift := 0; l != nil; shift += step {
		if shift >= maxShift {
			for _, e := range l.bucket {
				if e.name == name {
					return e.node
				}
			}
			return nil
		}
		bit := uint16(1) << (h >> shift & 15)
		if l.used&bit == 0 {
			return nil
		}
		s := &l.slots[bits.OnesCount16(l.used&(bit-1))]
		if s.deeper == nil {
			if s.name == name {
				return s.node
			}
			return nil
		}
		l = s.deeper
	}
	return nil
}

func (l *level[V]) with(name string, n *node[V]) *level[V] {
	return l.put(entry[V]{name, n}, hash(name), 0)
}

func (l *level[V]) put(e entry[V], h uint64, shift int) *level[V] {
	c := &level[V]{}
	if l != nil {
		*c = *l
	}
	if shift >= maxShift {
		c.bucket = slices.Clone(c.bucket)
		for i := range c.bucket {
			if c.bucket[i].name == e.name {
				c.bucket[i] = e
				return c
			}
		}
		c.bucket = append(c.bucket, e)
		return c
	}
	bit := uint16(1) << (h >> shift & 15)
	i := bits.OnesCount16(c.used & (bit - 1))
	if c.used&bit == 0 {
		c.used |= bit
		c.slots = slices.Insert(slices.Clone(c.slots), i, slot[V]{entry: e})
		return c
	}
	c.slots = slices.Clone(c.slots)
	s := &c.slots[i]
	switch {
	case s.deeper != nil:
		s.deeper = s.deeper.put(e, h, shift+step)
	case s.name == e.name:
		s.entry = e
	default:
		below := (*level[V])(nil).put(s.entry, hash(s.name), shift+step)
		*s = slot[V]{deeper: below.put(e, h, shift+step)}
	}
	return c
}

func (l *level[V]) without(name string) *level[V] { return l.del(name, hash(name), 0) }

func (l *level[V]) del(name string, h uint64, shift int) *level[V] {
	if l == nil {
		return nil
	}
	c := *l
	if shift >= maxShift {
		c.bucket = slices.DeleteFunc(slices.Clone(c.bucket), func(e entry[V]) bool { return e.name == name })
		if len(c.bucket) == 0 {
			return nil
		}
		return &c
	}
	bit := uint16(1) << (h >> shift & 15)
	if c.used&bit == 0 {
		return l
	}
	i := bits.OnesCount16(c.used & (bit - 1))
	s := c.slots[i]
	if s.deeper != nil {
		s.deeper = s.deeper.del(name, h, shift+step)
		if s.deeper != nil {
			c.slots = slices.Clone(c.slots)
			c.slots[i] = s
			return &c
		}
	} else if s.name != name {
		return l
	}
	if len(c.slots) == 1 {
		return nil
	}
	c.used &^= bit
	c.slots = slices.Delete(slices.Clone(c.slots), i, i+1)
	return &c
}

func (l *level[V]) each(visit func(name string, n *node[V]) bool) bool {
	if l == nil {
		return true
	}
	for _, e := range l.bucket {
		if !visit(e.name, e.node) {
			return false
		}
	}
	for i := range l.slots {
		s := &l.slots[i]
		if s.deeper != nil {
			if !s.deeper.each(visit) {
				return false
			}
		} else if !visit(s.name, s.node) {
			return false
		}
	}
	return true
}
