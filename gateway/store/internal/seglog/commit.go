package seglog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
)

// Op is one operation of Commit.
type Op struct {
	Append *Record // nil: none
	// Remove are numbers of records of Stream. Those that are not stored are ignored.
	Stream Stream
	Remove []uint64
	// Forget, if not 0, is an origin that need not be remembered any more.
	Forget uint64

	places []effect // of Reorder
}

// effect is what an operation changes in memory, once it is written.
type effect struct {
	segment *segment
	number  uint64 // of the segment
	stream  Stream
	entry   entry
	origin  uint64
	removes bool
}

// maxIndexes is how many segments may wait for their footer while another one is written.
const maxIndexes = 2

// reserve is the part of a segment that is left to removals, so that they need no new
// segment while the disk is full.
func (l *Log) reserve() int64 { return l.opt.Segment / 64 }

const (
	segmentHeader = 64
	groupSize     = headerSize + 4
)

var segmentMagic = [8]byte{'G', 'H', 'S', 'E', 'G', 'L', 'G', '1'}

// headerOf begins the file of a segment:
//
//	8  magic
//	8  salt
//	8  number of the segment
//	4  where the frames of the segment before it end; 0: it is not known
//	4  how many records were written to that one
//	4  CRC-32C of these
func headerOf(p preface, number uint64) []byte {
	b := append(append(make([]byte, 0, segmentHeader), segmentMagic[:]...), p.salt[:]...)
	b = binary.LittleEndian.AppendUint64(b, number)
	b = binary.LittleEndian.AppendUint32(b, p.end)
	b = binary.LittleEndian.AppendUint32(b, p.records)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
	return b[:segmentHeader]
}

// Commit writes the operations as one group. When it returns nil they are in force, and, with
// sync, durable; otherwise none of them is. Without sync they are durable with the
// next group that is. An error that wraps ENOSPC says that the disk is full.
func (l *Log) Commit(ops []Op, sync bool) error {
	appends, need := false, int64(groupSize)
	for i := range ops {
		if r := ops[i].Append; r != nil {
			appends = true
			n := int64(2*headerSize + recordHead + binary.MaxVarintLen64 + len(BlobID{}) + len(r.Content) + len(r.Payload))
			if n > maxBody {
				return ErrTooLarge
			}
			need += n
		}
		need += int64(len(ops[i].Remove)+len(ops[i].places))*(binary.MaxVarintLen64+binary.MaxVarintLen32) + 2*headerSize + 8
	}
	if err := l.makeWay(need, appends); err != nil {
		return err
	}
	s := l.newest()
	b, effects, blobs := l.encode(ops, s)
	if len(effects) == 0 {
		b = nil
	}
	if l.offset+int64(len(b)) > math.MaxUint32 {
		return fmt.Errorf("segment %d: %w", s.segment, ErrTooLarge)
	}
	end := l.offset + int64(len(b))
	if len(b) > 0 {
		if _, err := l.file.WriteAt(b, l.offset); err != nil {
			l.broken = true
			return fmt.Errorf("write segment %d: %w", s.segment, err)
		}
	}
	if sync && l.synced < end {
		if err := l.sync(l.file); err != nil {
			l.broken = true
			return fmt.Errorf("sync segment %d: %w", s.segment, err)
		}
		l.synced = end
	}
	if len(b) > 0 {
		l.loose.Store(!sync)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.Copy(s.index.blobs, blobs)
	l.apply(s, effects)
	l.offset = end
	s.end = uint32(l.offset) //nolint:gosec // checked above
	s.size = max(s.size, l.offset)
	return nil
}

// newest is the segment with the highest number; nil: there is none.
func (l *Log) newest() *segment {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if n := len(l.segments); n > 0 {
		return l.segments[n-1]
	}
	return nil
}

// encode makes the frames of a group, and says what they change.
func (l *Log) encode(ops []Op, s *segment) (b []byte, effects []effect, blobs map[BlobID]span) {
	seed := seedOf(l.salt, s.segment)
	b = appendGroup(make([]byte, 0, 4096), seed, uint32(l.synced)) //nolint:gosec // within a segment
	begin := l.offset
	next := s.records
	var removed []place
	for i := range ops {
		o := &ops[i]
		if r := o.Append; r != nil {
			if _, known := s.index.blobs[r.Blob]; !known && r.Blob != (BlobID{}) {
				if _, known = blobs[r.Blob]; !known {
					at := len(b)
					b = appendBlob(b, seed, r.Blob, r.Content)
					if blobs == nil {
						blobs = map[BlobID]span{}
					}
					blobs[r.Blob] = span{uint32(begin) + uint32(at), uint32(len(b) - at)} //nolint:gosec // within a segment
				}
			}
			at := len(b)
			b = appendRecord(b, seed, next, r)
			e := entry{
				number: r.Number,
				offset: uint32(begin) + uint32(at), //nolint:gosec // within a segment
				length: uint32(len(b) - at),        //nolint:gosec // within a segment
				id:     next,
				size:   r.Size,
			}
			next++
			effects = append(effects, effect{segment: s, number: s.segment, stream: r.Stream, entry: e, origin: r.Origin})
		}
		for _, number := range o.Remove {
			if x, ok := l.locate(o.Stream, number, effects); ok {
				effects = append(effects, x)
				removed = append(removed, place{x.number, x.entry.id})
			}
		}
		for _, x := range o.places {
			effects = append(effects, x)
			removed = append(removed, place{x.number, x.entry.id})
		}
		if o.Forget != 0 {
			b = appendForgotten(b, seed, o.Forget)
			effects = append(effects, effect{origin: o.Forget, removes: true})
		}
	}
	return appendRemovals(b, seed, removed), effects, blobs
}

// locate finds a stored record, also among those that the group stores.
func (l *Log) locate(id Stream, number uint64, group []effect) (x effect, ok bool) {
	l.mu.RLock()
	s, e, ok, err := l.lookup(id, number)
	if ok {
		x = effect{segment: s, number: s.segment, stream: id, entry: e, removes: true}
	}
	l.mu.RUnlock()
	if err != nil { // whoever sends the record sends it again after the next start
		l.opt.Log.Error("a record of the outbox could not be removed", "number", number, "err", err)
		return x, false
	}
	if ok {
		return x, true
	}
	for i := len(group) - 1; i >= 0; i-- {
		if x := group[i]; !x.removes && x.stream == id && x.entry.number == number {
			x.removes, x.origin = true, 0
			return x, true
		}
	}
	return x, false
}

// apply brings the memory up to date. mu is held.
func (l *Log) apply(s *segment, effects []effect) {
	for _, x := range effects {
		switch {
		case x.segment == nil:
			delete(l.origins, x.origin)
		case x.removes:
			l.leave(x.segment, x.stream, x.entry)
		default:
			s.index.add(x.stream, x.entry)
			s.records = x.entry.id + 1
			s.max = max(s.max, x.entry.number)
			s.min = min(s.min, x.entry.number)
			l.enter(s, x.stream, x.entry)
			if x.origin != 0 {
				l.origins[x.origin] = true
			}
		}
	}
}

// makeWay begins a new segment if the group does not fit into the present one.
func (l *Log) makeWay(need int64, appends bool) error {
	limit := l.opt.Segment
	if appends {
		limit -= l.reserve()
	}
	if l.file != nil && !l.broken && (l.offset+need <= limit || l.offset == segmentHeader) {
		return nil
	}
	err := l.rotate(need)
	if err != nil && l.file != nil && !l.broken && !appends {
		return nil // behind what was allocated; if that is not possible, the write says so
	}
	return err
}

// rotate ends the segment that is written, and begins the next one.
func (l *Log) rotate(need int64) error {
	if l.file != nil && (l.broken || l.synced < l.offset) {
		var err error
		if l.broken { // what failed must not be found by a start
			err = l.file.Truncate(l.offset)
		}
		if err = errors.Join(err, l.sync(l.file)); err != nil {
			return fmt.Errorf("end segment %d: %w", l.next-1, err)
		}
		l.synced = l.offset
	}
	if l.waiting() >= maxIndexes { // their indexes are in memory
		if err := l.writeFooters(); err != nil {
			return err
		}
	}
	head := preface{salt: l.salt}
	l.mu.RLock()
	if n := len(l.segments); n > 0 && l.segments[n-1].segment == l.next-1 && !l.segments[n-1].unread {
		head.end, head.records = l.segments[n-1].end, l.segments[n-1].records
	}
	l.mu.RUnlock()
	name := segmentName(l.next)
	f, err := l.fs.Create(name, max(l.opt.Segment, need+segmentHeader))
	if err != nil {
		return fmt.Errorf("begin segment %d: %w", l.next, err)
	}
	_, err = f.WriteAt(headerOf(head, l.next), 0)
	if err == nil {
		err = errors.Join(l.sync(f), l.syncNames())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("begin segment %d: %w", l.next, err), f.Close(), l.fs.Remove(name))
	}
	l.mu.Lock()
	s := &segment{size: segmentHeader, index: newIndex()}
	s.trailer = trailer{salt: l.salt, segment: l.next, min: math.MaxUint64, end: segmentHeader}
	l.segments = append(l.segments, s)
	l.writing, l.offset = true, segmentHeader
	old := l.file
	l.file, l.synced, l.broken = f, segmentHeader, false
	l.next++
	l.mu.Unlock()
	l.signal()
	if old != nil {
		_ = old.Close() // it is synced
	}
	return nil
}
