package management

import (
	"errors"
	"maps"
	"slices"
	"sync"
)

// Op is one write: Value replaces what Key held; nil deletes it.
type Op struct {
	Key   string
	Value []byte
}

// Store keeps the server's state. Load yields every pair once, in any order.
// Commit is atomic and durable when it returns nil, and has changed nothing
// when it returns an error. A seed is one Commit, so that it takes any number of
// ops; a value has 1 MiB at most. Load is called once, before the first Commit.
type Store interface {
	Load(yield func(key string, value []byte) error) error
	Commit(ops []Op) error
}

// ErrStore is what every failure of the Store is reported as.
var ErrStore = errors.New("the store failed")

// MemoryStore is a Store in memory. It is safe for concurrent use.
type MemoryStore struct {
	mu    sync.Mutex
	pairs map[string][]byte // guarded by mu
}

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore { return &MemoryStore{pairs: map[string][]byte{}} }

// Load yields copies of all pairs.
func (m *MemoryStore) Load(yield func(key string, value []byte) error) error {
	m.mu.Lock()
	pairs := maps.Clone(m.pairs)
	m.mu.Unlock()
	for k, v := range pairs {
		if err := yield(k, slices.Clone(v)); err != nil {
			return err
		}
	}
	return nil
}

// Commit applies all writes at once.
func (m *MemoryStore) Commit(ops []Op) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, op := range ops {
		if op.Value == nil {
			delete(m.pairs, op.Key)
		} else {
			m.pairs[op.Key] = slices.Clone(op.Value)
		}
	}
	return nil
}
