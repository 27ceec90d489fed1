package authz

import "slices"

const (
	blockBits = 5
	blockSize = 1 << blockBits
)

// table is an array in blocks, so that a copy shares the blocks which do not
// change. Its length is fixed.
type table[T any] struct {
	blocks []*[blockSize]T
}

func newTable[T any](size int) table[T] {
	t := table[T]{blocks: make([]*[blockSize]T, (size+blockSize-1)/blockSize)}
	for i := range t.blocks {
		t.blocks[i] = new([blockSize]T)
	}
	return t
}

func (t *table[T]) at(i uint32) *T { return &t.blocks[i>>blockBits][i&(blockSize-1)] }

func (t *table[T]) len() uint32 { return uint32(len(t.blocks)) << blockBits }

// edit is a table under construction from another: what it hands out for
// writing has been copied first.
type edit[T any] struct {
	table[T]
	own []uint64 // bit per block: copied already
}

func (t *table[T]) edit() *edit[T] {
	return &edit[T]{table[T]{slices.Clone(t.blocks)}, make([]uint64, (len(t.blocks)+63)/64)}
}

func (e *edit[T]) mutable(i uint32) *T {
	b := i >> blockBits
	if e.own[b/64]>>(b%64)&1 == 0 {
		clone := *e.blocks[b]
		e.blocks[b] = &clone
		e.own[b/64] |= 1 << (b % 64)
	}
	return e.at(i)
}
