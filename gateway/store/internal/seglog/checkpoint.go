package seglog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
)

// A checkpoint says what was removed up to a place of the log, so that a start does not read
// all removals. It is a file of its own, replaced as a whole: the newest two are kept, so that a
// damaged one costs nothing but time. In little-endian order, v stands for uvarint:
//
//	8  magic
//	8  salt
//	8  segment up to which it reaches
//	4  offset in that one
//	8  highest number
//	v  how many origins, and 8 bytes for each
//	v  how many segments, and for each: number (v), records (v), runs (v), and the lengths of the
//	   runs (v): not removed, removed, and so on
//	4  CRC-32C
type checkpoint struct {
	salt     Salt
	segment  uint64
	offset   uint32
	highest  uint64
	origins  []uint64
	segments []mark
}

// mark is what a checkpoint says of a segment.
type mark struct {
	number  uint64
	records uint32
	runs    []uint32
}

var checkpointMagic = [8]byte{'G', 'H', 'S', 'E', 'G', 'C', 'P', '1'}

const (
	checkpointSuffix = ".mark"
	keptCheckpoints  = 2
)

func checkpointName(n uint64) string { return fmt.Sprintf("%016x%s", n, checkpointSuffix) }

// runsOf are the lengths of the runs of records that were not removed, were removed, and so on.
func runsOf(s *segment) (runs []uint32) {
	n, dead := uint32(0), false
	for id := uint32(0); id < s.records; {
		// Words that are alike are many.
		if id%64 == 0 && id+64 <= s.records {
			w := uint64(0)
			if int(id/64) < len(s.dead) {
				w = s.dead[id/64]
			}
			if !dead && w == 0 || dead && w == ^uint64(0) {
				n, id = n+64, id+64
				continue
			}
		}
		if s.isDead(id) != dead {
			runs = append(runs, n)
			n, dead = 0, !dead
		}
		n, id = n+1, id+1
	}
	return append(runs, n)
}

// apply marks the records of s that were removed.
func (m *mark) apply(s *segment) {
	id, dead := uint32(0), false
	for _, n := range m.runs {
		if dead {
			for i := range n {
				s.mark(id + i)
			}
		}
		id, dead = id+n, !dead
	}
}

func (c *checkpoint) encode() []byte {
	b := append(append(make([]byte, 0, 1024), checkpointMagic[:]...), c.salt[:]...)
	b = binary.LittleEndian.AppendUint64(b, c.segment)
	b = binary.LittleEndian.AppendUint32(b, c.offset)
	b = binary.LittleEndian.AppendUint64(b, c.highest)
	b = binary.AppendUvarint(b, uint64(len(c.origins)))
	for _, o := range c.origins {
		b = binary.LittleEndian.AppendUint64(b, o)
	}
	b = binary.AppendUvarint(b, uint64(len(c.segments)))
	for _, m := range c.segments {
		b = binary.AppendUvarint(b, m.number)
		b = binary.AppendUvarint(b, uint64(m.records))
		b = binary.AppendUvarint(b, uint64(len(m.runs)))
		for _, n := range m.runs {
			b = binary.AppendUvarint(b, uint64(n))
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

var errCheckpoint = errors.New("not a checkpoint")

func parseCheckpoint(b []byte) (c checkpoint, err error) {
	const fixed = 8 + 8 + 8 + 4 + 8
	n := len(b) - 4
	if n < fixed || [8]byte(b[:8]) != checkpointMagic || crc32.Checksum(b[:n], castagnoli()) != binary.LittleEndian.Uint32(b[n:]) {
		return c, errCheckpoint
	}
	copy(c.salt[:], b[8:])
	c.segment = binary.LittleEndian.Uint64(b[16:])
	c.offset = binary.LittleEndian.Uint32(b[24:])
	c.highest = binary.LittleEndian.Uint64(b[28:])
	r := uvarints{b[fixed:n], nil}
	for range r.count(8) {
		c.origins = append(c.origins, binary.LittleEndian.Uint64(r.b))
		r.b = r.b[8:]
	}
	for range r.count(3) {
		m := mark{number: r.next(), records: uint32(r.next())} //nolint:gosec // written from an uint32
		for range r.count(1) {
			m.runs = append(m.runs, uint32(r.next())) //nolint:gosec // written from an uint32
		}
		c.segments = append(c.segments, m)
	}
	return c, r.err
}

// uvarints reads one after the other.
type uvarints struct {
	b   []byte
	err error
}

func (r *uvarints) next() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.err = nil, errCheckpoint
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads the length of a list whose elements take at least size bytes each.
func (r *uvarints) count(size int) int {
	n := r.next()
	if n > uint64(len(r.b)/size) { //nolint:gosec // not negative
		r.b, r.err = nil, errCheckpoint
		return 0
	}
	return int(n) //nolint:gosec // checked
}

func (c *checkpoint) mark(number uint64) *mark {
	i, ok := slices.BinarySearchFunc(c.segments, number, func(m mark, n uint64) int { return order(m.number, n) })
	if !ok {
		return nil
	}
	return &c.segments[i]
}

// writeCheckpoint makes durable what was removed up to now. It is called by Tidy.
func (l *Log) writeCheckpoint() error {
	l.mu.RLock()
	c := checkpoint{salt: l.salt, segment: l.next, highest: l.highest}
	if l.writing {
		c.segment, c.offset = l.next-1, uint32(l.offset) //nolint:gosec // within a segment
	}
	for o := range l.origins {
		c.origins = append(c.origins, o)
	}
	for _, s := range l.segments {
		c.segments = append(c.segments, mark{number: s.segment, records: s.records, runs: runsOf(s)})
	}
	l.mu.RUnlock()
	// The removals that it names may be written and not synced yet: the segment must not end before c.offset.
	if err := l.syncWritten(); err != nil {
		return err
	}
	n := l.tidy.checkpoint + 1
	temp := checkpointName(n) + tempSuffix
	b := c.encode()
	f, err := l.fs.Create(temp, 0)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	_, err = f.WriteAt(b, 0)
	err = errors.Join(err, l.sync(f), f.Close())
	if err == nil {
		err = l.fs.Rename(temp, checkpointName(n))
	}
	if err == nil {
		err = l.syncNames()
	}
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	l.tidy.checkpoint = n
	l.tidy.reach = append(l.tidy.reach, c.segment)
	if len(l.tidy.reach) > keptCheckpoints {
		l.tidy.reach = l.tidy.reach[len(l.tidy.reach)-keptCheckpoints:]
	}
	if n > keptCheckpoints {
		_ = l.fs.Remove(checkpointName(n - keptCheckpoints)) // if it stays, the next start ignores it
	}
	return nil
}

// syncWritten syncs what the segment that is written has. Errors of it end the segment at the
// next Commit only if they come again there: nothing that is acknowledged depends on this sync.
func (l *Log) syncWritten() error {
	l.mu.RLock()
	if !l.writing {
		l.mu.RUnlock()
		return nil
	}
	name := segmentName(l.segments[len(l.segments)-1].segment)
	l.mu.RUnlock()
	f, err := l.fs.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(l.sync(f), f.Close())
}

func numberIn(name, suffix string) (n uint64, ok bool) {
	hex, ok := strings.CutSuffix(name, suffix)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	for _, c := range []byte(hex) {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return n, true
}
