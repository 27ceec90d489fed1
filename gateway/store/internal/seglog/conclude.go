package seglog

import "slices"

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
		if s.index != nil && s.records == 0 && (!s.unread || !x.salted) {
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
	x.highest = max(x.highest, s.max)
	g := x.missing[s.segment]
	for _, id := range g.ids { // those that were removed are no loss
		if s.isDead(id) {
			continue
		}
		if id < g.written {
			x.report.Lost++
		}
		if !s.unread { // a later start may find it
			s.mark(id)
		}
	}
	return nil
}
