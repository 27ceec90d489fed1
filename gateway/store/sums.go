package store

import (
	"encoding/binary"
	"fmt"
	"maps"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Sums of the outbox. For each stream a small record says how many messages are stored,
// how large they are, and their digest. It is written by the transaction that adds or
// removes messages, and is itself in the digest of the head. A start therefore
// knows what waits without reading it, which takes seconds for a million.

// boxSum is what is known of a stream without reading it.
type boxSum struct {
	count uint64
	bytes int64  // sum of StoredOutgoing.Size
	space uint64 // sum of summary.size
	// last is the highest number of the stream, or a higher one whose message was removed.
	last   uint64
	digest sum
}

// boxSums are the streams in which something is stored.
type boxSums map[message.StreamID]boxSum

const boxSumSize = 6 * 8

// afterOutbox is the first key behind those of the outbox.
const afterOutbox = "p"

func sumsKey(id message.StreamID) string { return nsSums + string(id[:]) }

func isSums[K string | []byte](key K) bool {
	return len(key) == len(nsSums)+len(message.StreamID{}) && key[0] == nsSums[0]
}

func (s boxSum) encode() []byte {
	b := make([]byte, 0, boxSumSize)
	for _, v := range [...]uint64{s.count, uint64(s.bytes), s.space, s.last, s.digest[0], s.digest[1]} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func (x boxSums) read(key, value []byte) error {
	if len(value) != boxSumSize {
		return fmt.Errorf("%w: the sum of a stream has %d bytes", ErrCorrupt, len(value))
	}
	v := func(i int) uint64 { return binary.BigEndian.Uint64(value[8*i:]) }
	var id message.StreamID
	copy(id[:], key[len(nsSums):])
	x[id] = boxSum{v(0), int64(v(1)), v(2), v(3), sum{v(4), v(5)}}
	return nil
}

// add counts a stored record.
func (x boxSums) add(key, value []byte, r summary) {
	id := boxStream(key)
	s := x[id]
	s.count++
	s.bytes += boxSize(value)
	s.space += uint64(r.size)
	s.last = boxSeq(key)
	s.digest = s.digest.plus(r.sum)
	x[id] = s
}

func (x boxSums) count() (n uint64) {
	for _, s := range x {
		n += s.count
	}
	return n
}

func (x boxSums) space() (n uint64) {
	for _, s := range x {
		n += s.space
	}
	return n
}

// compare returns an error if x differs from the sums of the records that were read.
func (x boxSums) compare(read boxSums) error {
	for id := range read {
		if _, ok := x[id]; !ok {
			return fmt.Errorf("%w: %d messages of a stream without a sum", ErrCorrupt, read[id].count)
		}
	}
	for id, s := range x {
		got := read[id]
		if got.last > s.last || got.count != s.count || got.bytes != s.bytes || got.digest != s.digest {
			return fmt.Errorf("%w: a stream has %d messages, its sum says %d (or their content differs)", ErrCorrupt, got.count, s.count)
		}
	}
	return nil
}

// take replaces the sums of the streams that a transaction has changed.
func (x boxSums) take(changed boxSums) {
	for id, s := range changed {
		if s.count == 0 {
			delete(x, id)
		} else {
			x[id] = s
		}
	}
}

// sum brings the sum of a stream up to date for one of its records. If isLive, old and size
// describe the record as it was, size as quotas count; now describes it as it is after the
// operation, and is nil if it is removed.
func (c *change) sum(o op, old summary, size int64, isLive bool, now *summary) {
	id := boxStream(o.key)
	s, ok := c.sums[id]
	if !ok {
		s = c.base.sums[id]
	}
	if isLive {
		s.count--
		s.bytes -= size
		s.space -= uint64(old.size)
		s.digest = s.digest.minus(old.sum)
	}
	if now != nil {
		s.count++
		s.bytes += boxSize(o.value)
		s.space += uint64(now.size)
		s.digest = s.digest.plus(now.sum)
		s.last = max(s.last, boxSeq(o.key))
	}
	if c.sums == nil {
		c.sums = boxSums{}
	}
	c.sums[id] = s
}

// sumUp changes a directory of an earlier release to the layout with sums, in one transaction.
// If there are too many streams for that, the directory stays as it is, and each start reads all of it.
func (b *base) sumUp() error {
	if len(b.sums) > batchCount {
		return nil
	}
	txn := b.db.NewTransaction(true)
	defer txn.Discard()
	c := change{
		base:    b,
		txn:     txn,
		next:    b.head,
		bytes:   b.bytes,
		changed: map[uint64]*summary{},
		sums:    maps.Clone(b.sums),
	}
	for _, s := range b.sums {
		c.next.count -= s.count
		c.next.digest = c.next.digest.minus(s.digest)
	}
	c.next.schema = schemaSums
	for id, s := range b.sums {
		if err := c.apply(op{kind: put, key: sumsKey(id), value: s.encode()}); err != nil {
			return err
		}
	}
	return c.commit()
}
