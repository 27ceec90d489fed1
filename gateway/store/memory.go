package store

import (
	"crypto/rand"
	"fmt"
	"hash/maphash"
	"math"

	"github.com/dgraph-io/badger/v4/options"

	"github.com/gatehouse/gatehouse/gateway/store/internal/seglog"
)

// nowhere is the directory that errors of a store in memory name.
const nowhere = "(memory)"

// OpenMemory opens an empty store that writes nothing to any disk. It is for checking
// a configuration: the parts of the daemon are built over it. RaiseHighWater and
// MarkDirty do not work in it, because their files do not exist.
func OpenMemory(o Options) (*Store, error) {
	o = o.withDefaults()
	o.Ballast = -1
	o.Free = func(string) (uint64, error) { return math.MaxInt64, nil }
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails: crypto/rand ends the process instead
	sealer, err := newSealer(nowhere, func() ([]byte, error) { return secret, nil })
	if err != nil {
		return nil, err
	}
	s := &Store{dir: nowhere, opt: o}
	if s.messages, err = memoryBase("messages", o); err != nil {
		return nil, err
	}
	s.commit, s.people = newMessageCommitter(s.messages), newPeople(s.messages)
	log, _, err := seglog.Open(seglog.NewMemory(), seglog.Options{Segment: 1 << 20, Log: o.Log})
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	s.box = newBoxLog(nowhere, log, o)
	s.cache = &Cache{dir: nowhere, opt: o, sealer: sealer, dirty: new(slots), clock: new(slots)}
	if s.cache.base, err = memoryBase("cache", o); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// smallTable bounds the memory that a store in memory allocates when it is opened, for each of its two
// halves. The daemon opens one at every reload, beside the store that it has, and Go keeps that memory for
// a while. A transaction is at most 15 % of it, which is enough for the largest value that a start writes:
// a root key package of 256 KiB.
const smallTable = 2 << 20

func memoryBase(name string, o Options) (*base, error) {
	b := &base{
		name:     name,
		dir:      nowhere,
		memTable: smallTable,
		opt:      o,
		witness:  new(slots),
		live:     map[uint64]summary{},
		seed:     maphash.MakeSeed(),
	}
	settings := quietOptions("", smallTable, o).WithInMemory(true).WithSyncWrites(false)
	// Nothing is read back from a table: it needs no cache, and so no compression.
	settings.BlockCacheSize, settings.IndexCacheSize, settings.Compression = 0, 0, options.None
	settings.ValueThreshold = smallTable * 14 / 100 // without a value log no larger value is taken; badger wants it below a transaction
	if err := b.open(settings); err != nil {
		return nil, fmt.Errorf("a store in memory: %w", err)
	}
	if _, err := b.rescan(); err != nil {
		_ = b.shutDB()
		return nil, err
	}
	return b, nil
}
