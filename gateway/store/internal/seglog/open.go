package seglog

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
)

// Report says what a start has found. Lost and Unknown are of damage only.
type Report struct {
	Found   int      // records that are stored
	Lost    int      // records that were stored and cannot be read
	Unknown int      // places behind which it is not known what was stored
	Damaged []string // names of the files; what could be read of them is in Found
}

const tempSuffix = ".tmp"

// opening is a start.
type opening struct {
	*Log
	report     Report
	checkpoint *checkpoint
	removals   []place
	missing    map[uint64]gaps // by segment
	prefaces   []preface       // of the segments
	salted     bool            // the salt was found; otherwise it is a new one
}

// gaps are the records of a segment that were not found in it.
type gaps struct {
	ids     []uint32
	written uint32 // those below were durable; the others may never have been
}

// Open reads the log in a directory, which exists. It starts no goroutine. Damage is no error:
// the Report tells it.
func Open(dir directory, o Options) (*Log, Report, error) {
	o.Segment = cmp.Or(o.Segment, 16<<20)
	o.Cache = cmp.Or(o.Cache, 12<<20)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	x := opening{Log: &Log{
		fs:      dir,
		opt:     o,
		footers: footers{limit: o.Cache},
		work:    make(chan struct{}, 1),
		streams: map[Stream]*stream{},
		origins: map[uint64]bool{},
	}}
	if err := x.run(); err != nil {
		return nil, x.report, err
	}
	if x.tidy.checkpoint == 0 && len(x.segments) == 0 {
		// The salt is then in a second file: without it a damaged header of the first segment would take all of it.
		if err := x.writeCheckpoint(); err != nil {
			o.Log.Warn("the first checkpoint of the outbox could not be written, and is tried again", "err", err)
		}
	}
	x.Log.mu.RLock()
	defer x.Log.mu.RUnlock()
	for _, s := range x.segments {
		x.report.Found += s.live
	}
	return x.Log, x.report, nil
}

func (x *opening) run() error {
	list, err := x.fs.List()
	if err != nil {
		return err
	}
	var segments, marks []Info
	for _, i := range list {
		_, isSegment := numberIn(i.Name, ".log")
		_, isMark := numberIn(i.Name, checkpointSuffix)
		switch {
		case strings.HasSuffix(i.Name, tempSuffix) && !i.IsDir:
			if err := x.fs.Remove(i.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		case !isSegment && !isMark: // not of the log
		case i.IsDir:
			x.damaged(i.Name, true)
		case isSegment:
			segments = append(segments, i)
		default:
			marks = append(marks, i)
		}
	}
	byName := func(a, b Info) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(segments, byName)
	slices.SortFunc(marks, byName)
	if err := x.findCheckpoint(marks); err != nil {
		return err
	}
	if x.prefaces, err = x.findSalt(segments); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, info := range segments {
		var next *preface
		number, _ := numberIn(info.Name, ".log")
		if i+1 < len(segments) && segments[i+1].Name == segmentName(number+1) {
			next = &x.prefaces[i+1]
		}
		if err := x.read(info, next, i+1 == len(segments)); err != nil {
			return fmt.Errorf("%s: %w", info.Name, err)
		}
	}
	return x.conclude()
}

// damaged notes that a file is damaged, and keeps it, or a copy, for an operator.
func (x *opening) damaged(name string, move bool) {
	if slices.Contains(x.report.Damaged, name) {
		return
	}
	x.report.Damaged = append(x.report.Damaged, name)
	if err := x.fs.Keep(name, move); err != nil {
		x.opt.Log.Warn("a damaged file of the outbox could not be kept", "name", name, "err", err)
	}
}

// findCheckpoint reads the newest checkpoint that verifies.
func (x *opening) findCheckpoint(marks []Info) error {
	for i, info := range slices.Backward(marks) {
		n, _ := numberIn(info.Name, checkpointSuffix)
		x.tidy.checkpoint = max(x.tidy.checkpoint, n)
		if len(x.tidy.reach) == keptCheckpoints {
			if err := x.fs.Remove(marks[i].Name); err != nil {
				return err
			}
			continue
		}
		f, err := x.fs.Open(info.Name)
		if err != nil {
			return err
		}
		b, unreadable := readAll(f, info.Size)
		_ = f.Close()
		c, err := parseCheckpoint(b)
		if err != nil {
			x.damaged(info.Name, unreadable == 0)
			continue
		}
		if x.checkpoint == nil {
			x.checkpoint = &c
		}
		x.tidy.reach = append([]uint64{c.segment}, x.tidy.reach...)
	}
	if c := x.checkpoint; c != nil {
		x.salt, x.highest = c.salt, c.highest
		x.next = c.segment
		for _, o := range c.origins {
			x.origins[o] = true
		}
	}
	x.next = max(x.next, 1)
	return nil
}

// findSalt reads the headers, and the salt from one of them, or from a footer, if there is no
// checkpoint.
func (x *opening) findSalt(segments []Info) (list []preface, err error) {
	known := x.checkpoint != nil
	for _, info := range segments {
		number, _ := numberIn(info.Name, ".log")
		f, err := x.fs.Open(info.Name)
		if err != nil {
			return nil, err
		}
		b := make([]byte, segmentHeader)
		n, _ := f.ReadAt(b, 0)
		p, ok := parseHeader(b[:n], number)
		if !known && ok {
			x.salt, known = p.salt, true
		}
		if t, ok := findFooter(f, info.Size, number); ok && !known {
			x.salt, known = t.salt, true
		}
		_ = f.Close()
		list = append(list, p)
	}
	if x.salted = known; !known {
		_, _ = rand.Read(x.salt[:]) // never fails
	}
	return list, nil
}

// since is the offset in a segment from which on removals are not in the checkpoint; -1: all are.
func (x *opening) since(number uint64) int {
	switch c := x.checkpoint; {
	case c == nil || number > c.segment:
		return segmentHeader
	case number == c.segment:
		return max(int(c.offset), segmentHeader)
	}
	return -1
}

// read reads a segment: its footer, or its frames where it has none, and the removals that are
// not in the checkpoint. next is the header of the segment with the next number; nil: there is none.
func (x *opening) read(info Info, next *preface, last bool) error {
	number, _ := numberIn(info.Name, ".log")
	x.next = max(x.next, number+1)
	f, err := x.fs.Open(info.Name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	s := &segment{trailer: trailer{salt: x.salt, segment: number, min: ^uint64(0)}, size: info.Size}
	x.segments = append(x.segments, s)
	foot, whole := findFooter(f, info.Size, number)
	whole = whole && foot.salt == x.salt
	since := x.since(number)
	if whole {
		s.trailer = foot.trailer
		if since < 0 {
			return nil
		}
	}
	b, unreadable := readAll(f, info.Size)
	s.unread = unreadable > 0
	if whole {
		b = b[:s.end]
	}
	seed := seedOf(x.salt, number)
	// All of a segment was synced before the next one was begun, and before a checkpoint went beyond it.
	last = last && !whole && (x.checkpoint == nil || x.checkpoint.segment <= number)
	all := scan(b, seed, segmentHeader, last)
	if since > segmentHeader {
		tail := scan(b, seed, min(since, len(b)), last)
		x.follow(&tail)
	} else if since >= 0 {
		x.follow(&all)
	}
	bad := all.holes > int(s.holes) || s.unread
	s.holes = uint32(all.holes + all.torn) //nolint:gosec // within a segment
	if whole {
		if bad {
			x.damaged(info.Name, false) // what is lost of it is noticed when it is read
		}
		return nil
	}
	head, headed := parseHeader(b, number)
	// The header was synced before the first frame was written.
	written := slices.ContainsFunc(b[min(len(b), segmentHeader):], func(c byte) bool { return c != 0 })
	s.blank = !s.unread && (headed && head.salt == x.salt || !written)
	if next != nil {
		s.records = next.records
		bad = bad || next.end != 0 && uint32(all.end) != next.end //nolint:gosec // within a segment
	}
	// A file that was made and never written has no header yet, and is no damage.
	bad = bad || !headed && (all.end > segmentHeader || x.checkpoint.knows(number))
	bad = bad || x.checkpoint.knows(number) && all.records < x.checkpoint.mark(number).records
	if bad {
		x.damaged(info.Name, false)
	}
	if bad && last {
		x.report.Unknown++
	}
	return x.end(f, s, &all)
}

// knows tells whether a checkpoint has that segment.
func (c *checkpoint) knows(number uint64) bool { return c != nil && c.mark(number) != nil }

// follow notes removals and origins that the checkpoint does not have.
func (x *opening) follow(f *found) {
	x.removals = append(x.removals, f.removals...)
	for _, o := range f.forgotten {
		delete(x.origins, o)
	}
	for _, o := range f.origins {
		x.origins[o] = true
	}
}

// end gives a segment that was read by its frames its footer.
func (x *opening) end(f File, s *segment, all *found) error {
	s.min, s.max = all.min, all.max
	s.end = uint32(max(all.end, segmentHeader)) //nolint:gosec // within a segment
	if x.checkpoint.knows(s.segment) {
		s.records = max(s.records, x.checkpoint.mark(s.segment).records)
	}
	written := max(s.records, all.firm)
	s.records = max(s.records, all.records)
	if s.records == 0 && all.end <= segmentHeader {
		s.index = newIndex() // nothing is in it: conclude removes it
		return nil
	}
	x.findGaps(s, all, written)
	s.index = all.index
	if s.unread {
		return nil
	}
	if err := x.writeFooter(f, s); err != nil {
		// The frames are there: without space for a footer the index stays in memory, and Tidy tries again.
		x.opt.Log.Warn("the index of a part of the outbox could not be written, and is tried again", "segment", s.segment, "err", err)
		return nil
	}
	s.index = nil
	return nil
}

// findGaps notes which records of a segment were not found.
func (x *opening) findGaps(s *segment, all *found, written uint32) {
	if ids := absent(s.records, all.index.each); len(ids) > 0 {
		if x.missing == nil {
			x.missing = map[uint64]gaps{}
		}
		x.missing[s.segment] = gaps{ids: ids, written: written}
	}
	x.report.Unknown += all.torn
}

// absent are the records below a number that a segment does not have.
func absent(records uint32, each func(func(Stream, run))) (ids []uint32) {
	there := make([]uint64, records/64+1)
	each(func(_ Stream, r run) {
		for i := range r.len() {
			id := r.at(i).id
			there[id/64] |= 1 << (id % 64)
		}
	})
	for id := range records {
		if there[id/64]&(1<<(id%64)) == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}
