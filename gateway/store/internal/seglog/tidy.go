package seglog

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
)

// tidying is the state of Tidy.
type tidying struct {
	checkpoint uint64   // number of the newest one
	reach      []uint64 // segments up to which the kept checkpoints reach, oldest first
	due        bool     // the first Tidy writes a checkpoint
}

// Tidy does what Commit leaves behind: footers of segments that are full, a checkpoint at
// every new segment, and it deletes segments of which nothing is stored any more. It also
// writes at most one segment anew that is mostly removed, if the log is more than twice as
// large as what is stored in it. Whatever fails is done by the next call, and does not keep
// the rest from being done: on a full disk only what is deleted makes space for the footers.
func (l *Log) Tidy() error {
	return errors.Join(l.deleteDead(), l.writeFooters(), l.checkpointIfDue(), l.deleteDead(), l.shrinkOne())
}

// checkpointIfDue writes a checkpoint if a segment was begun since the last one.
func (l *Log) checkpointIfDue() error {
	l.mu.RLock()
	last := l.next
	if l.writing {
		last--
	}
	l.mu.RUnlock()
	if n := len(l.tidy.reach); l.tidy.due || n == 0 || n > 0 && l.tidy.reach[n-1] < last {
		if err := l.writeCheckpoint(); err != nil {
			return err
		}
		l.tidy.due = false
	}
	return nil
}

// Flush makes durable what Commit has not synced.
func (l *Log) Flush() error {
	if !l.loose.Swap(false) {
		return nil
	}
	err := l.syncWritten()
	if err != nil {
		l.loose.Store(true)
	}
	return err
}

// Close gives the last segment its footer, writes a checkpoint, and closes the files. Commit,
// Tidy and readers must have ended.
func (l *Log) Close() error {
	var err error
	if l.file != nil {
		err = errors.Join(l.sync(l.file), l.file.Close())
		l.file = nil
	}
	l.mu.Lock()
	l.writing = false
	l.mu.Unlock()
	if err == nil {
		err = l.writeFooters()
	}
	if err == nil && l.next > 1 {
		err = l.writeCheckpoint()
	}
	l.footers.drop(func(uint64) bool { return true })
	return err
}

// Idle gives memory back that only makes reading faster.
func (l *Log) Idle() { l.footers.drop(func(uint64) bool { return true }) }

// ended are the segments that are not written any more. mu is held.
func (l *Log) ended() []*segment {
	if l.writing {
		return l.segments[:len(l.segments)-1]
	}
	return l.segments
}

// waiting is how many segments wait for their footer.
func (l *Log) waiting() (n int) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, s := range l.ended() {
		if s.index != nil && !s.unread {
			n++
		}
	}
	return n
}

// writeFooters writes the footers that are missing. It is called by Tidy and by Commit.
func (l *Log) writeFooters() error {
	l.footing.Lock()
	defer l.footing.Unlock()
	l.mu.RLock()
	var list []*segment
	for _, s := range l.ended() {
		if s.index != nil && !s.unread {
			list = append(list, s)
		}
	}
	l.mu.RUnlock()
	for _, s := range list {
		f, err := l.fs.Open(segmentName(s.segment))
		if err != nil {
			return err
		}
		// The index and the trailer of s do not change any more, but for what the footer says.
		t := s.trailer
		b := s.index.footer(&t)
		size, err := l.putFooter(f, t.end, b)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("footer of segment %d: %w", s.segment, err)
		}
		l.mu.Lock()
		s.size, s.index = size, nil
		s.take(t)
		l.footers.drop(func(n uint64) bool { return n == s.segment })
		l.mu.Unlock()
	}
	return nil
}

// writeFooter is the same for one segment, at a start.
func (l *Log) writeFooter(f File, s *segment) (err error) {
	t := s.trailer
	b := s.index.footer(&t)
	size, err := l.putFooter(f, t.end, b)
	if err == nil {
		s.size = size
		s.take(t)
	}
	return err
}

func (l *Log) putFooter(f File, end uint32, b []byte) (size int64, err error) {
	if err := f.Truncate(int64(end)); err != nil { // gives back what was allocated
		return 0, err
	}
	if _, err := f.WriteAt(b, int64(end)); err != nil {
		return 0, err
	}
	return int64(end) + int64(len(b)), l.sync(f)
}

// floor is the number of the first segment that a start may read removals of. Those below
// it are needed for their records only.
func (l *Log) floor() uint64 {
	if len(l.tidy.reach) < keptCheckpoints {
		return 0
	}
	return l.tidy.reach[0]
}

// deleteDead deletes segments without records.
func (l *Log) deleteDead() error {
	floor := l.floor()
	l.mu.RLock()
	var list []*segment
	for _, s := range l.ended() {
		if s.live == 0 && s.segment < floor && !s.unread {
			list = append(list, s)
		}
	}
	l.mu.RUnlock()
	if len(list) == 0 {
		return nil
	}
	// The removals of its records may not be synced yet. Without them a start would miss these records.
	if err := l.syncWritten(); err != nil {
		return err
	}
	l.footing.Lock()
	defer l.footing.Unlock()
	var errs []error
	for _, s := range list {
		// While the file is there, its removals stay in memory, for the checkpoints.
		if err := l.fs.Remove(segmentName(s.segment)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		l.mu.Lock()
		l.footers.drop(func(n uint64) bool { return n == s.segment })
		i := l.at(s.segment)
		kept := make([]*segment, 0, len(l.segments)-1) // Commit reads the list without the lock
		l.segments = append(append(kept, l.segments[:i]...), l.segments[i+1:]...)
		l.mu.Unlock()
	}
	return errors.Join(errs...)
}

// slack is how many segments the log may have beyond twice what is stored.
const slack = 4

// shrinkOne writes a segment anew without its removed records, if the log is too large. The
// records keep their numbers within the segment, so removals and checkpoints still fit.
func (l *Log) shrinkOne() error {
	floor := l.floor()
	l.mu.RLock()
	var total, weight int64
	var victim *segment
	least := 0.5
	for _, s := range l.ended() {
		total += s.size
		weight += s.weight
		if s.live*4 > int(s.entries)*3 {
			continue // what makes it large is not what was removed
		}
		if share := float64(s.weight) / float64(max(s.size, 1)); s.segment < floor && s.live > 0 && s.index == nil && !s.unread && share < least {
			least, victim = share, s
		}
	}
	l.mu.RUnlock()
	if victim == nil || total < 2*weight+slack*l.opt.Segment {
		return nil
	}
	if err := l.syncWritten(); err != nil {
		return err
	}
	size := victim.size // only Tidy changes it
	if err := l.shrink(victim); err != nil {
		return err
	}
	if victim.size < size {
		l.signal() // there may be another one
	}
	return nil
}

func (l *Log) shrink(s *segment) (err error) {
	name := segmentName(s.segment)
	l.mu.RLock()
	o, err := l.footers.open(l.fs, s)
	var live []entry
	var streams []Stream
	weight := int(s.weight)
	if err == nil {
		o.footer.each(func(id Stream, r run) {
			for i := range r.len() {
				if e := r.at(i); !s.isDead(e.id) {
					live, streams = append(live, e), append(streams, id)
				}
			}
		})
	}
	l.mu.RUnlock()
	if err != nil {
		return err
	}
	defer l.footers.release(o)
	f, err := l.fs.Create(name+tempSuffix, 0)
	if err != nil {
		return err
	}
	x := newIndex()
	t := s.trailer
	b := make([]byte, segmentHeader, segmentHeader+weight)
	if _, err = o.file.ReadAt(b, 0); err == nil {
		b, err = l.copyLive(o, s, live, streams, b, x)
	}
	if err == nil {
		t.end = uint32(len(b)) //nolint:gosec // less than before
		t.min, t.max, t.holes = math.MaxUint64, 0, 0
		for _, e := range live {
			t.min, t.max = min(t.min, e.number), max(t.max, e.number)
		}
		b = append(b, x.footer(&t)...)
		_, err = f.WriteAt(b, 0)
	}
	if err = errors.Join(err, l.sync(f), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("shrink segment %d: %w", s.segment, err), l.fs.Remove(name+tempSuffix))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fs.Rename(name+tempSuffix, name); err != nil {
		return err
	}
	l.footers.drop(func(n uint64) bool { return n == s.segment })
	s.size = int64(len(b))
	s.take(t)
	return l.syncNames()
}

// copyLive appends the frames of the live records to b, as they are, and their blobs.
func (l *Log) copyLive(o *opened, s *segment, live []entry, streams []Stream, b []byte, x *index) ([]byte, error) {
	seed := seedOf(s.salt, s.segment)
	put := func(at span) (span, []byte, error) {
		from := len(b)
		b = append(b, make([]byte, at.length)...)
		_, err := o.file.ReadAt(b[from:], int64(at.offset))
		return span{uint32(from), at.length}, b[from:], err //nolint:gosec // less than before
	}
	for i, e := range live {
		to, frame, err := put(span{e.offset, e.length})
		if err != nil {
			return nil, err
		}
		e.offset = to.offset
		x.add(streams[i], e)
		r := recordOf(streams[i], s.segment, e, frame, seed) // a damaged one stays one, and is told when it is read
		if r.Damaged || r.Blob == (BlobID{}) {
			continue
		}
		if _, known := x.blobs[r.Blob]; known {
			continue
		}
		if at, ok := o.footer.blob(r.Blob); ok {
			to, _, err := put(at)
			if err != nil {
				return nil, err
			}
			x.blobs[r.Blob] = to
		}
	}
	return b, nil
}
