package seglog

import (
	"context"
	"slices"
)

// Verify reads the records of all segments that are not written any more, and returns the names of
// the files in which some do not verify, and how many. A start does not read them. It holds
// no lock while it reads, and ends with ctx.
func (l *Log) Verify(ctx context.Context) (damaged []string, records int, err error) {
	l.mu.RLock()
	list := slices.Clone(l.ended())
	l.mu.RUnlock()
	for _, s := range list {
		if ctx.Err() != nil {
			return damaged, records, nil //nolint:nilerr // it ends as asked
		}
		n, err := l.verify(s)
		if err != nil {
			return damaged, records, err
		}
		if n == 0 {
			continue
		}
		name := segmentName(s.segment)
		damaged, records = append(damaged, name), records+n
		if err := l.fs.Keep(name, false); err != nil {
			l.opt.Log.Warn("a damaged file of the outbox could not be kept", "name", name, "err", err)
		}
	}
	return damaged, records, nil
}

// verify counts the stored records of a segment that do not verify.
func (l *Log) verify(s *segment) (damaged int, err error) {
	type placed struct {
		entry
		stream Stream
	}
	var list []placed
	l.mu.RLock()
	if i := l.at(s.segment); i == len(l.segments) || l.segments[i] != s || s.live == 0 {
		l.mu.RUnlock()
		return 0, nil
	}
	o, err := l.footers.open(l.fs, s)
	if err != nil {
		l.mu.RUnlock()
		return 0, err
	}
	seed := seedOf(s.salt, s.segment)
	each := o.footer.each
	if s.index != nil {
		each = s.index.each
	}
	each(func(id Stream, r run) {
		for i := range r.len() {
			if e := r.at(i); !s.isDead(e.id) {
				list = append(list, placed{e, id})
			}
		}
	})
	l.mu.RUnlock()
	defer l.footers.release(o)
	slices.SortFunc(list, func(a, b placed) int { return order(uint64(a.offset), uint64(b.offset)) })
	var b []byte
	from := uint32(0)
	for _, e := range list {
		if e.offset < from || e.offset+e.length > from+uint32(len(b)) { //nolint:gosec // maxRead or one frame
			from = e.offset
			b = slices.Grow(b[:0], int(max(e.length, maxRead)))[:max(e.length, maxRead)]
			n, _ := o.file.ReadAt(b, int64(from))
			b = b[:n]
		}
		at := e.offset - from
		if end := at + e.length; int(end) > len(b) || recordOf(e.stream, s.segment, e.entry, b[at:end], seed).Damaged {
			damaged++
		}
	}
	return damaged, nil
}
