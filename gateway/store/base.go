package store

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// One transaction stays well below badger's limit of 15 % of MemTableSize;
// whole batches go into one memtable, so that replay takes all of it or none.
const (
	memTable   = 10 << 20
	valueLog   = 16 << 20
	batchBytes = 1480 << 10
	batchCount = 6000
)

type opKind uint8

const (
	put    opKind = iota
	create        // put of a key that is known to be new
	remove        // of a record that may not exist
	ensure        // put, unless the key is live: what is stored under it never changes
	erase         // of a record that the head does not count: see schemaSums
)

type op struct {
	kind  opKind
	key   string
	value []byte
}

func (o op) size() int { return int(sizeOf(o.key, o.value)) }

// sizeOf is at least what a record occupies, in bytes.
func sizeOf(key string, value []byte) uint32 { return uint32(len(key) + len(value) + 64) }

// base is one badger directory whose content is accounted for.
type base struct {
	name, dir string
	opt       Options
	memTable  int64
	witness   *slots // number of the last commit, written after it

	mu       sync.Mutex         // locked before readers
	head     head               // guarded by mu
	live     map[uint64]summary // guarded by mu: by the hash of the key
	bytes    uint64             // guarded by mu: sizes of the live records
	suspect  bool               // guarded by mu: a commit failed half-way, so head, live and bytes may not match the disk
	closed   bool               // guarded by mu
	quiet    bool               // guarded by mu: opened without compactors (headroom.go)
	reserved uint64             // guarded by mu: this directory's part of disk.reserved
	seed     maphash.Seed
	schema   uint32 // of a new directory

	// readers is held shared while badger is read. db changes only with mu and
	// readers locked; it is nil once closed, or if it could not be opened again.
	readers sharedLock
	db      *badger.DB
}

// summary is what is kept in memory of a live record.
type summary struct {
	sum  sum
	size uint32
}

func badgerOptions(dir string, size int64, o Options) badger.Options {
	b := badger.DefaultOptions(dir)
	b.Logger = badgerLog{o.Log}
	b.SyncWrites = !o.unsynced
	b.DetectConflicts = false // one writer
	b.MetricsEnabled = false
	b.CompactL0OnClose = false // it would need free space, just when there may be none
	b.NumGoroutines = 1
	b.MemTableSize = size
	b.NumMemtables = 2
	b.NumLevelZeroTables = 2
	b.NumLevelZeroTablesStall = 4
	b.NumCompactors = 2
	b.BaseTableSize = 2 << 20
	b.BaseLevelSize = 8 << 20
	// Only records above 1 MiB reach the value log, whose losses badger hides.
	b.ValueThreshold = 1 << 20
	b.ValueLogFileSize = valueLog
	b.BlockCacheSize = cmp.Or(o.blockCache, 4<<20)
	b.IndexCacheSize = 4 << 20
	b.Compression = options.Snappy
	// A bad checksum makes badger panic on a goroutine of its own; our scan meets
	// the same damage on ours, where it can be recovered from.
	b.ChecksumVerificationMode = options.NoVerification
	return b
}

// quietOptions open the directory without compactors: one that has not been
// checked yet, or one on a disk with too little free space (headroom.go).
func quietOptions(dir string, size int64, o Options) badger.Options {
	b := badgerOptions(dir, size, o)
	b.NumCompactors = 0
	b.NumLevelZeroTablesStall = 1 << 20 // without compactors nothing would end a stall
	return b
}

// start opens the directory and checks all of it. ErrCorrupt says that the
// content cannot be trusted.
func (b *base) start() (err error) {
	defer recoverAs(&err)
	sweepEmpty(b.dir)
	// Everything is read before a compaction may touch it. A damaged block makes
	// a compactor panic on a goroutine of badger's, which ends the process; rescan
	// panics on this one, where recoverAs turns it into an error.
	if err := b.open(quietOptions(b.dir, b.memTable, b.opt)); err != nil {
		return err
	}
	fresh, err := b.rescan()
	if err != nil {
		return err
	}
	b.setQuiet(true)
	if w := decodeSeq(b.witness.get()); w > b.head.seq {
		return fmt.Errorf("%w: commit %d was acknowledged, the last one found is %d", ErrCorrupt, w, b.head.seq)
	}
	free, err := b.opt.Free(b.dir)
	if err != nil {
		return &Error{Op: "measure free space", Path: b.dir, Err: err}
	}
	headroom := b.headroom(b.compactionBytes() + tableBytes(logBytes(b.dir))) // the old logs become tables
	// It is opened again even if it stays quiet: closing it is what writes the
	// old logs out.
	if err := b.reopen(free < headroom); err != nil {
		return err
	}
	b.warnIfQuiet(free, headroom)
	if fresh {
		return b.commitLocked(nil, true)
	}
	return nil
}

func (b *base) open(o badger.Options) (err error) {
	defer recoverAs(&err)
	db, err := badger.Open(o)
	if err == nil {
		b.db = db
		return nil
	}
	if notTheStore(err) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// rescan reads every record and compares their count and digest with the head. fresh tells
// that the directory is new and has no head yet.
func (b *base) rescan() (fresh bool, err error) {
	h, found := head{schema: cmp.Or(b.schema, schemaFlat)}, false
	var got head
	live, bytes := map[uint64]summary{}, uint64(0)
	err = iterate(b.db, "", "", func(key, raw []byte) error {
		if h.schema == schemaSums && isBox(key) { // not counted by the head; takeOver checks it
			return nil
		}
		value, err := unframe(key, raw)
		if err != nil {
			return err
		}
		if string(key) == headKey {
			found = true
			h, err = decodeHead(value)
			return err
		}
		r := summaryOf(key, raw)
		bytes += uint64(r.size)
		live[maphash.Bytes(b.seed, key)] = r
		got.count++
		got.digest = got.digest.plus(r.sum)
		return nil
	})
	switch {
	case err != nil:
		return false, err
	case !found && got.count > 0:
		return false, fmt.Errorf("%w: %d records and no head", ErrCorrupt, got.count)
	case h.schema > schema:
		return false, fmt.Errorf("%w: schema %d, this release knows %d", ErrSchema, h.schema, schema)
	case h.count != got.count || h.digest != got.digest:
		return false, fmt.Errorf("%w: %d records, the head says %d (or their content differs)", ErrCorrupt, got.count, h.count)
	}
	b.head, b.live, b.bytes, b.suspect = h, live, bytes, false
	return !found, nil
}

// get returns the value; ErrNotFound if there is none.
func (b *base) get(key string) (value []byte, err error) {
	defer recoverAs(&err)
	b.readers.lockShared()
	defer b.readers.unlockShared()
	if b.db == nil {
		return nil, ErrClosed
	}
	err = b.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte(key))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		return item.Value(func(raw []byte) error {
			v, err := unframe(key, raw)
			value = bytes.Clone(v)
			return err
		})
	})
	return value, err
}

// getRaw returns what is stored under a key as it is stored: unframe checks it.
func (b *base) getRaw(key string) (raw []byte, err error) {
	err = b.scanFrom(key, key, func(k, r []byte) error {
		if string(k) == key {
			raw = bytes.Clone(r)
		}
		return errEnough
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return raw, err
}

// holds tells whether something is stored under the prefix, or cannot be read.
func (b *base) holds(prefix string) bool {
	return b.scanFrom(prefix, prefix, func(_, _ []byte) error { return errEnough }) != nil
}

// scan yields what is stored under the prefix, in order of the keys. The value is valid during the call only.
func (b *base) scan(prefix string, yield func(key string, value []byte) error) error {
	b.readers.lockShared()
	defer b.readers.unlockShared()
	if b.db == nil {
		return ErrClosed
	}
	return iterate(b.db, prefix, prefix, func(key, raw []byte) error {
		if string(key) == headKey {
			return nil
		}
		v, err := unframe(key, raw)
		if err != nil {
			return err
		}
		return yield(string(key), v)
	})
}

// scanFrom yields what is stored under the prefix from a key on, in order, as it
// is stored: unframe checks it. Both are valid during the call only.
func (b *base) scanFrom(prefix, from string, yield func(key, raw []byte) error) error {
	b.readers.lockShared()
	defer b.readers.unlockShared()
	if b.db == nil {
		return ErrClosed
	}
	return iterate(b.db, prefix, from, yield)
}

// read yields those of the keys, which rise and have the prefix, that are stored, as they
// are stored: unframe checks it. raw is valid during the call only. It moves on from one
// key to the next one, and seeks only where something lies between them.
func (b *base) read(prefix string, keys []string, yield func(i int, raw []byte)) (err error) {
	defer recoverAs(&err)
	b.readers.lockShared()
	defer b.readers.unlockShared()
	if b.db == nil {
		return ErrClosed
	}
	return b.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefix)})
		defer it.Close()
		for i, key := range keys {
			if i == 0 || it.Valid() && string(it.Item().Key()) < key {
				it.Seek([]byte(key))
			}
			if !it.Valid() {
				return nil
			}
			item := it.Item()
			if string(item.Key()) != key {
				continue
			}
			if err := item.Value(func(raw []byte) error { yield(i, raw); return nil }); err != nil {
				return err
			}
			it.Next()
		}
		return nil
	})
}

// iterate never prefetches: prefetching reads on badger's own goroutines, where a damaged block cannot be recovered from.
func iterate(db *badger.DB, prefix, from string, yield func(key, raw []byte) error) (err error) {
	defer recoverAs(&err)
	return db.View(func(txn *badger.Txn) error { return iterateIn(txn, prefix, from, yield) })
}

func iterateIn(txn *badger.Txn, prefix, from string, yield func(key, raw []byte) error) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefix)})
	defer it.Close()
	for it.Seek([]byte(from)); it.Valid(); it.Next() {
		item := it.Item()
		if err := item.Value(func(raw []byte) error { return yield(item.Key(), raw) }); err != nil {
			return err
		}
	}
	return nil
}

// collect gives unused files of the value log back to the disk. Badger frees at
// most one file a call, and copies what is still needed of it first.
func (b *base) collect() {
	b.readers.lockShared()
	defer b.readers.unlockShared()
	for range 16 {
		free, err := b.opt.Free(b.dir)
		if err != nil || free < b.opt.MinFree+valueLog || b.db == nil || b.db.RunValueLogGC(0.5) != nil {
			return
		}
	}
}

func (b *base) diskBytes() int64 {
	b.readers.lockShared()
	defer b.readers.unlockShared()
	if b.db == nil {
		return 0
	}
	lsm, vlog := b.db.Size()
	return lsm + vlog
}

func (b *base) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.witness.close()
	b.reserve(0)
	b.setQuiet(false)
	b.readers.lock()
	defer b.readers.unlock()
	if b.db == nil {
		return nil
	}
	if !b.canClose() {
		// Closing would write the memtable out as a table. Its content is also in
		// its log, synced, and the next start reads that.
		b.opt.Log.Warn("the disk is full: the store is left as it is, and put in order at the next start", "store", b.name)
		b.db = nil
		return nil
	}
	return b.shutDB()
}

// shutDB closes badger. It is called with mu and readers locked, or before b is
// shared with anybody.
func (b *base) shutDB() (err error) {
	defer recoverAs(&err)
	db := b.db
	b.db = nil
	return db.Close()
}

// recoverAs turns a panic over a damaged block into an error. It helps only on our own goroutines.
func recoverAs(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: badger panicked: %v", ErrCorrupt, p)
	}
}

// notTheStore tells whether opening failed for a reason outside of the store
// (permissions, an error of the operating system), so that its content may well be whole.
func notTheStore(err error) bool {
	return errors.Is(err, os.ErrPermission) || isErrno(err)
}
