package store

import (
	"errors"
	"fmt"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// adopt gives outbox records of the old layout, whose key was the sequence number
// alone, the key of their stream. Each batch is one transaction, so that a crash
// leaves a message under one of the two keys. Before Run only.
//
// What cannot be written for want of disk space, or cannot be decoded, stays under its old
// key, is not sent, and is tried again by a later start; Streams names its number, so
// that no other message gets it.
func (s *Store) adopt() error {
	found, err := s.messages.box()
	if err != nil || found.old == 0 {
		return err
	}
	old, err := s.oldKeys()
	if err != nil {
		return err
	}
	last, err := s.lastNumber(&found)
	if err != nil {
		return err
	}
	var ops []op
	size, unreadable := 0, 0
	flush := func() error {
		if len(ops) == 0 {
			return nil
		}
		err := s.messages.commit(ops)
		ops, size = nil, 0
		return err
	}
	for _, key := range old {
		q, err := s.readOld(key)
		if err != nil {
			unreadable++
			s.opt.Log.Error("a stored message of an earlier release cannot be read, and is not sent", "key", fmt.Sprintf("%x", key), "err", err)
			continue
		}
		more, err := s.adoption(key, q, &last)
		if err != nil {
			return err
		}
		n := 0
		for i := range more {
			n += more[i].size()
		}
		if size+n > batchBytes || len(ops)+len(more) > batchCount {
			if err := flush(); err != nil {
				return err
			}
		}
		ops, size = append(ops, more...), size+n
	}
	if unreadable > 0 {
		s.opt.Log.Error("stored messages of an earlier release were left where they are", "messages", unreadable)
	}
	return flush()
}

// oldKeys are the keys of the old layout, in order of their numbers.
func (s *Store) oldKeys() (old []string, err error) {
	err = s.messages.scanFrom(nsOutbox, nsOutbox, func(key, _ []byte) error {
		if !isBox(key) {
			old = append(old, string(key))
		}
		return nil
	})
	return old, err
}

// lastNumber is the highest number that a message has, parked ones included.
func (s *Store) lastNumber(found *boxes) (last uint64, err error) {
	last = found.oldLast
	for _, q := range found.streams {
		last = max(last, q.Last)
	}
	err = s.messages.scan(nsParked, func(key string, _ []byte) error {
		last = max(last, oldSeq(key)) // the key of a parked message has the same form
		return nil
	})
	return last, err
}

func (s *Store) readOld(key string) (q message.StoredOutgoing, err error) {
	if !isOldBox(key) {
		return q, fmt.Errorf("%w: an outbox key of %d bytes", ErrCorrupt, len(key))
	}
	b, err := s.messages.get(key)
	if err != nil {
		return q, err
	}
	r := &reader{b: b}
	if q.Message, err = decodeMessage(r, s.people.load); err != nil {
		return q, err
	}
	q.Seq, q.Route, q.Topic = oldSeq(key), r.str(), r.str()
	q.Stream, q.Size = message.StreamOf(q.Message, q.Route), message.OutgoingSize(q.Message, q.Topic)
	return q, r.err
}

// adoption returns the operations that move q from its old key. One of them stores its
// publisher, because this release may encode it otherwise, as another record. If another
// message has the number of q in its stream, q gets the number after last.
func (s *Store) adoption(key string, q message.StoredOutgoing, last *uint64) ([]op, error) {
	_, err := s.messages.get(outboxKey(q.Stream, q.Seq))
	switch {
	case err == nil:
		*last++
		q.Seq = *last
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	who, value, err := s.Outbox().encode(&q)
	if err != nil {
		return nil, err
	}
	return []op{who, {create, outboxKey(q.Stream, q.Seq), value}, {kind: remove, key: key}}, nil
}
