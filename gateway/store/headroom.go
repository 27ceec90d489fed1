package store

import (
	"fmt"
	"path/filepath"

	"github.com/dgraph-io/badger/v4/table"
	"golang.org/x/sys/unix"
)

// Headroom is free disk space that badger may need before it asks for it.
//
// Badger writes through memory-mapped files, hence a full disk reaches it as
// SIGBUS, which ends the process. Two things are therefore done before badger
// touches a page: a commit is refused while too little is free (admit), and
// badger's compactors run only while the disk has free what all compactions
// together could write (adapt).
//
// A compaction writes its new tables before it removes the ones they replace,
// on badger's goroutines and whenever badger decides to: it cannot be asked to
// wait. The only way to stop the compactors is to close the directory and open it
// without them. The directory then works, and grows, until disk space is free again;
// this state is called quiet.

const (
	// removalSize is the disk space that a removal costs until a compaction meets
	// the removed record and its deletion: the deletion is itself a record, in
	// the log and in a table.
	removalSize = 64
	// deletionSize is the part of removalSize that is in a table.
	deletionSize = 32
)

// tableBytes is the most that so many bytes of a memtable's log occupy once
// badger has written them out as a table.
func tableBytes(log uint64) uint64 { return log + log/8 }

// admit refuses a commit that could make badger write to a full disk, with
// ErrDiskFull. Removals are still accepted with half of Options.MinFree, because
// they are how space becomes free again. It also adapts to the free space, which
// it has just measured. It is called with mu held.
func (b *base) admit(ops []op) error {
	// Any commit may be the one that fills the memtable, which badger then writes
	// out as a whole.
	floor := tableBytes(uint64(b.memTable)) + 2*batchBytes
	need := max(b.opt.MinFree/2, floor)
	if !onlyRemoves(ops) {
		need = max(b.opt.MinFree, floor) + b.head.count*removalSize
		if b.opt.disk.ballastSpent.Load() {
			// The ballast was given up so that the store could be opened or
			// closed. New records must not use the disk space that it left.
			need += uint64(b.opt.Ballast)
		}
	}
	free, err := b.opt.Free(b.dir)
	if err != nil {
		return &Error{Op: "measure free space", Path: b.dir, Err: err}
	}
	if err := b.adapt(free); err != nil {
		return err
	}
	if free < need {
		return &Error{
			Op:   "commit",
			Path: b.dir,
			Err:  ErrDiskFull,
			Hint: fmt.Sprintf("%d MiB free, %d MiB wanted; writing goes on by itself when enough is free", free>>20, need>>20),
		}
	}
	return nil
}

// compactionBytes is the most that the compactions of this directory could
// write at once. It is called with mu held.
//
// Two compactions never share a table, and none writes more than it reads:
// together they write no more than all tables. They also write no more than the
// live records and those deletions that still have to hide an older record. The
// memtable is counted in addition, because it becomes a table meanwhile.
func (b *base) compactionBytes() uint64 {
	if b.db == nil {
		return 0
	}
	var tables, keys uint64
	for _, l := range b.db.Levels() {
		tables += uint64(l.Size)
	}
	for _, t := range b.db.Tables() {
		keys += uint64(t.KeyCount)
	}
	return min(tables, tableBytes(b.bytes)+keys*deletionSize) + tableBytes(uint64(b.memTable))
}

// headroom is the free space with which this directory may run compactors that
// write up to need bytes: need, what the other directory on the same disk has
// reserved for its own compactors, and MinFree for the commits of both.
func (b *base) headroom(need uint64) uint64 {
	return uint64(b.opt.disk.reserved.Load()) - b.reserved + need + b.opt.MinFree
}

// adapt opens the directory again without compactors if less is free than they
// could need, and with them once enough is free. Otherwise it only brings the
// reservation up to date. It is called with mu held.
func (b *base) adapt(free uint64) error {
	need := b.compactionBytes()
	quiet, headroom := b.quiet, b.headroom(need)
	switch {
	case b.db == nil: // an earlier attempt to open it again failed
		quiet = true
	case !quiet && free < headroom:
		quiet = true
	case quiet && free >= headroom+b.opt.MinFree/2: // hysteresis: opening reads the whole log
		quiet = false
	case quiet:
		return nil
	default:
		b.reserve(need)
		return nil
	}
	// Readers hold pages of the mapped tables. If there are any, the next commit
	// or the next tick of Run tries again.
	if !b.readers.tryLock() {
		return nil
	}
	defer b.readers.unlock()
	if quiet && !b.quiet && b.db != nil {
		// Free space may be low because a running compaction uses what was
		// reserved for it. That is no reason to close the directory: closing waits
		// for the compaction, and all readers and writers wait for the closing.
		done := min(b.compactedBytes(), need)
		if free, err := b.opt.Free(b.dir); err == nil && free+done >= headroom {
			b.reserve(need - done)
			return nil
		}
	}
	if !b.canClose() {
		return nil
	}
	if err := b.reopen(quiet); err != nil {
		return &Error{Op: "open again", Path: b.dir, Err: err}
	}
	if !quiet {
		b.opt.Log.Info("there is space to compact the store again", "store", b.name, "free_mib", free>>20)
	}
	b.warnIfQuiet(free, headroom)
	return nil
}

// compactedBytes is what running compactions have written so far: the size of
// the table files that badger does not list yet. It is called with mu and readers locked,
// because a reader keeps replaced tables alive, which badger does not list either.
func (b *base) compactedBytes() (n uint64) {
	listed := map[uint64]bool{}
	for _, t := range b.db.Tables() {
		listed[t.ID] = true
	}
	files, _ := filepath.Glob(filepath.Join(b.dir, "*.sst"))
	for _, path := range files {
		if id, ok := table.ParseFileID(path); ok && !listed[id] {
			n += diskUsage(path)
		}
	}
	return n
}

func (b *base) warnIfQuiet(free, headroom uint64) {
	if b.quiet {
		b.opt.Log.Warn("too little free space to compact the store: it goes on, and grows",
			"store", b.name, "free_mib", free>>20, "wanted_mib", headroom>>20)
	}
}

// reopen closes the directory and opens it with compactors, or without them. It
// is called with mu and readers locked, or before b is shared with anybody. If
// opening fails, db is nil: reads and commits fail with ErrClosed until adapt
// has opened it.
func (b *base) reopen(quiet bool) error {
	need := b.compactionBytes()
	if b.db != nil {
		if err := b.shutDB(); err != nil {
			b.opt.Log.Error("badger did not close well", "store", b.name, "err", err)
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
	b.reserve(need)
	return nil
}

// reserve sets how much of the disk the compactors of this directory may use.
func (b *base) reserve(n uint64) {
	b.opt.disk.reserved.Add(int64(n) - int64(b.reserved))
	b.reserved = n
}

// measure adapts to the free space without a commit. Run calls it every
// minute, so that a quiet directory that nobody writes to recovers too.
func (b *base) measure() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	free, err := b.opt.Free(b.dir)
	if err == nil {
		err = b.adapt(free)
	}
	if err != nil {
		b.opt.Log.Error("the store cannot adapt to the space there is", "store", b.name, "err", err)
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

// canClose tells whether the disk has free what closing the directory and
// opening it again may write: the memtables, as tables. It gives up the ballast
// if that is what it takes.
func (b *base) canClose() bool {
	return ensureFree(filepath.Dir(b.dir), tableBytes(logBytes(b.dir))+1<<20, b.opt) == nil
}

// logBytes is how much of the memtables' log files is in use. The files are
// sparse, so their length says nothing.
func logBytes(dir string) (n uint64) {
	logs, _ := filepath.Glob(filepath.Join(dir, "*.mem"))
	for _, path := range logs {
		n += diskUsage(path)
	}
	return n
}

// diskUsage is how many bytes of the disk a file occupies; 0 if it does not exist.
func diskUsage(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return uint64(st.Blocks) * 512
}
