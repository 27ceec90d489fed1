package seglog

import (
	"slices"
)

// Above tells whether a record of the stream with a higher number is stored.
func (l *Log) Above(id Stream, number uint64) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	st := l.streams[id]
	return st != nil && st.Last > number
}

// Reorder puts the records of a stream, which were not appended in the order of their numbers,
// into that order: they are appended once more, and then removed where they were. Commit and
// Tidy must not run.
func (l *Log) Reorder(id Stream) error {
	var all []effect
	l.mu.RLock()
	for _, s := range l.segments {
		if s.live == 0 {
			continue
		}
		o, r, err := l.open(s, id)
		if err != nil {
			l.mu.RUnlock()
			return err
		}
		for i := range r.len() {
			if e := r.at(i); !s.isDead(e.id) {
				all = append(all, effect{segment: s, number: s.segment, stream: id, entry: e, removes: true})
			}
		}
		l.footers.release(o)
	}
	l.mu.RUnlock()
	slices.SortStableFunc(all, func(a, b effect) int { return order(a.entry.number, b.entry.number) })
	const together = 256
	for some := range slices.Chunk(all, together) {
		if err := l.again(id, some); err != nil {
			return err
		}
	}
	return l.Commit([]Op{{places: all}}, true)
}

// again appends records once more.
func (l *Log) again(id Stream, list []effect) error {
	var ops []Op
	for _, x := range list {
		var buf Buffer
		l.mu.RLock()
		o, err := l.footers.open(l.fs, x.segment)
		if err == nil {
			o.read(id, x.segment, []entry{x.entry}, &buf)
			l.footers.release(o)
		}
		l.mu.RUnlock()
		if err != nil {
			return err
		}
		r := buf.list[0]
		if r.Damaged { // it is removed with the others
			continue
		}
		if r.Content, err = l.Blob(&r); err != nil {
			r.Blob = BlobID{} // whoever reads it says that it is lost
		}
		r.Origin = 0 // it is remembered already
		ops = append(ops, Op{Append: &r})
	}
	return l.Commit(ops, true)
}
