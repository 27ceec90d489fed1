package device

import (
	"iter"
	"maps"

	"github.com/gatehouse/gatehouse/device/space"
)

const shards = 256

// shardedMap is an immutable map, divided into shards: an edit copies the
// shards that it changes and shares the others, so that one changed record
// costs a 256th of the registry. Readers need no lock.
//
// A hash trie like that of gateway/broker/tree changes a single record of
// 100,000 faster (22 µs instead of 177), but registries are built as a whole
// and then read: there, finding a device by its id takes 1.5 to 2 times as
// long, and building the registry twice as long.
type shardedMap[K comparable, V any] struct {
	slot  func(K) uint8
	shard [shards]map[K]V
}

func (t *shardedMap[K, V]) get(k K) (V, bool) {
	v, ok := t.shard[t.slot(k)][k]
	return v, ok
}

func (t *shardedMap[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, m := range t.shard {
			for k, v := range m {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// edit is a map under change. Not for concurrent use; the map it began with is
// never written.
type edit[K comparable, V any] struct {
	next *shardedMap[K, V]
	own  [shards]bool
}

func edited[K comparable, V any](base *shardedMap[K, V]) *edit[K, V] {
	next := *base
	return &edit[K, V]{next: &next}
}

func (e *edit[K, V]) get(k K) (V, bool) { return e.next.get(k) }

func (e *edit[K, V]) shardOf(k K) map[K]V {
	i := e.next.slot(k)
	if !e.own[i] {
		e.own[i] = true
		m := maps.Clone(e.next.shard[i])
		if m == nil {
			m = make(map[K]V)
		}
		e.next.shard[i] = m
	}
	return e.next.shard[i]
}

func (e *edit[K, V]) set(k K, v V) { e.shardOf(k)[k] = v }

func (e *edit[K, V]) drop(k K) {
	if _, ok := e.next.get(k); ok {
		delete(e.shardOf(k), k)
	}
}

func slotOfID(id space.ID) uint8 {
	var h uint8
	for _, b := range id {
		h = h*31 + b
	}
	return h
}

func slotOfClaim(c claim) uint8 {
	h := uint32(2166136261) ^ uint32(c.kind) // FNV-1a
	for i := range len(c.text) {
		h = (h ^ uint32(c.text[i])) * 16777619
	}
	return uint8(h ^ h>>8 ^ h>>16)
}
