package seglog

import (
	"errors"
	"io"
	"sync"
)

// Buffer is where Next and Get put payloads. It may be used again once these are not
// needed any more.
type Buffer struct {
	list  []Record
	bytes []byte
}

// maxGap is how many bytes between two frames are read with them, and maxRead how many
// together.
const (
	maxGap  = 2 << 10
	maxRead = 64 << 10
)

// Next returns the first records of a stream whose number is between from and upTo, in
// order: at most count, and no further one once their sizes add up to bytes. The payloads are
// valid until buf is used again.
func (l *Log) Next(id Stream, from, upTo uint64, count int, bytes int64, buf *Buffer) ([]Record, error) {
	buf.list, buf.bytes = buf.list[:0], buf.bytes[:0]
	l.mu.RLock()
	defer l.mu.RUnlock()
	st := l.streams[id]
	if st == nil {
		return nil, nil
	}
	left := st.Count
	upTo = min(upTo, st.Last)
	for _, s := range l.segments[l.at(st.first):] {
		if left == 0 || count <= 0 || bytes <= 0 || from > upTo {
			break
		}
		if s.live == 0 || s.max < from || s.min > upTo {
			continue
		}
		o, r, err := l.open(s, id)
		if err != nil {
			return nil, err
		}
		var list []entry
		for i := r.above(from); i < r.len() && count > 0 && bytes > 0; i++ {
			e := r.at(i)
			if e.number > upTo {
				break
			}
			if s.isDead(e.id) {
				continue
			}
			list = append(list, e)
			count--
			left--
			bytes -= int64(e.size)
			from = e.number + 1
		}
		o.read(id, s, list, buf)
		l.footers.release(o)
	}
	return buf.list, nil
}

// Get returns a record; ok is false if it is not stored.
func (l *Log) Get(id Stream, number uint64, buf *Buffer) (r Record, ok bool, err error) {
	buf.list, buf.bytes = buf.list[:0], buf.bytes[:0]
	l.mu.RLock()
	defer l.mu.RUnlock()
	s, e, ok, err := l.lookup(id, number)
	if !ok || err != nil {
		return r, false, err
	}
	o, err := l.footers.open(l.fs, s)
	if err != nil {
		return r, false, err
	}
	defer l.footers.release(o)
	o.read(id, s, []entry{e}, buf)
	return buf.list[0], true, nil
}

// Has tells whether a record is stored.
func (l *Log) Has(id Stream, number uint64) (bool, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	_, _, ok, err := l.lookup(id, number)
	return ok, err
}

// lookup finds a stored record. mu is held.
func (l *Log) lookup(id Stream, number uint64) (*segment, entry, bool, error) {
	st := l.streams[id]
	if st == nil || number > st.Last {
		return nil, entry{}, false, nil
	}
	for _, s := range l.segments[l.at(st.first):] {
		if s.live == 0 || !s.holds(number) {
			continue
		}
		o, r, err := l.open(s, id)
		if err != nil {
			return nil, entry{}, false, err
		}
		l.footers.release(o)
		for i := r.above(number); i < r.len() && r.at(i).number == number; i++ {
			if e := r.at(i); !s.isDead(e.id) {
				return s, e, true, nil
			}
		}
	}
	return nil, entry{}, false, nil
}

// open opens a segment, and says what it has of a stream. mu is held.
func (l *Log) open(s *segment, id Stream) (*opened, run, error) {
	o, err := l.footers.open(l.fs, s)
	switch {
	case err != nil:
		return nil, run{}, err
	case s.index != nil:
		return o, run{mem: s.index.streams[id]}, nil
	}
	return o, o.footer.of(id), nil
}

// ErrNoBlob says that a blob is not in the log, or is damaged.
var ErrNoBlob = errors.New("no such blob")

// Blob returns what a record refers to.
func (l *Log) Blob(r *Record) ([]byte, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if i := l.at(r.segment); i < len(l.segments) {
		if b := l.blob(l.segments[i], r.Blob); b != nil {
			return b, nil
		}
	}
	for _, s := range l.segments {
		if b := l.blob(s, r.Blob); b != nil {
			return b, nil
		}
	}
	return nil, ErrNoBlob
}

// blob returns the blob as a segment has it; nil if it has not. mu is held.
func (l *Log) blob(s *segment, id BlobID) []byte {
	o, err := l.footers.open(l.fs, s)
	if err != nil {
		return nil
	}
	defer l.footers.release(o)
	var at span
	var ok bool
	if s.index != nil {
		at, ok = s.index.blobs[id]
	} else {
		at, ok = o.footer.blob(id)
	}
	if !ok {
		return nil
	}
	b := make([]byte, at.length)
	if _, err := o.file.ReadAt(b, int64(at.offset)); err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	k, body, ok := frameAt(b, seedOf(s.salt, s.segment))
	if !ok || k != kindBlob || len(body) < len(id) || BlobID(body[:len(id)]) != id {
		return nil
	}
	return body[len(id):]
}

// Streams returns the sums of all streams in which something is stored.
func (l *Log) Streams() (list []Sum, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for id, st := range l.streams {
		sum := st.Sum
		if st.stale {
			if sum.Last, err = l.last(id, sum.Last); err != nil {
				return nil, err
			}
		}
		list = append(list, sum)
	}
	return list, nil
}

// last is the highest number of a stream, which is at most top. mu is held.
func (l *Log) last(id Stream, top uint64) (last uint64, err error) {
	for i := len(l.segments) - 1; i >= 0; i-- {
		s := l.segments[i]
		if s.live == 0 || s.min > top || s.max <= last {
			continue
		}
		o, r, err := l.open(s, id)
		if err != nil {
			return 0, err
		}
		l.footers.release(o)
		for i := r.len() - 1; i >= 0 && r.at(i).number > last; i-- {
			if e := r.at(i); !s.isDead(e.id) {
				last = e.number
			}
		}
	}
	return last, nil
}

// opened is a segment's file and, if it has one, its footer.
type opened struct {
	file   File
	footer footer
	number uint64
	users  int  // guarded by footers.mu
	gone   bool // guarded by footers.mu: it is closed by its last user
}

// read appends the records of the entries, which rise, to buf.
func (o *opened) read(id Stream, s *segment, list []entry, buf *Buffer) {
	seed := seedOf(s.salt, s.segment)
	for len(list) > 0 {
		n, begin := 1, list[0].offset
		end := begin + list[0].length
		for n < len(list) && list[n].offset >= end && list[n].offset-end <= maxGap && list[n].offset+list[n].length-begin <= maxRead {
			end = list[n].offset + list[n].length
			n++
		}
		b := buf.grow(int(end - begin))
		read, err := o.file.ReadAt(b, int64(begin))
		if err != nil {
			clear(b[read:])
		}
		for _, e := range list[:n] {
			buf.list = append(buf.list, recordOf(id, s.segment, e, b[e.offset-begin:e.offset-begin+e.length], seed))
		}
		list = list[n:]
	}
}

// grow returns n more bytes. What was read before stays where it is, because records refer to it.
func (b *Buffer) grow(n int) []byte {
	if len(b.bytes)+n > cap(b.bytes) {
		b.bytes = make([]byte, 0, max(n, 2*cap(b.bytes), 16<<10))
	}
	from := len(b.bytes)
	b.bytes = b.bytes[:from+n]
	return b.bytes[from:]
}

func recordOf(id Stream, segment uint64, e entry, frame []byte, seed uint32) Record {
	damaged := Record{Stream: id, Number: e.number, Size: e.size, Damaged: true, segment: segment}
	k, body, ok := frameAt(frame, seed)
	if !ok || k != kindRecord {
		return damaged
	}
	_, r, ok := parseRecord(body)
	if !ok || r.Stream != id || r.Number != e.number {
		return damaged
	}
	r.segment = segment
	return r
}

// footers are the segments that were read last. An opened one stays open while somebody uses
// it.
type footers struct {
	mu    sync.Mutex
	list  []*opened // guarded by mu: the one used last is at the end
	bytes int64     // guarded by mu: of their footers
	limit int64
}

// maxOpen bounds the files that are open.
const maxOpen = 32

func (f *footers) open(fs directory, s *segment) (*opened, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(f.list) - 1; i >= 0; i-- {
		o := f.list[i]
		if o.number != s.segment {
			continue
		}
		if i < len(f.list)-1 {
			copy(f.list[i:], f.list[i+1:])
			f.list[len(f.list)-1] = o
		}
		o.users++
		return o, nil
	}
	o := &opened{number: s.segment, users: 1}
	var err error
	if o.file, err = fs.Open(segmentName(s.segment)); err != nil {
		return nil, err
	}
	if s.index == nil {
		if o.footer, err = readFooter(o.file, s.trailer); err != nil {
			return nil, errors.Join(err, o.file.Close())
		}
	}
	f.list = append(f.list, o)
	f.bytes += int64(len(o.footer.raw))
	for len(f.list) > 1 && (f.bytes > f.limit || len(f.list) > maxOpen) {
		f.dropAt(0)
	}
	return o, nil
}

func (f *footers) release(o *opened) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o.users--; o.users == 0 && o.gone {
		_ = o.file.Close()
	}
}

// dropAt forgets one of the list. f.mu is held.
func (f *footers) dropAt(i int) {
	o := f.list[i]
	f.list = append(f.list[:i], f.list[i+1:]...)
	f.bytes -= int64(len(o.footer.raw))
	if o.gone = true; o.users == 0 {
		_ = o.file.Close()
	}
}

// drop forgets a segment whose file changes or goes, or all of them.
func (f *footers) drop(match func(number uint64) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(f.list) - 1; i >= 0; i-- {
		if match(f.list[i].number) {
			f.dropAt(i)
		}
	}
}
