package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// A change that is larger than a transaction is written twice:
//
//  1. its ops, in batches, as staged records, which nothing reads;
//  2. the intent, one small record that counts them. This transaction decides:
//     before it the old state is valid, after it the new one;
//  3. the ops again, in batches, each to its own key;
//  4. the intent and the staged records go.
//
// A process that ends in step 1 leaves staged records without an intent, which
// the next change of this size removes. One that ends in step 3 or 4 leaves the
// intent, and the next start goes on from there: to apply an op twice changes
// nothing. A write that fails in step 3 does not undo the decision: Commit
// reports success, and the next Commit, or the next start, puts the rest in
// place before anything else is written.
const (
	kvStaged = "s" // then the ordinal, 8 bytes, big endian: one op
	kvIntent = "i"
)

// intent is the decision to apply what is staged.
type intent struct {
	Count  uint64 // of the staged ops
	Digest sum    // of the staged records
}

// stagedOverhead is at most what the record of a staged op is larger than the op.
const stagedOverhead = len(kvStaged) + 8 + 1 + binary.MaxVarintLen64

func stagedKey(n uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte(kvStaged), n))
}

// stage makes the n-th staged record: the kind, the length of the key, the key, the value.
func stage(n uint64, o op) op {
	b := make([]byte, 0, stagedOverhead+len(o.key)+len(o.value))
	b = append(b, byte(o.kind))
	b = binary.AppendUvarint(b, uint64(len(o.key)))
	b = append(append(b, o.key...), o.value...)
	return op{kind: put, key: stagedKey(n), value: b}
}

func unstage(b []byte) (op, error) {
	if len(b) == 0 || opKind(b[0]) != put && opKind(b[0]) != remove {
		return op{}, fmt.Errorf("%w: a staged change of an unknown kind", ErrCorrupt)
	}
	size, n := binary.Uvarint(b[1:])
	rest := b[1+max(n, 0):]
	if n <= 0 || size > uint64(len(rest)) {
		return op{}, fmt.Errorf("%w: a staged change is short", ErrCorrupt)
	}
	o := op{kind: opKind(b[0]), key: string(rest[:size])}
	if o.kind == put {
		o.value = append([]byte{}, rest[size:]...)
	}
	return o, nil
}

// commitLarge is called with mu held.
func (k *KV) commitLarge(ops []op) error {
	if err := k.clearStaged(); err != nil { // what an interrupted attempt left
		return err
	}
	next := intent{Count: uint64(len(ops))}
	staged := make([]op, len(ops))
	for i, o := range ops {
		staged[i] = stage(uint64(i), o)
		next.Digest = next.Digest.plus(sumOf(staged[i].key, staged[i].value))
	}
	for batch := range batchesOf(staged, k.maxOps, k.maxBytes) {
		if err := k.base.commit(batch); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(next)
	if err != nil {
		return &Error{Op: "encode intent", Path: k.base.dir, Err: err}
	}
	if err := k.base.commit([]op{{put, kvIntent, raw}}); err != nil {
		return err
	}
	k.pending = &next
	if err := k.finish(); err != nil {
		k.log.Warn("a large change is stored, but not in its place yet: the next change or start goes on with it", "err", err)
	}
	return nil
}

// resume reads the intent, if there is one, and finishes it.
func (k *KV) resume() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	raw, err := k.base.get(kvIntent)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return &Error{Op: "read intent", Path: k.base.dir, Err: err}
	}
	k.pending = new(intent)
	if err := json.Unmarshal(raw, k.pending); err != nil {
		return &Error{Op: "read intent", Path: k.base.dir, Err: fmt.Errorf("%w: %w", ErrCorrupt, err)}
	}
	return k.finish()
}

// finish puts what is staged in place and removes the intent. It is called with
// mu held.
func (k *KV) finish() error {
	var got intent
	for got.Count < k.pending.Count {
		batch, err := k.staged(&got)
		if err != nil {
			return &Error{Op: "apply staged change", Path: k.base.dir, Err: err}
		}
		if len(batch) == 0 || got.Count >= k.pending.Count && got != *k.pending {
			return &Error{Op: "apply staged change", Path: k.base.dir,
				Err: fmt.Errorf("%w: %d staged records, the intent says %d (or their content differs)", ErrCorrupt, got.Count, k.pending.Count)}
		}
		if err := k.base.commit(batch); err != nil {
			return err
		}
	}
	if err := k.base.commit([]op{{kind: remove, key: kvIntent}}); err != nil {
		return err
	}
	k.pending = nil
	if err := k.clearStaged(); err != nil {
		k.log.Warn("staged records stay for now", "err", err)
	}
	return nil
}

// staged reads the next batch of staged ops and adds it to got. The batch is
// read to its end before it is committed, because a commit may have to reopen the
// directory, which waits for readers.
func (k *KV) staged(got *intent) ([]op, error) {
	var batch []op
	size := 0
	err := k.base.scanFrom(kvStaged, stagedKey(got.Count), func(key, raw []byte) error {
		value, err := unframe(key, raw)
		if err != nil {
			return err
		}
		o, err := unstage(value)
		if err != nil {
			return err
		}
		if len(batch) > 0 && (len(batch) == k.maxOps || size+o.size() > k.maxBytes) {
			return errEnough
		}
		size += o.size()
		batch = append(batch, o)
		got.Count++
		got.Digest = got.Digest.plus(sumOf(string(key), value))
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return batch, err
}

// clearStaged removes all staged records. It is called with mu held and without
// an intent.
func (k *KV) clearStaged() error {
	var ops []op
	err := k.base.scanFrom(kvStaged, kvStaged, func(key, _ []byte) error {
		ops = append(ops, op{kind: remove, key: string(key)})
		return nil
	})
	if err != nil {
		return &Error{Op: "clear staged change", Path: k.base.dir, Err: err}
	}
	for batch := range batchesOf(ops, k.maxOps, k.maxBytes) {
		if err := k.base.commit(batch); err != nil {
			return err
		}
	}
	return nil
}
