package store

import (
	"encoding/binary"
	"errors"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Outbox stores the messages that wait to be sent upstream, and the parked ones.
// Records are ordered by stream and, within a stream, by sequence number, so that
// the next messages of a device are read without reading those of other devices.
//
// It keeps nothing in memory about a record: counts, quotas and cursors belong to the
// caller. The caller names stream and number of what it reads, so that no read has to
// pass over removed records.
type Outbox struct{ s *Store }

// Outbox is the storage of the store-and-forward queue.
func (s *Store) Outbox() *Outbox { return &Outbox{s} }

const boxKeySize = 1 + len(message.StreamID{}) + 8

// isBox tells whether a key is of an outbox record. Releases before this layout
// used the sequence number alone; such keys are shorter (see adopt).
func isBox[K string | []byte](key K) bool { return len(key) == boxKeySize && key[0] == nsOutbox[0] }

// isOldBox tells whether a key of the outbox is of the old layout: its number alone.
func isOldBox[K string | []byte](key K) bool { return len(key) == len(nsOutbox)+8 }

func oldSeq[K string | []byte](key K) uint64 {
	return binary.BigEndian.Uint64([]byte(key[len(nsOutbox):]))
}

func outboxKey(stream message.StreamID, seq uint64) string {
	b := make([]byte, 0, boxKeySize)
	b = append(append(b, nsOutbox...), stream[:]...)
	return string(binary.BigEndian.AppendUint64(b, seq))
}

func boxStream[K string | []byte](key K) (id message.StreamID) {
	copy(id[:], key[1:])
	return id
}

func boxSeq[K string | []byte](key K) uint64 {
	return binary.BigEndian.Uint64([]byte(key[boxKeySize-8:]))
}

func parkedKey(seq uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte(nsParked), seq))
}

// boxTail is how many bytes at the end of a record hold its size for quotas: the
// check at start adds the sizes up without decoding the messages.
const boxTail = 8

func boxSize(value []byte) int64 {
	if len(value) < boxTail {
		return 0
	}
	return int64(binary.BigEndian.Uint64(value[len(value)-boxTail:]))
}

func (o *Outbox) encode(q *message.StoredOutgoing) (who op, value []byte, err error) {
	id, who, err := o.s.people.intern(q.Message.Publisher)
	if err != nil {
		return op{}, nil, err
	}
	var w writer
	encodeMessage(&w, q.Message, id)
	w.str(q.Route)
	w.str(q.Topic)
	return who, binary.BigEndian.AppendUint64(w.b, uint64(q.Size)), nil
}

// Append stores a message; its number must be new.
func (o *Outbox) Append(q message.StoredOutgoing, done func(error)) {
	who, value, err := o.encode(&q)
	s := submission{err: err, done: done}
	if err == nil {
		s.ops = []op{who, {create, outboxKey(q.Stream, q.Seq), value}}
	}
	o.s.commit.submit(s)
}

// Streams yields every stream in which something is stored, in no particular order.
// If records of the old layout are left (see adopt), it also yields their highest
// number, as Last of a stream without a name and with Count 0: their numbers are taken.
func (o *Outbox) Streams(yield func(message.StoredStream) error) error {
	found := boxes{}
	list, ok, err := o.s.messages.streams()
	if err == nil && !ok {
		found, err = o.s.messages.box()
		list = found.streams
	}
	if err != nil {
		return err
	}
	for _, s := range list {
		if err := yield(s); err != nil {
			return err
		}
	}
	if found.old > 0 {
		return yield(message.StoredStream{Last: found.oldLast})
	}
	return nil
}

// errEnough ends a scan.
var errEnough = errors.New("enough")

// Next returns the first messages of a stream whose number is above after and at
// most upTo, in order: at most count, and no further one once their sizes add up to bytes.
func (o *Outbox) Next(stream message.StreamID, after, upTo uint64, count int, bytes int64) (list []message.StoredOutgoing, err error) {
	prefix := nsOutbox + string(stream[:])
	err = o.s.messages.scanFrom(prefix, outboxKey(stream, after+1), func(key, raw []byte) error {
		seq := boxSeq(key)
		if seq > upTo || len(list) >= count || bytes <= 0 {
			return errEnough
		}
		q, err := o.decode(key, raw)
		if err != nil { // the caller decides what to do about a damaged record
			q = message.StoredOutgoing{Stream: stream, Seq: seq}
		}
		bytes -= q.Size
		list = append(list, q)
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return list, err
}

// Load yields everything stored, in order of the streams and then of the numbers.
func (o *Outbox) Load(yield func(message.StoredOutgoing) error) error {
	return o.s.messages.scanFrom(nsOutbox, nsOutbox, func(key, raw []byte) error {
		if !isBox(key) {
			return nil
		}
		q, err := o.decode(key, raw)
		if err != nil {
			return err
		}
		return yield(q)
	})
}

// Read returns one stored message.
func (o *Outbox) Read(stream message.StreamID, seq uint64) (message.StoredOutgoing, error) {
	key := outboxKey(stream, seq)
	b, err := o.s.messages.get(key)
	if err != nil {
		return message.StoredOutgoing{}, err
	}
	return o.decodeValue([]byte(key), b)
}

func (o *Outbox) decode(key, raw []byte) (message.StoredOutgoing, error) {
	b, err := unframe(string(key), raw)
	if err != nil {
		return message.StoredOutgoing{}, err
	}
	return o.decodeValue(key, b)
}

func (o *Outbox) decodeValue(key, b []byte) (q message.StoredOutgoing, err error) {
	r := &reader{b: b}
	q.Stream, q.Seq, q.Size = boxStream(key), boxSeq(key), boxSize(b)
	if q.Message, err = decodeMessage(r, o.s.people.load); err != nil {
		return q, err
	}
	q.Route, q.Topic = r.str(), r.str()
	return q, r.err
}

// Remove deletes messages of a stream. Unknown numbers are ignored. With an empty list
// it only runs done, in its place in the order.
func (o *Outbox) Remove(stream message.StreamID, seqs []uint64, done func(error)) {
	for len(seqs) > batchCount {
		o.remove(stream, seqs[:batchCount], nil)
		seqs = seqs[batchCount:]
	}
	o.remove(stream, seqs, done)
}

func (o *Outbox) remove(stream message.StreamID, seqs []uint64, done func(error)) {
	ops := make([]op, len(seqs))
	for i, seq := range seqs {
		ops[i] = op{kind: remove, key: outboxKey(stream, seq)}
	}
	o.s.commit.submit(submission{ops: ops, done: done})
}

// Park moves a stored message out of its stream.
func (o *Outbox) Park(p message.StoredParked, done func(error)) {
	who, value, err := o.encode(&p.StoredOutgoing)
	s := submission{err: err, done: done}
	if err == nil {
		w := writer{b: value[:len(value)-boxTail]}
		w.b = append(w.b, p.Stream[:]...)
		w.time(p.At)
		w.str(p.Reason)
		w.uint(uint64(p.Size))
		s.ops = []op{who, {put, parkedKey(p.Seq), w.b}, {kind: remove, key: outboxKey(p.Stream, p.Seq)}}
	}
	o.s.commit.submit(s)
}

// Unpark removes the parked message with number seq and appends it to its stream as q,
// which has a new number, in one transaction.
func (o *Outbox) Unpark(seq uint64, q message.StoredOutgoing, done func(error)) {
	who, value, err := o.encode(&q)
	s := submission{err: err, done: done}
	if err == nil {
		s.ops = []op{who, {create, outboxKey(q.Stream, q.Seq), value}, {kind: remove, key: parkedKey(seq)}}
	}
	o.s.commit.submit(s)
}

// Purge removes parked messages.
func (o *Outbox) Purge(seqs []uint64, done func(error)) {
	ops := make([]op, len(seqs))
	for i, seq := range seqs {
		ops[i] = op{kind: remove, key: parkedKey(seq)}
	}
	o.s.commit.submit(submission{ops: ops, done: done})
}

// Parked yields the parked messages, in order of their numbers.
func (o *Outbox) Parked(yield func(message.StoredParked) error) error {
	return o.s.messages.scan(nsParked, func(key string, b []byte) error {
		var p message.StoredParked
		r := &reader{b: b}
		m, err := decodeMessage(r, o.s.people.load)
		if err != nil {
			return err
		}
		p.Message, p.Route, p.Topic = m, r.str(), r.str()
		p.Seq = binary.BigEndian.Uint64([]byte(key[len(nsParked):]))
		copy(p.Stream[:], r.take(uint64(len(p.Stream))))
		p.At, p.Reason, p.Size = r.time(), r.str(), int64(r.uint())
		if r.err != nil {
			return r.err
		}
		return yield(p)
	})
}
