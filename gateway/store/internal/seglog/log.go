package seglog

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
)

// Stream names the records that keep their order among each other.
type Stream [12]byte

// BlobID names a blob: content that many records refer to, which is written once to
// each segment. It must follow from the content. The zero BlobID means none.
type BlobID [16]byte

// Record is what is stored.
type Record struct {
	Stream Stream
	// Number must be higher than that of all records of the stream before it.
	Number uint64
	Size   uint32 // what is added up in Sum.Bytes
	// Origin, if not 0, is remembered until it is forgotten, whatever becomes of the record: see Log.Origins.
	Origin  uint64
	Blob    BlobID
	Content []byte // of the blob; only for Commit
	Payload []byte
	// Damaged: the record does not verify, and only Stream and Number are known.
	Damaged bool
	segment uint64
}

// Sum sums up the records of a stream.
type Sum struct {
	Stream Stream
	Count  int
	Bytes  int64
	Last   uint64 // its highest number
}

// Options of Open.
type Options struct {
	// Segment is the size of a segment's file in bytes. 0: 16 MiB.
	Segment int64
	// Cache is how many bytes of footers are kept in memory. 0: 12 MiB.
	Cache int64
	// Unsynced leaves out every sync. A test sets it to show that it notices a missing one.
	Unsynced bool
	Log      *slog.Logger
}

// ErrTooLarge is the error of a record that no frame can hold.
var ErrTooLarge = errors.New("too large for a record")

// Log is an open log.
type Log struct {
	fs      directory
	opt     Options
	salt    Salt
	footers footers
	work    chan struct{}

	// Used by Commit only.
	file   File
	synced int64  // up to where the file of the last segment is synced
	broken bool   // a write or sync failed: the segment ends at offset
	next   uint64 // number of the next segment

	loose atomic.Bool // the last group was not synced

	mu       sync.RWMutex
	segments []*segment         // guarded by mu: in order of their numbers; the last one is written, if writing
	writing  bool               // guarded by mu
	offset   int64              // guarded by mu: where the next group is written
	streams  map[Stream]*stream // guarded by mu
	origins  map[uint64]bool    // guarded by mu
	highest  uint64             // guarded by mu: of the numbers

	tidy    tidying
	footing sync.Mutex // held while footers are written
}

// segment is one file. Its fields are guarded by Log.mu, but for its number and salt, which do not change.
type segment struct {
	trailer
	size   int64    // of its file
	dead   []uint64 // a bit for each record that was removed; nil: none was
	live   int
	weight int64  // sum of the lengths of the live frames
	index  *index // nil: it has a footer
	blank  bool   // only of a start that found no record in it: nothing was ever written to it but its header
	// unread: the disk did not give all of it back at the start. Its file stays as it is, for a start that can read it.
	unread bool
}

// stream is what is known of a stream in memory. Guarded by Log.mu.
type stream struct {
	Sum
	first uint64 // a segment at or before the one of its first record
	stale bool   // the record with number Last was removed: another one may be the last
}

func (s *segment) isDead(id uint32) bool {
	return int(id/64) < len(s.dead) && s.dead[id/64]&(1<<(id%64)) != 0
}

// mark notes that a record is removed; false: it was before.
func (s *segment) mark(id uint32) bool {
	if s.isDead(id) {
		return false
	}
	if need := int(id/64) + 1; len(s.dead) < need {
		s.dead = append(s.dead, make([]uint64, need-len(s.dead))...)
	}
	s.dead[id/64] |= 1 << (id % 64)
	return true
}

// holds tells whether the number of a record is between those of the segment.
func (s *segment) holds(number uint64) bool { return number >= s.min && number <= s.max }

func segmentName(number uint64) string { return fmt.Sprintf("%016x.log", number) }

// at is the index of the first segment whose number is not below number. mu is held.
func (l *Log) at(number uint64) int {
	i, _ := slices.BinarySearchFunc(l.segments, number, func(s *segment, n uint64) int { return order(s.segment, n) })
	return i
}

// enter counts a record. mu is held.
func (l *Log) enter(s *segment, id Stream, e entry) {
	s.live++
	s.weight += int64(e.length)
	st := l.streams[id]
	if st == nil {
		st = &stream{Sum: Sum{Stream: id}, first: s.segment}
		l.streams[id] = st
	}
	st.first = min(st.first, s.segment)
	st.Count++
	st.Bytes += int64(e.size)
	if e.number >= st.Last {
		st.Last, st.stale = e.number, false
	}
	l.highest = max(l.highest, e.number)
}

// leave counts a record that is removed; false: it was before. mu is held.
func (l *Log) leave(s *segment, id Stream, e entry) bool {
	if !s.mark(e.id) {
		return false
	}
	s.live--
	s.weight -= int64(e.length)
	st := l.streams[id]
	st.Count--
	st.Bytes -= int64(e.size)
	if st.Count == 0 {
		delete(l.streams, id)
	} else if e.number == st.Last {
		st.stale = true
	}
	if s.live == 0 {
		l.signal()
	}
	return true
}

func (l *Log) signal() {
	select {
	case l.work <- struct{}{}:
	default:
	}
}

// Work receives when Tidy has something to do.
func (l *Log) Work() <-chan struct{} { return l.work }

// Again makes Work receive once more, because Tidy has failed.
func (l *Log) Again() { l.signal() }

// Stats describe the log.
type Stats struct {
	Records  int
	Disk     int64 // bytes of its segments, without what is allocated and not written yet
	Segments int
}

// Stats are cheap.
func (l *Log) Stats() (st Stats) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	st.Segments = len(l.segments)
	for i, s := range l.segments {
		st.Records += s.live
		if l.writing && i == len(l.segments)-1 {
			st.Disk += l.offset
		} else {
			st.Disk += s.size
		}
	}
	return st
}

// Highest is the highest number that a record ever had, as far as is known.
func (l *Log) Highest() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.highest
}

// Origins are those of all records that were committed with one, until Commit forgets them.
func (l *Log) Origins() (list []uint64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for o := range l.origins {
		list = append(list, o)
	}
	return list
}

func (l *Log) sync(f File) error {
	if l.opt.Unsynced {
		return nil
	}
	return f.Sync()
}

func (l *Log) syncNames() error {
	if l.opt.Unsynced {
		return nil
	}
	return l.fs.Sync()
}
