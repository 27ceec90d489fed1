package store

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
)

// KV is a store for a server that is the only source of its data (managementd). A
// damaged directory is an error with a hint and is never set aside, because the data
// cannot be got again from anywhere else.
type KV struct {
	base *base
	lock *os.File
	log  *slog.Logger

	maxOps, maxBytes int // of one transaction; a test makes them small

	mu      sync.Mutex // serialises commits
	pending *intent    // guarded by mu; a decided change that is not in place yet (kvlarge.go)
}

// KVOp is one change; a nil Value removes the key.
type KVOp struct {
	Key   string
	Value []byte
}

// The limits of one transaction are higher than a gateway's, because a server changes
// more at once: moving a space rewrites the assignments of its whole subtree. A change
// that exceeds them is written twice (kvlarge.go).
const (
	kvMemTable = 64 << 20
	kvBytes    = 8 << 20
	kvCount    = 50_000
)

// kvPrefix precedes every key of the caller, so that none can be the key of the head.
const kvPrefix = "k"

// OpenKV opens and checks the store in dir, and puts a change in place that was
// decided but not finished when the last process ended.
func OpenKV(dir string, o Options) (*KV, error) {
	return openKV(dir, o, spec{name: "data", memTable: kvMemTable}, kvCount, kvBytes)
}

func openKV(dir string, o Options, s spec, maxOps, maxBytes int) (*KV, error) {
	o = o.withDefaults()
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	b, _, err := openBase(dir, s, o)
	if err != nil {
		_ = lock.Close()
		var e *Error
		if errors.Is(err, ErrCorrupt) && errors.As(err, &e) && e.Hint == "" {
			e.Hint = "restore a backup, or move the directory away to start empty"
		}
		return nil, err
	}
	k := &KV{base: b, lock: lock, log: o.Log, maxOps: maxOps, maxBytes: maxBytes}
	if err := k.resume(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	restoreBallast(dir, o)
	return k, nil
}

// Load yields everything, in order of the keys.
func (k *KV) Load(yield func(key string, value []byte) error) error {
	return k.base.scan(kvPrefix, func(key string, value []byte) error {
		return yield(key[len(kvPrefix):], bytes.Clone(value))
	})
}

// Commit applies ops atomically and returns once they are synced. One op is at
// most 8 MiB: ErrTooLarge beyond. Ops that are too many for one transaction are
// staged first (kvlarge.go); an error has changed nothing either way.
func (k *KV) Commit(ops []KVOp) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pending != nil {
		if err := k.finish(); err != nil {
			return err
		}
	}
	low := make([]op, len(ops))
	size := 0
	for i, o := range ops {
		low[i] = op{kind: put, key: kvPrefix + o.Key, value: o.Value}
		if o.Value == nil {
			low[i].kind = remove
		}
		if low[i].size() > k.maxBytes {
			return &Error{Op: "commit", Path: k.base.dir, Err: ErrTooLarge}
		}
		size += low[i].size()
	}
	if len(low) > k.maxOps || size > k.maxBytes {
		return k.commitLarge(low)
	}
	return k.base.commit(low)
}

// Close closes the store.
func (k *KV) Close() error {
	return errors.Join(k.base.close(), k.lock.Close())
}
