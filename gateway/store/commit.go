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
	c := change{
		base:    b,
		txn:     txn,
		next:    b.head,
		bytes:   b.bytes,
		changed: map[uint64]*summary{},
	}
	for _, o := range ops {
		if err := c.apply(o); err != nil {
			return err
		}
	}
	if c.writes == 0 && !always {
		return nil
	}
	return c.commit()
}

// raise changes the schema of a directory.
func (b *base) raise(schema uint32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.db == nil {
		return ErrClosed
	}
	if err := b.admit(nil); err != nil {
		return err
	}
	b.head.schema = schema
	return b.commitLocked(nil, true)
}

// change collects the operations of one transaction. It is used with base.mu held.
type change struct {
	*base
	txn     *badger.Txn
	next    head
	bytes   uint64
	changed map[uint64]*summary // nil: removed
	writes  int
}

func (c *change) apply(o op) (err error) {
	id := maphash.String(c.seed, o.key)
	if o.kind == erase {
		c.writes++
		return c.txn.Delete([]byte(o.key))
	}
	old, isLive := c.live[id]
	if r, ok := c.changed[id]; ok {
		if isLive = r != nil; isLive {
			old = *r
		}
	}
	if o.kind == remove && !isLive || o.kind == ensure && isLive {
		return nil
	}
	var now *summary
	if o.kind == remove {
		err = c.txn.Delete([]byte(o.key))
	} else {
		raw := frame(o.key, o.value)
		r := summaryOf(o.key, raw)
		if isLive && r == old {
			return nil // stored already: a session that another connection takes over mostly says what it said
		}
		now = &r
		err = c.txn.Set([]byte(o.key), raw)
	}
	if errors.Is(err, badger.ErrTxnTooBig) {
		return ErrTooLarge
	}
	if err != nil {
		return err
	}
	c.writes++
	if isLive {
		c.bytes -= uint64(old.size)
	}
	if now != nil {
		c.bytes += uint64(now.size)
	}
	if isLive {
		c.next.count--
		c.next.digest = c.next.digest.minus(old.sum)
	}
	if now != nil {
		c.next.count++
		c.next.digest = c.next.digest.plus(now.sum)
	}
	c.changed[id] = now
	return nil
}

// commit commits the transaction with the new head, and brings the fields of base up to date.
func (c *change) commit() error {
	b := c.base
	c.next.seq++
	if err := c.txn.Set([]byte(headKey), frame(headKey, c.next.encode())); err != nil {
		return err
	}
	if err := commitTxn(c.txn); err != nil {
		b.suspect = true
		return err
	}
	b.head, b.bytes = c.next, c.bytes
	for id, r := range c.changed {
		if r == nil {
			delete(b.live, id)
		} else {
			b.live[id] = *r
		}
	}
	// Not synced: after a power cut the witness may be older than the store, never newer,
	// and the check at start accepts that.
	_ = b.witness.put(encodeSeq(c.next.seq), false)
	return nil
}

func commitTxn(txn *badger.Txn) (err error) {
	defer recoverAs(&err)
	return txn.Commit()
}
