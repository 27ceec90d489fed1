package store

import (
	"errors"

	"github.com/dgraph-io/badger/v4"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// boxes is what a scan found in the outbox: its streams, and its records of the old layout.
type boxes struct {
	commit  uint64 // number of the last commit that the scan saw
	streams []message.StoredStream
	old     int               // records of the old layout, which adopt moves
	oldLast uint64            // the highest number of them
	senders map[personID]bool // the publishers of the messages
	last    personID
}

// add counts a record; records come in order of their keys.
func (x *boxes) add(key, value []byte) {
	id := boxStream(key)
	if n := len(x.streams); n == 0 || x.streams[n-1].ID != id {
		x.streams = append(x.streams, message.StoredStream{ID: id})
	}
	s := &x.streams[len(x.streams)-1]
	s.Count++
	s.Bytes += boxSize(value)
	s.Last = boxSeq(key)
}

// addOld counts a record of the old layout.
func (x *boxes) addOld(key []byte) {
	x.old++
	if isOldBox(key) {
		x.oldLast = max(x.oldLast, oldSeq(key))
	}
}

// sender notes who published a message.
func (x *boxes) sender(value []byte) {
	var who personID // every message record begins with it
	copy(who[:], value)
	if x.senders == nil {
		x.senders = map[personID]bool{}
	}
	if who != x.last || len(x.senders) == 0 {
		x.senders[who], x.last = true, who
	}
}

// streams lists the streams in which something is stored, by their sums. ok is false if
// there may be others: in a directory without sums, or with records of the old layout.
func (b *base) streams() (list []message.StoredStream, ok bool, err error) {
	b.mu.Lock()
	ok = b.head.schema >= schemaSums && b.found.old == 0
	for id, s := range b.sums {
		list = append(list, message.StoredStream{
			ID:    id,
			Count: int(s.count),
			Bytes: s.bytes,
			Last:  s.last,
		})
	}
	b.mu.Unlock()
	for i := 0; ok && err == nil && i < len(list); i++ {
		err = b.findLast(&list[i])
	}
	return list, ok, err
}

// box tells what is in the outbox. It is what the scan at start found, unless that left
// the outbox records to verify, or something was committed since: then it scans again.
func (b *base) box() (found boxes, err error) {
	b.mu.Lock()
	found, seq := b.found, b.head.seq
	b.mu.Unlock()
	if found.commit == seq {
		return found, nil
	}
	found = boxes{}
	err = b.scanFrom(nsOutbox, nsOutbox, func(key, raw []byte) error {
		if len(raw) < 4 {
			_, err := unframe(key, raw)
			return err
		}
		found.sender(raw[4:])
		if isBox(key) {
			found.add(key, raw[4:])
		} else {
			found.addOld(key)
		}
		return nil
	})
	return found, err
}

// findLast corrects the highest number of a stream downwards, to one that is stored.
func (b *base) findLast(s *message.StoredStream) error {
	b.readers.lockShared()
	defer b.readers.unlockShared()
	if b.db == nil {
		return ErrClosed
	}
	return b.db.View(func(txn *badger.Txn) (err error) {
		defer recoverAs(&err)
		prefix := []byte(nsOutbox + string(s.ID[:]))
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: true})
		defer it.Close()
		if it.Seek([]byte(outboxKey(s.ID, s.Last))); it.Valid() {
			s.Last = boxSeq(it.Item().Key())
		}
		return nil
	})
}

// stored reads an outbox record from disk and returns its summary, and the size that quotas count for it.
func stored(txn *badger.Txn, key string) (r summary, size int64, ok bool, err error) {
	defer recoverAs(&err)
	item, err := txn.Get([]byte(key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return r, 0, false, nil
	}
	if err != nil {
		return r, 0, false, err
	}
	err = item.Value(func(raw []byte) error {
		if len(raw) < 4 {
			_, err := unframe(key, raw)
			return err
		}
		r, size = summaryOf(key, raw), boxSize(raw[4:])
		return nil
	})
	return r, size, err == nil, err
}
