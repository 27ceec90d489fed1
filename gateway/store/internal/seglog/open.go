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
		if i+1 < len(segments) {
			next = &x.prefaces[i+1]
		}
		if err := x.read(info, next); err != nil {
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
		b, _ := readAll(f, info.Size)
		_ = f.Close()
		c, err := parseCheckpoint(b)
		if err != nil {
			x.damaged(info.Name, true)
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
	if !known {
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
// not in the checkpoint. next is the header of the one behind it; nil: it is the last one.
func (x *opening) read(info Info, next *preface) error {
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
	if whole {
		b = b[:s.end]
	}
	seed := seedOf(x.salt, number)
	// All of a segment was synced before the next one was begun, and before a checkpoint went beyond it.
	last := next == nil && !whole && (x.checkpoint == nil || x.checkpoint.segment <= number)
	all := scan(b, seed, segmentHeader, last)
	if since > segmentHeader {
		tail := scan(b, seed, min(since, len(b)), last)
		x.follow(&tail)
	} else if since >= 0 {
		x.follow(&all)
	}
	bad := all.holes > int(s.holes) || unreadable > 0
	s.holes = uint32(all.holes + all.torn) //nolint:gosec // within a segment
	if whole {
		if bad {
			x.damaged(info.Name, false) // what is lost of it is noticed when it is read
		}
		return nil
	}
	head, headed := parseHeader(b, number)
	// The header was synced before the first frame was written.
	s.blank = headed && head.salt == x.salt || !slices.ContainsFunc(b[min(len(b), segmentHeader):], func(c byte) bool { return c != 0 })
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

// conclude applies what was removed, and sums up what is left. mu is held.
func (x *opening) conclude() error {
	expected := map[uint64]*segment{} // what must be in segments that are not there
	if c := x.checkpoint; c != nil {
		for i := range c.segments {
			m := &c.segments[i]
			j := x.at(m.number)
			var s *segment
			if j < len(x.segments) && x.segments[j].segment == m.number {
				s = x.segments[j]
			} else {
				s = &segment{trailer: trailer{segment: m.number, records: m.records}}
				expected[m.number] = s
			}
			m.apply(s)
		}
	}
	// A segment from the oldest checkpoint on is never deleted, and the next one says what was in it.
	for i, s := range x.segments {
		before := s.segment - 1
		if p := x.prefaces[i]; p.records > 0 && expected[before] == nil && (i == 0 || x.segments[i-1].segment != before) &&
			(len(x.tidy.reach) == 0 || before >= x.tidy.reach[0]) {
			expected[before] = &segment{trailer: trailer{segment: before, records: p.records}}
		}
	}
	for _, p := range x.removals {
		if j := x.at(p.segment); j < len(x.segments) && x.segments[j].segment == p.segment {
			x.segments[j].mark(p.id)
		} else if s := expected[p.segment]; s != nil {
			s.mark(p.id)
		}
	}
	for number, s := range expected {
		name := segmentName(number)
		if n := int(s.records) - s.count(); n > 0 {
			x.report.Lost += n
			if !slices.Contains(x.report.Damaged, name) {
				x.report.Damaged = append(x.report.Damaged, name)
			}
		}
	}
	for _, name := range x.report.Damaged { // a directory, of which nothing says what was in its place
		n, isSegment := numberIn(name, ".log")
		if i := x.at(n); isSegment && expected[n] == nil && (i == len(x.segments) || x.segments[i].segment != n) {
			x.report.Unknown++
		}
	}
	kept := x.segments[:0]
	for _, s := range x.segments {
		if err := x.sumUp(s); err != nil {
			return err
		}
		if s.index != nil && s.records == 0 {
			if err := x.leaveOut(s); err != nil {
				return err
			}
			continue
		}
		kept = append(kept, s)
	}
	x.segments = kept
	x.tidy.due = len(kept) > 0 && (x.checkpoint == nil || x.next > x.checkpoint.segment+1)
	if len(kept) > 0 {
		x.signal()
	}
	return nil
}

// leaveOut takes a segment away in which nothing was found. If something was written to it, it goes to
// where an operator finds it.
func (x *opening) leaveOut(s *segment) error {
	name := segmentName(s.segment)
	if s.blank {
		return x.fs.Remove(name)
	}
	if i := slices.Index(x.report.Damaged, name); i >= 0 { // it was only copied
		x.report.Damaged = slices.Delete(x.report.Damaged, i, i+1)
	}
	x.damaged(name, true)
	x.report.Unknown++
	return nil
}

// count is how many records were removed.
func (s *segment) count() (n int) {
	for id := range s.records {
		if s.isDead(id) {
			n++
		}
	}
	return n
}

// sumUp counts the records of a segment that were not removed, and those that are lost.
func (x *opening) sumUp(s *segment) error {
	each := func(id Stream, r run) {
		for i := range r.len() {
			if e := r.at(i); !s.isDead(e.id) {
				x.enter(s, id, e)
			}
		}
	}
	if s.index != nil {
		s.index.each(each)
	} else {
		f, err := x.fs.Open(segmentName(s.segment))
		if err != nil {
			return err
		}
		foot, err := readFooter(f, s.trailer)
		_ = f.Close()
		if err != nil {
			return err
		}
		foot.each(each)
		if foot.entries < s.records { // what was lost was told when the footer was made
			if _, now := x.missing[s.segment]; !now {
				for _, id := range absent(s.records, foot.each) {
					s.mark(id)
				}
			}
		}
	}
	g := x.missing[s.segment]
	for _, id := range g.ids { // those that were removed are no loss
		if s.mark(id) && id < g.written {
			x.report.Lost++
		}
	}
	return nil
}
