package store

import (
	"encoding/binary"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// adopt gives outbox records of the old layout, whose key was the sequence number
// alone, the key of their stream. Each batch is one transaction, so that a crash
// leaves a message under one of the two keys. Before Run only.
//
// What cannot be written for want of space stays under its old key, is not sent, and is
// adopted by a later start.
func (s *Store) adopt() error {
	if found, err := s.messages.box(); err != nil || found.old == 0 {
		return err
	}
	var ops []op
	size := 0
	flush := func() error {
		if len(ops) == 0 {
			return nil
		}
		err := s.messages.commit(ops)
		ops, size = nil, 0
		return err
	}
	o := s.Outbox()
	var old []string
	if err := s.messages.scanFrom(nsOutbox, nsOutbox, func(key, _ []byte) error {
		if !isBox(key) {
			old = append(old, string(key))
		}
		return nil
	}); err != nil {
		return err
	}
	for _, key := range old {
		b, err := s.messages.get(key)
		if err != nil {
			return err
		}
		r := &reader{b: b}
		m, err := decodeMessage(r, s.people.load)
		if err != nil {
			return err
		}
		q := message.StoredOutgoing{
			Seq:     binary.BigEndian.Uint64([]byte(key[len(nsOutbox):])),
			Route:   r.str(),
			Topic:   r.str(),
			Message: m,
		}
		q.Stream, q.Size = message.StreamOf(m, q.Route), message.OutgoingSize(m, q.Topic)
		_, value, err := o.encode(&q)
		if err != nil {
			return err
		}
		pair := []op{{put, outboxKey(q.Stream, q.Seq), value}, {kind: remove, key: key}}
		n := pair[0].size() + pair[1].size()
		if size+n > batchBytes || len(ops)+2 > batchCount {
			if err := flush(); err != nil {
				return err
			}
		}
		ops, size = append(ops, pair...), size+n
	}
	return flush()
}
