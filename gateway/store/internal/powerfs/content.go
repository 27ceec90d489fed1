package powerfs

import "math/rand/v2"

const (
	pageSize   = 4096
	sectorSize = 512 // bytes that a disk writes whole or not at all
)

type page [pageSize]byte

// content is a file's bytes: as they are read, and what the disk has instead.
type content struct {
	size   int64
	pages  map[int64]*page // by number; a page that is missing is zero
	onDisk int64           // size at the last sync
	before map[int64]*page // the pages changed since the last sync, as they were then; nil: zero
}

// touch returns page n for writing.
func (c *content) touch(n int64) *page {
	c.keep(n)
	p := c.pages[n]
	if p == nil {
		if c.pages == nil {
			c.pages = map[int64]*page{}
		}
		p = new(page)
		c.pages[n] = p
	}
	return p
}

// keep remembers page n as the disk has it.
func (c *content) keep(n int64) {
	if _, ok := c.before[n]; ok {
		return
	}
	if c.before == nil {
		c.before = map[int64]*page{}
	}
	var old *page
	if p := c.pages[n]; p != nil {
		old = new(page)
		*old = *p
	}
	c.before[n] = old
}

func (c *content) write(b []byte, off int64) {
	for len(b) > 0 {
		n := copy(c.touch(off / pageSize)[off%pageSize:], b)
		b, off = b[n:], off+int64(n)
	}
	c.size = max(c.size, off)
}

func (c *content) read(b []byte, off int64) int {
	if off >= c.size {
		return 0
	}
	b = b[:min(int64(len(b)), c.size-off)]
	for done := 0; done < len(b); {
		at := off + int64(done)
		rest := b[done:min(len(b), done+int(pageSize-at%pageSize))]
		if p := c.pages[at/pageSize]; p != nil {
			copy(rest, p[at%pageSize:])
		} else {
			clear(rest)
		}
		done += len(rest)
	}
	return len(b)
}

func (c *content) truncate(size int64) {
	for n := range c.pages {
		switch start := n * pageSize; {
		case start >= size:
			c.keep(n)
			delete(c.pages, n)
		case start+pageSize > size:
			clear(c.touch(n)[size-start:])
		}
	}
	c.size = size
}

func (c *content) sync() { c.onDisk, c.before = c.size, nil }

// loss is what a cut does to data that was not synced.
type loss struct {
	rng   *rand.Rand
	tail  bool    // of each file, the sectors up to one of them are kept, in order
	share float64 // otherwise each sector is kept with this probability
}

func lossOf(rng *rand.Rand) loss {
	switch rng.IntN(3) {
	case 0:
		return loss{rng: rng} // all of it is lost
	case 1:
		return loss{rng: rng, tail: true}
	default:
		return loss{rng: rng, share: rng.Float64()}
	}
}

// afterCut is what the next start reads.
func (c *content) afterCut(l loss) content {
	next := content{size: c.onDisk, pages: map[int64]*page{}}
	if (l.tail || l.share > 0) && l.rng.IntN(2) == 0 {
		next.size = c.size
	}
	end := int64(0)
	if l.tail {
		end = l.rng.Int64N(max(c.size, 1)) / sectorSize
	}
	for n, p := range c.pages {
		if _, changed := c.before[n]; !changed {
			q := *p
			next.pages[n] = &q
		}
	}
	for n, old := range c.before {
		next.pages[n] = torn(old, c.pages[n], func(sector int64) bool {
			if l.tail {
				return n*(pageSize/sectorSize)+sector < end
			}
			return l.rng.Float64() < l.share
		})
	}
	next.truncate(next.size)
	next.sync()
	return next
}

// torn takes each sector from the new page or from the old one; nil is zero.
func torn(old, now *page, kept func(sector int64) bool) *page {
	p := new(page)
	if old != nil {
		*p = *old
	}
	for s := range int64(pageSize / sectorSize) {
		if !kept(s) {
			continue
		}
		part := p[s*sectorSize : (s+1)*sectorSize]
		clear(part)
		if now != nil {
			copy(part, now[s*sectorSize:])
		}
	}
	return p
}
