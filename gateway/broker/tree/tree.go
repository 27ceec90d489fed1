// Package tree is an immutable tree over topic levels: the subscription index
// and the retained store are values of it behind one atomic pointer each.
//
// A change copies the path from the root to the changed node and shares
// everything else. So readers need no lock, and a change in a large level (all
// devices of a site) copies a few nodes and not the level. Matching visits only
// nodes that can match. The caller has checked topic names and filters by the
// limits of package topic, which bound the depth of the recursion here.
package tree

import (
	"iter"
	"strings"

	"github.com/gatehouse/gatehouse/gateway/topic"
)

// Tree maps topic names or filters to values. The zero Tree is empty.
type Tree[V any] struct{ root *node[V] }

type node[V any] struct {
	val  V
	has  bool
	kids *level[V]
}

// Get returns the value stored under exactly that text.
func (t Tree[V]) Get(key string) (v V, ok bool) {
	n := t.root
	for more := true; more && n != nil; {
		var name string
		name, key, more = topic.Cut(key)
		n = n.kids.get(name)
	}
	if n == nil || !n.has {
		return v, false
	}
	return n.val, true
}

// Begins reports whether a text in the tree has that first level.
func (t Tree[V]) Begins(first string) bool { return t.root != nil && t.root.kids.get(first) != nil }

// Put returns the tree with v under that text.
func (t Tree[V]) Put(key string, v V) Tree[V] {
	return Tree[V]{t.root.put(key, true, v)}
}

func (n *node[V]) put(rest string, more bool, v V) *node[V] {
	c := node[V]{}
	if n != nil {
		c = *n
	}
	if !more {
		c.val, c.has = v, true
		return &c
	}
	name, rest, more := topic.Cut(rest)
	c.kids = c.kids.with(name, c.kids.get(name).put(rest, more, v))
	return &c
}

// Delete returns the tree without that text.
func (t Tree[V]) Delete(key string) Tree[V] {
	return Tree[V]{t.root.del(key, true)}
}

func (n *node[V]) del(rest string, more bool) *node[V] {
	if n == nil {
		return nil
	}
	c := *n
	if !more {
		var zero V
		c.val, c.has = zero, false
	} else {
		var name string
		name, rest, more = topic.Cut(rest)
		old := c.kids.get(name)
		if old == nil {
			return n
		}
		if kid := old.del(rest, more); kid != nil {
			c.kids = c.kids.with(name, kid)
		} else {
			c.kids = c.kids.without(name)
		}
	}
	if !c.has && c.kids == nil {
		return nil
	}
	return &c
}

// Subscribed calls yield with the value of each filter in the tree that
// matches the topic name.
func (t Tree[V]) Subscribed(name string, yield func(V)) {
	t.root.subscribed(name, true, strings.HasPrefix(name, "$"), yield)
}

func (n *node[V]) subscribed(rest string, more, system bool, yield func(V)) {
	if n == nil {
		return
	}
	if !system {
		if all := n.kids.get("#"); all != nil && all.has {
			yield(all.val) // "a/#" matches "a" as well
		}
	}
	if !more {
		if n.has {
			yield(n.val)
		}
		return
	}
	name, rest, more := topic.Cut(rest)
	n.kids.get(name).subscribed(rest, more, false, yield)
	if !system {
		n.kids.get("+").subscribed(rest, more, false, yield)
	}
}

// Matching yields the values of the topic names in the tree that the filter matches.
func (t Tree[V]) Matching(filter string) iter.Seq[V] {
	return func(yield func(V) bool) { t.root.matching(filter, true, true, yield) }
}

func (n *node[V]) matching(rest string, more, first bool, yield func(V) bool) bool {
	if n == nil {
		return true
	}
	if !more {
		return !n.has || yield(n.val)
	}
	name, rest, more := topic.Cut(rest)
	switch name {
	case "#":
		if n.has && !first && !yield(n.val) {
			return false
		}
		return n.kids.each(func(name string, kid *node[V]) bool {
			return first && strings.HasPrefix(name, "$") || kid.matching("#", true, false, yield)
		})
	case "+":
		return n.kids.each(func(name string, kid *node[V]) bool {
			return first && strings.HasPrefix(name, "$") || kid.matching(rest, more, false, yield)
		})
	}
	return n.kids.get(name).matching(rest, more, false, yield)
}

// All yields every value.
func (t Tree[V]) All() iter.Seq[V] {
	return func(yield func(V) bool) { t.root.all(yield) }
}

func (n *node[V]) all(yield func(V) bool) bool {
	if n == nil {
		return true
	}
	if n.has && !yield(n.val) {
		return false
	}
	return n.kids.each(func(_ string, kid *node[V]) bool { return kid.all(yield) })
}
