package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/dgraph-io/badger/v4/table"
	"golang.org/x/sys/unix"
)

// openNeed is what opening one directory may write: a new memtable file, and the old ones as tables.
const openNeed = 48 << 20

const (
	// Each record costs space once more when it is removed: its deletion is a
	// record in log and table until a compaction meets both.
	removalSize = 64
	// deletionSize is what one occupies in a table.
	deletionSize = 32
)

// written is the most that so many bytes of log become as tables.
func written(log uint64) uint64 { return log + log/8 }

// room refuses a write before badger maps a page that the disk cannot back.
// Removals may go below the mark: they are what makes room. A full memtable is
// written out by badger, whatever came last.
func (b *base) room(ops []op) error {
	floor := written(uint64(b.memTable)) + 2*batchBytes
	need := max(b.opt.MinFree/2, floor)
	if !onlyRemoves(ops) {
		need = max(b.opt.MinFree, floor) + b.head.count*removalSize
		if b.opt.disk.spent.Load() { // it was not given up for this
			need += uint64(b.opt.Ballast)
		}
	}
	free, err := b.opt.Free(b.dir)
	if err != nil {
		return &Error{Op: "measure free space", Path: b.dir, Err: err}
	}
	if err := b.settle(free); err != nil {
		return err
	}
	if free < need {
		return &Error{Op: "commit", Path: b.dir, Err: ErrDiskFull,
			Hint: fmt.Sprintf("%d MiB free, %d MiB wanted; writing goes on by itself when there is room", free>>20, need>>20)}
	}
	return nil
}

// A compaction writes its tables before it removes those they replace, on
// badger's goroutines and when badger likes, into mapped files: on a full disk it
// kills the process. So there are compactors only while the disk has room for
// all that they could write. Without them the store works and grows.

// toCompact is the most that compactions could write at once. Two never have a
// table in common, and what comes out of one is no more than what went in, nor
// than the live records and the deletions that must still hide something.
func (b *base) toCompact() uint64 {
	if b.db == nil {
		return 0
	}
	var all, keys uint64
	for _, l := range b.db.Levels() {
		all += uint64(l.Size)
	}
	for _, t := range b.db.Tables() {
		keys += uint64(t.KeyCount)
	}
	return min(all, written(b.bytes)+keys*deletionSize) + written(uint64(b.memTable))
}

// wanted is the room that compactors need here: for all they can write, for
// what the other directory on the disk may write, and for the work.
func (b *base) wanted(need uint64) uint64 {
	return uint64(b.opt.disk.claimed.Load()) - b.share + need + b.opt.MinFree
}

// settle stops the compactors while there is room for their end, and starts them when there is room again.
func (b *base) settle(free uint64) error {
	need := b.toCompact()
	quiet, wanted := b.quiet, b.wanted(need)
	switch {
	case b.db == nil: // it could not be opened again
		quiet = true
	case !quiet && free < wanted:
		quiet = true
	case quiet && free >= wanted+b.opt.MinFree/2: // not to and fro
		quiet = false
	case quiet:
		return nil
	default:
		b.claim(need)
		return nil
	}
	// Who reads holds mapped tables: the next commit tries again.
	if !b.gate.tryShut() {
		return nil
	}
	defer b.gate.open()
	if quiet && !b.quiet && b.db != nil {
		// A compaction that runs takes from what was free for it. Stopping it would
		// be no more than waiting for its end, and everybody with it.
		done := min(b.underway(), need)
		if free, err := b.opt.Free(b.dir); err == nil && free+done >= wanted {
			b.claim(need - done)
			return nil
		}
	}
	if !b.roomToClose() {
		return nil
	}
	if err := b.reopen(quiet); err != nil {
		return &Error{Op: "open again", Path: b.dir, Err: err}
	}
	if !quiet {
		b.opt.Log.Info("there is room to compact the store again", "store", b.name, "free_mib", free>>20)
	}
	b.say(free, wanted)
	return nil
}

// underway is what compactions have written of tables that are not in use yet.
// Nobody reads meanwhile: what is not in use any more is gone.
func (b *base) underway() (n uint64) {
	used := map[uint64]bool{}
	for _, t := range b.db.Tables() {
		used[t.ID] = true
	}
	files, _ := filepath.Glob(filepath.Join(b.dir, "*.sst"))
	for _, path := range files {
		if id, ok := table.ParseFileID(path); ok && !used[id] {
			n += occupied(path)
		}
	}
	return n
}

func (b *base) say(free, wanted uint64) {
	if b.quiet {
		b.opt.Log.Warn("too little free space to compact the store: it goes on, and grows", "store", b.name, "free_mib", free>>20, "wanted_mib", wanted>>20)
	}
}

// reopen closes the directory and opens it with or without compactors. mu is
// held and the gate shut, unless nobody knows of b yet.
func (b *base) reopen(quiet bool) error {
	need := b.toCompact()
	if b.db != nil {
		if err := b.shutDB(); err != nil {
			b.opt.Log.Error("badger did not close well", "store", b.name, "error", err)
		}
	}
	o := badgerOptions(b.dir, b.memTable, b.opt)
	if quiet {
		o, need = quietOptions(b.dir, b.memTable, b.opt), 0
	}
	if err := b.open(o); err != nil {
		return err
	}
	b.setQuiet(quiet)
	b.claim(need)
	return nil
}

// claim changes what this directory may write of what the disk has.
func (b *base) claim(n uint64) {
	b.opt.disk.claimed.Add(int64(n) - int64(b.share))
	b.share = n
}

// check settles without a commit.
func (b *base) check() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	free, err := b.opt.Free(b.dir)
	if err == nil {
		err = b.settle(free)
	}
	if err != nil {
		b.opt.Log.Error("the store cannot adapt to the space there is", "store", b.name, "error", err)
	}
}

func (b *base) setQuiet(quiet bool) {
	switch {
	case quiet && !b.quiet:
		b.opt.disk.quiet.Add(1)
	case !quiet && b.quiet:
		b.opt.disk.quiet.Add(-1)
	}
	b.quiet = quiet
}

// roomToClose tells whether what is in memory can be written out and the directory
// opened again, giving up the ballast if it must.
func (b *base) roomToClose() bool {
	return roomFor(filepath.Dir(b.dir), written(logged(b.dir))+1<<20, b.opt) == nil
}

// logged is how much of the memtables' logs is in use: they are sparse.
func logged(dir string) (n uint64) {
	logs, _ := filepath.Glob(filepath.Join(dir, "*.mem"))
	for _, path := range logs {
		n += occupied(path)
	}
	return n
}

// occupied is what a file takes of the disk; 0: it is gone.
func occupied(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return uint64(st.Blocks) * 512
}

// roomToOpen makes sure that opening parent/name cannot meet a full disk.
func roomToOpen(parent, name string, o Options) error {
	need := uint64(openNeed)
	if o.MinFree < need { // small test or tmpfs set-ups say so themselves
		need = o.MinFree
	}
	return roomFor(parent, max(need, written(logged(filepath.Join(parent, name)))+1<<20), o)
}

// roomFor makes sure that so much is free, giving up the ballast if it must.
func roomFor(dir string, need uint64, o Options) error {
	free, err := o.Free(dir)
	if err != nil {
		return &Error{Op: "measure free space", Path: dir, Err: err}
	}
	if free < need {
		path := filepath.Join(dir, "ballast")
		if os.Remove(path) == nil {
			o.disk.spent.Store(true)
			o.Log.Warn("the ballast file was given up to open or close the store", "path", path)
		}
		if free, err = o.Free(dir); err != nil {
			return &Error{Op: "measure free space", Path: dir, Err: err}
		}
	}
	if free < need {
		return &Error{Op: "open", Path: dir, Err: ErrDiskFull,
			Hint: fmt.Sprintf("%d MiB free, %d MiB needed to start", free>>20, need>>20)}
	}
	return nil
}

// restoreBallast allocates the ballast again once there is room for it and for the work.
func restoreBallast(dir string, o Options) {
	if o.Ballast <= 0 {
		return
	}
	path := filepath.Join(dir, "ballast")
	if st, err := os.Stat(path); err == nil && st.Size() == o.Ballast {
		o.disk.spent.Store(false)
		return
	}
	o.disk.spent.Store(true)
	if free, err := o.Free(dir); err != nil || free < 2*o.MinFree+uint64(o.Ballast) {
		return
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, o.Ballast)
	_ = f.Close()
	if err == nil || errors.Is(err, unix.EOPNOTSUPP) {
		o.disk.spent.Store(false)
	}
	if err != nil {
		_ = os.Remove(path)
		if !errors.Is(err, unix.EOPNOTSUPP) {
			o.Log.Warn("no ballast file", "path", path, "error", err)
		}
	}
}

// gate lets readers in together and shuts them out together. Unlike with a
// sync.RWMutex, who is inside may enter again while somebody waits to shut it:
// what a scan yields is looked up further.
type gate struct {
	mu      sync.Mutex
	changed *sync.Cond // on mu; made by the first who waits
	inside  int        // guarded by mu
	isShut  bool       // guarded by mu
}

func (g *gate) enter() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.isShut {
		g.wait()
	}
	g.inside++
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	g.tell()
}

// tryShut shuts the gate if nobody is inside.
func (g *gate) tryShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside > 0 || g.isShut {
		return false
	}
	g.isShut = true
	return true
}

// shut waits until nobody is inside.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.inside > 0 || g.isShut {
		g.wait()
	}
	g.isShut = true
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.isShut = false
	g.tell()
}

func (g *gate) wait() {
	if g.changed == nil {
		g.changed = sync.NewCond(&g.mu)
	}
	g.changed.Wait()
}

func (g *gate) tell() {
	if g.changed != nil {
		g.changed.Broadcast()
	}
}
