package seglog

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
)

var errCut = errors.New("the power is cut")

// cutDisk is a directory whose power can be cut: in place of any change, all that was not
// synced is then lost or kept, sector by sector, and of the names the first few changes.
type cutDisk struct {
	mu     sync.Mutex
	rng    *rand.Rand
	left   int // changes until the cut; negative: none is planned
	down   bool
	full   bool // nothing can be allocated
	names  map[string]*cutFile
	synced map[string]*cutFile
	edits  []func(names map[string]*cutFile)
	kept   []string
}

type cutFile struct {
	d         *cutDisk
	now, disk []byte
}

func newCutDisk(rng *rand.Rand) *cutDisk {
	return &cutDisk{rng: rng, left: -1, names: map[string]*cutFile{}, synced: map[string]*cutFile{}}
}

// change begins a change; d.mu is held.
func (d *cutDisk) change() error {
	if d.left == 0 {
		d.down = true
	}
	d.left--
	if d.down {
		return errCut
	}
	return nil
}

// after is the disk as the next start finds it.
func (d *cutDisk) after() *cutDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := newCutDisk(d.rng)
	d.down = true
	for _, e := range d.edits[:d.rng.IntN(len(d.edits)+1)] {
		e(d.synced)
	}
	share := []float64{0, 1, d.rng.Float64()}[d.rng.IntN(3)]
	for _, name := range slices.Sorted(maps.Keys(d.synced)) { // so that a seed does the same again
		f := d.synced[name]
		b := slices.Clone(f.disk)
		if share > 0 && len(f.now) != len(b) && d.rng.IntN(2) == 0 {
			b = append(b[:min(len(b), len(f.now))], make([]byte, max(len(f.now)-len(b), 0))...)
		}
		for at := 0; at < len(b); at += 512 {
			if at < len(f.now) && d.rng.Float64() < share {
				copy(b[at:min(at+512, len(b))], f.now[at:])
			}
		}
		n := &cutFile{d: next, now: b, disk: slices.Clone(b)}
		next.names[name], next.synced[name] = n, n
	}
	return next
}

func (d *cutDisk) edit(e func(map[string]*cutFile)) {
	e(d.names)
	d.edits = append(d.edits, e)
}

func (d *cutDisk) List() (list []Info, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, f := range d.names {
		list = append(list, Info{Name: name, Size: int64(len(f.now))})
	}
	return list, nil
}

var errFull = errors.New("no space")

func (d *cutDisk) Create(name string, size int64) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.change(); err != nil {
		return nil, err
	}
	if d.full {
		return nil, errFull
	}
	f := &cutFile{d: d, now: make([]byte, size)}
	d.edit(func(names map[string]*cutFile) { names[name] = f })
	return f, nil
}

func (d *cutDisk) Open(name string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.names[name]; f != nil {
		return f, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (d *cutDisk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.change(); err != nil {
		return err
	}
	d.edit(func(names map[string]*cutFile) { delete(names, name) })
	return nil
}

func (d *cutDisk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.change(); err != nil {
		return err
	}
	d.edit(func(names map[string]*cutFile) {
		names[to] = names[from]
		delete(names, from)
	})
	return nil
}

func (d *cutDisk) Keep(name string, move bool) error {
	d.mu.Lock()
	d.kept = append(d.kept, name)
	d.mu.Unlock()
	if !move {
		return nil
	}
	return d.Remove(name)
}

func (d *cutDisk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.change(); err != nil {
		return err
	}
	for _, e := range d.edits {
		e(d.synced)
	}
	d.edits = nil
	return nil
}

func (f *cutFile) ReadAt(b []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if off >= int64(len(f.now)) {
		return 0, io.EOF
	}
	n := copy(b, f.now[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *cutFile) WriteAt(b []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.change(); err != nil {
		return 0, err
	}
	if need := int(off) + len(b); need > len(f.now) {
		f.now = append(f.now, make([]byte, need-len(f.now))...)
	}
	return copy(f.now[off:], b), nil
}

func (f *cutFile) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.change(); err != nil {
		return err
	}
	if size > int64(len(f.now)) {
		f.now = append(f.now, make([]byte, int(size)-len(f.now))...)
	}
	f.now = f.now[:size:size]
	return nil
}

func (f *cutFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.change(); err != nil {
		return err
	}
	f.disk = slices.Clone(f.now)
	return nil
}

func (f *cutFile) Close() error { return nil }
