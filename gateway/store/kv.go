package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
)

// KV is a store for a server that is itself the source of its data. A damaged
// directory is an error with a hint and is never set aside, because nothing else could
// supply the data again.
type KV struct {
	base *base
	lock *os.File
}

// KVOp is one change; a nil Value removes the key.
type KVOp struct {
	Key   string
	Value []byte
}

// A server changes more at once than a gateway: moving a space rewrites the
// assignments of its whole subtree in one transaction.
const (
	kvMemTable = 64 << 20
	kvBytes    = 8 << 20
	kvCount    = 50_000
)

// kvPrefix precedes every key of the caller, so that none can be the key of the head.
const kvPrefix = "k"

// OpenKV opens and checks the store in dir.
func OpenKV(dir string, o Options) (*KV, error) {
	o = o.withDefaults()
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	b, _, err := openBase(dir, spec{name: "data", memTable: kvMemTable}, o)
	if err != nil {
		_ = lock.Close()
		var e *Error
		if errors.Is(err, ErrCorrupt) && errors.As(err, &e) && e.Hint == "" {
			e.Hint = "restore a backup, or move the directory away to start empty"
		}
		return nil, err
	}
	restoreBallast(dir, o)
	return &KV{base: b, lock: lock}, nil
}

// Load yields everything, in order of the keys.
func (k *KV) Load(yield func(key string, value []byte) error) error {
	return k.base.scan(kvPrefix, func(key string, value []byte) error {
		return yield(key[len(kvPrefix):], bytes.Clone(value))
	})
}

// Commit applies ops atomically and returns once they are synced. At most
// 50,000 ops or 8 MiB: ErrTooLarge beyond.
func (k *KV) Commit(ops []KVOp) error {
	low := make([]op, len(ops))
	size := 0
	for i, o := range ops {
		low[i] = op{kind: put, key: kvPrefix + o.Key, value: o.Value}
		if o.Value == nil {
			low[i].kind = remove
		}
		size += low[i].size()
	}
	if len(low) > kvCount || size > kvBytes {
		return &Error{Op: "commit", Path: k.base.dir, Err: ErrTooLarge}
	}
	return k.base.commit(low)
}

// Close closes the store.
func (k *KV) Close() error {
	return errors.Join(k.base.close(), k.lock.Close())
}
