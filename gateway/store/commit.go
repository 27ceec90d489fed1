package store

import (
	"errors"
	"hash/maphash"

	"github.com/dgraph-io/badger/v4"
)

// commit writes ops and the head in one synced transaction. Removals of records that do
// not exist cost nothing, and neither does a put of what is stored already.
func (b *base) commit(ops []op) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return &Error{Op: "commit", Path: b.dir, Err: ErrClosed}
	}
	if err := b.admit(ops); err != nil {
		return err
	}
	if b.db == nil {
		return &Error{Op: "commit", Path: b.dir, Hint: "it is opened again by itself", Err: ErrClosed}
	}
	if b.suspect {
		if _, err := b.rescan(); err != nil {
			return &Error{Op: "re-read", Path: b.dir, Hint: "restart: the store is checked and set aside if it is damaged", Err: err}
		}
	}
	if err := b.commitLocked(ops, false); err != nil {
		return &Error{Op: "commit", Path: b.dir, Err: err}
	}
	return nil
}

func (b *base) commitLocked(ops []op, always bool) (err error) {
	txn := b.db.NewTransaction(true)
	defer txn.Discard()
	next, bytes := b.head, b.bytes
	changed := map[uint64]*summary{} // nil: removed
	writes := 0
	for _, o := range ops {
		id := maphash.String(b.seed, o.key)
		old, isLive := b.live[id]
		if c, ok := changed[id]; ok {
			if isLive = c != nil; isLive {
				old = *c
			}
		}
		box := isBox(o.key)
		if box && o.kind != create {
			if old, isLive, err = stored(txn, o.key); err != nil {
				return err
			}
		}
		if o.kind == remove && !isLive || o.kind == ensure && isLive {
			continue
		}
		var now *summary
		var raw []byte
		if o.kind != remove {
			raw = frame(o.key, o.value)
			r := summaryOf(o.key, raw)
			if isLive && r == old {
				continue // stored already: a session that another connection takes over mostly says what it said
			}
			now = &r
		}
		if isLive {
			next.count--
			next.digest = next.digest.minus(old.sum)
			bytes -= uint64(old.size)
		}
		if now == nil {
			err = txn.Delete([]byte(o.key))
		} else {
			err = txn.Set([]byte(o.key), raw)
			next.count++
			next.digest = next.digest.plus(now.sum)
			bytes += uint64(now.size)
		}
		if !box {
			changed[id] = now
		}
		if errors.Is(err, badger.ErrTxnTooBig) {
			return ErrTooLarge
		}
		if err != nil {
			return err
		}
		writes++
	}
	if writes == 0 && !always {
		return nil
	}
	next.seq++
	if err := txn.Set([]byte(headKey), frame(headKey, next.encode())); err != nil {
		return err
	}
	if err := commitTxn(txn); err != nil {
		b.suspect = true
		return err
	}
	b.head, b.bytes = next, bytes
	for id, r := range changed {
		if r == nil {
			delete(b.live, id)
		} else {
			b.live[id] = *r
		}
	}
	// Unsynced on purpose: it may be older than the store, never newer.
	_ = b.witness.put(encodeSeq(next.seq), false)
	return nil
}

func commitTxn(txn *badger.Txn) (err error) {
	defer recoverAs(&err)
	return txn.Commit()
}
