package store

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"

	"github.com/dgraph-io/badger/v4"
)

// A start reads every record before a compaction may touch it, and before clients are
// served. With many outbox records that would take seconds, so those are left to
// verify: the start relies on the sums of their streams, and the directory is open
// without compactors until verify has read them as well.

// mayPass tells whether a start may leave outbox records to verify.
func (b *base) mayPass() bool {
	if !b.summed {
		return false
	}
	_, err := os.Lstat(b.doubt)
	return errors.Is(err, os.ErrNotExist)
}

// rescan reads every record and compares their count and digest with the head, and
// those of the outbox with the sums of their streams. With mayPass it leaves the outbox
// records to verify if they are many. fresh tells that the directory is new and has no
// head yet.
func (b *base) rescan(mayPass bool) (fresh bool, err error) {
	h, found := head{schema: schemaFlat}, false
	if b.summed {
		h.schema = schemaSums
	}
	var got, boxed head
	var box boxes
	stated, sums := boxSums{}, boxSums{}
	live, bytes := map[uint64]summary{}, uint64(0)
	read := func(key, raw []byte) error {
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
		if string(key[:1]) == nsOutbox {
			box.sender(value)
			if !isBox(key) {
				box.addOld(key)
			}
		}
		if isSums(key) && h.schema >= schemaSums {
			if err := stated.read(key, value); err != nil {
				return err
			}
		}
		bytes += uint64(r.size)
		if isBox(key) {
			box.add(key, value)
			sums.add(key, value, r)
			boxed.count++
			boxed.digest = boxed.digest.plus(r.sum)
			return nil
		}
		live[maphash.Bytes(b.seed, key)] = r
		got.count++
		got.digest = got.digest.plus(r.sum)
		return nil
	}
	// The sums are stored before the outbox.
	err = iterate(b.db, "", "", func(key, raw []byte) error {
		if string(key) >= nsOutbox {
			return errEnough
		}
		return read(key, raw)
	})
	unread := mayPass && h.schema >= schemaSums && stated.count() > b.opt.readAtStart
	rest := nsOutbox
	if unread {
		rest = afterOutbox
	}
	if err == nil || errors.Is(err, errEnough) {
		err = iterate(b.db, "", rest, read)
	}
	if h.schema == schemaFlat {
		got.count += boxed.count
		got.digest = got.digest.plus(boxed.digest)
	}
	switch {
	case err != nil:
		return false, err
	case !found && got.count+boxed.count > 0:
		return false, fmt.Errorf("%w: %d records and no head", ErrCorrupt, got.count)
	case h.schema > schema:
		return false, fmt.Errorf("%w: schema %d, this release knows %d", ErrSchema, h.schema, schema)
	case h.count != got.count || h.digest != got.digest:
		return false, fmt.Errorf("%w: %d records, the head says %d (or their content differs)", ErrCorrupt, got.count, h.count)
	case unread:
		sums, bytes = stated, bytes+stated.space()
	case h.schema >= schemaSums:
		if err := stated.compare(sums); err != nil {
			return false, err
		}
		sums = stated
	}
	b.head, b.live, b.bytes, b.suspect, b.sums, b.unread = h, live, bytes, false, sums, unread
	box.commit = h.seq
	b.found = box
	return !found, nil
}

func (b *base) isUnread() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.unread
}

// recordsLocked is the number of live records, without the sums of streams; mu is held.
func (b *base) recordsLocked() uint64 {
	if b.head.schema < schemaSums {
		return b.head.count
	}
	return b.head.count - uint64(len(b.sums)) + b.sums.count()
}

// verify reads what the start has not read, and lets the compactors run. If it finds
// damage, it leaves a file by which the next start reads everything, so that the
// directory is set aside then, and returns an error that is ErrCorrupt. It returns nil
// when ctx ends.
func (b *base) verify(ctx context.Context) error {
	if !b.isUnread() {
		return nil
	}
	// A damaged table may end the process from a goroutine of badger's.
	m, err := setMarker(b.mark, b.attempt)
	if err != nil {
		return err
	}
	err = b.readOutbox(ctx)
	m.clear()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the next start begins anew
	}
	if err != nil {
		b.opt.Log.Error("stored messages are damaged: the next start sets the store aside, and keeps what can be read",
			"store", b.name, "err", err)
		f, ferr := os.OpenFile(b.doubt, os.O_CREATE|os.O_WRONLY, 0o600)
		if ferr == nil {
			ferr = errors.Join(f.Sync(), f.Close())
		}
		return &Error{Op: "check", Path: b.dir, Err: errors.Join(err, ferr), Hint: "start again"}
	}
	b.mu.Lock()
	b.unread = false
	b.setQuiet(b.quiet)
	b.mu.Unlock()
	b.measure() // opens it with compactors
	return nil
}

// readOutbox compares the outbox records with the sums of their streams, in one snapshot.
func (b *base) readOutbox(ctx context.Context) (err error) {
	defer recoverAs(&err)
	b.readers.lockShared()
	defer b.readers.unlockShared()
	if b.db == nil {
		return ErrClosed
	}
	return b.db.View(func(txn *badger.Txn) error {
		stated, read := boxSums{}, boxSums{}
		err := iterateIn(txn, nsSums, nsSums, func(key, raw []byte) error {
			value, err := unframe(key, raw)
			if err != nil || !isSums(key) {
				return err
			}
			return stated.read(key, value)
		})
		if err != nil {
			return err
		}
		err = iterateIn(txn, nsOutbox, nsOutbox, func(key, raw []byte) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			value, err := unframe(key, raw)
			if err != nil {
				return err
			}
			if !isBox(key) {
				return fmt.Errorf("%w: an outbox key of %d bytes", ErrCorrupt, len(key))
			}
			read.add(key, value, summaryOf(key, raw))
			return nil
		})
		if err != nil {
			return err
		}
		return stated.compare(read)
	})
}
