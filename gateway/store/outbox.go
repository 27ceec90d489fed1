package store

import (
	"encoding/binary"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Outbox is the storage of what waits to go upstream. It keeps order by
// sequence number; counts, quotas and cursors belong to its user, who holds the
// numbers in memory, so that nothing ever searches past removed records.
type Outbox struct{ s *Store }

// Outbox is the storage of the store-and-forward queue.
func (s *Store) Outbox() *Outbox { return &Outbox{s} }

func outboxKey(seq uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte(nsOutbox), seq))
}

// Append stores a message under a new, rising number, with the route and the
// upstream topic that were chosen for it.
func (o *Outbox) Append(seq uint64, route, topic string, m *message.Message, done func(error)) {
	id, who, err := o.s.people.intern(m.Publisher)
	if err != nil {
		o.s.commit.submit(submission{err: err, done: done})
		return
	}
	var w writer
	encodeMessage(&w, m, id)
	w.str(route)
	w.str(topic)
	o.s.commit.submit(submission{ops: []op{who, {put, outboxKey(seq), w.b}}, done: done})
}

// Load yields everything stored in order of seq; size is what the record occupies.
func (o *Outbox) Load(yield func(seq uint64, route, topic string, size int, m *message.Message) error) error {
	return o.s.messages.scan(nsOutbox, func(key string, b []byte) error {
		route, topic, m, err := o.decode(b)
		if err != nil {
			return err
		}
		return yield(binary.BigEndian.Uint64([]byte(key[1:])), route, topic, len(b), m)
	})
}

// Read returns one stored message.
func (o *Outbox) Read(seq uint64) (route, topic string, m *message.Message, err error) {
	b, err := o.s.messages.get(outboxKey(seq))
	if err != nil {
		return "", "", nil, err
	}
	return o.decode(b)
}

func (o *Outbox) decode(b []byte) (route, topic string, m *message.Message, err error) {
	r := &reader{b: b}
	if m, err = decodeMessage(r, o.s.people.load); err != nil {
		return "", "", nil, err
	}
	route, topic = r.str(), r.str()
	return route, topic, m, r.err
}

// Remove forgets messages that upstream has, or that were dropped.
func (o *Outbox) Remove(seqs []uint64, done func(error)) {
	for len(seqs) > batchCount {
		o.remove(seqs[:batchCount], nil)
		seqs = seqs[batchCount:]
	}
	o.remove(seqs, done)
}

func (o *Outbox) remove(seqs []uint64, done func(error)) {
	ops := make([]op, len(seqs))
	for i, seq := range seqs {
		ops[i] = op{kind: remove, key: outboxKey(seq)}
	}
	o.s.commit.submit(submission{ops: ops, done: done})
}
