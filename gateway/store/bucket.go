package store

import (
	"bytes"
	"strings"
)

// Op is one change of a bucket; a nil Value removes the key.
type Op struct {
	Bucket string
	Key    string
	Value  []byte
}

// Submit commits ops together, in one transaction. done (may be nil) runs
// after the sync, in submission order, on the goroutine behind the committer. The
// values must not change before that.
func (s *Store) Submit(ops []Op, done func(error)) {
	low := make([]op, len(ops))
	for i, o := range ops {
		low[i] = op{kind: put, key: bucketKey(o.Bucket) + o.Key, value: o.Value}
		if o.Value == nil {
			low[i].kind = remove
		}
	}
	s.commit.submit(submission{ops: low, done: done})
}

// Bucket is a namespace of messages/ for state of the gateway's services: twins, reported patches, the deployment journal.
type Bucket struct {
	store  *Store
	name   string
	prefix string
}

// Bucket names a namespace. Names must not contain NUL.
func (s *Store) Bucket(name string) *Bucket {
	name = strings.ReplaceAll(name, "\x00", "")
	return &Bucket{store: s, name: name, prefix: bucketKey(name)}
}

func bucketKey(name string) string { return nsBucket + name + "\x00" }

// Put stores the value; see Submit for done.
func (b *Bucket) Put(key string, value []byte, done func(error)) {
	if value == nil {
		value = []byte{}
	}
	b.store.Submit([]Op{{b.name, key, value}}, done)
}

// Delete removes the key; that it does not exist is no error.
func (b *Bucket) Delete(key string, done func(error)) {
	b.store.Submit([]Op{{b.name, key, nil}}, done)
}

// Get reads what is committed; ErrNotFound if nothing is.
func (b *Bucket) Get(key string) ([]byte, error) { return b.store.messages.get(b.prefix + key) }

// Load yields everything committed, in order of the keys.
func (b *Bucket) Load(yield func(key string, value []byte) error) error {
	return b.store.messages.scan(b.prefix, func(key string, value []byte) error {
		return yield(key[len(b.prefix):], bytes.Clone(value))
	})
}
