package store

import (
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The defaults of Options.
const (
	DefaultMinFree = 128 << 20
	DefaultBallast = 32 << 20
)

// MaxRecord is the largest record in bytes, framing included: a 1 MiB MQTT
// packet with its properties and bookkeeping.
const MaxRecord = 1<<20 + 256<<10

// Options of Open and OpenKV. The zero value works.
type Options struct {
	// Log gets badger's warnings and what is set aside. Nil: slog.Default().
	Log *slog.Logger
	// Key yields the sealing key for secrets in the cache, at least 32
	// bytes. Nil: a key file beside the store, made at the first start (which
	// protects a copied cache, not a copied directory).
	Key KeySource
	// MinFree is the free space in bytes below which writes are refused;
	// below half of it removals are refused too. 0: DefaultMinFree.
	MinFree uint64
	// Ballast is the size in bytes of the file that is deleted when a start finds too
	// little free space. 0: DefaultBallast, negative: none.
	Ballast int64
	// Free measures the free disk space at a directory, in bytes. Nil: statfs.
	Free func(dir string) (uint64, error)
	// Now is the clock for names of quarantined directories. Nil: time.Now.
	Now func() time.Time

	disk *disk
	// segment is the size of the outbox's segments in bytes; 0: that of the log.
	segment int64
	// blockCache is how many bytes of tables are kept for reading; 0: 4 MiB.
	blockCache int64
	// unsynced commits without a sync. A test sets it to show that it notices a missing sync.
	unsynced bool
}

// disk is what the directories of one store, which are on the same disk, share.
type disk struct {
	reserved     atomic.Int64 // bytes that their compactions may write together
	quiet        atomic.Int32 // how many are open without compactors
	ballastSpent atomic.Bool  // the ballast file was given up and not restored yet
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.MinFree == 0 {
		o.MinFree = DefaultMinFree
	}
	if o.Ballast == 0 {
		o.Ballast = DefaultBallast
	}
	if o.Free == nil {
		o.Free = statfs
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.disk = new(disk)
	return o
}

func statfs(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}
