package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/store/internal/seglog"
)

// Outbox stores the messages that wait to be sent upstream, in a log of their own, and
// the parked ones, in messages/. The next messages of a device are read without those of
// other devices.
//
// Counts for quotas and cursors belong to the caller. The caller names stream and number of
// what it reads.
type Outbox struct{ s *Store }

// Outbox is the storage of the store-and-forward queue.
func (s *Store) Outbox() *Outbox { return &Outbox{s} }

// readBuffers are for reading the log.
var readBuffers = sync.Pool{New: func() any { return new(seglog.Buffer) }}

// record makes the log's record of a message. Its publisher is a blob: once in each segment.
func (o *Outbox) record(q *message.StoredOutgoing) (*seglog.Record, error) {
	who, err := o.s.people.encode(q.Message.Publisher)
	if err != nil {
		return nil, err
	}
	if q.Size < 0 || q.Size > math.MaxUint32 {
		return nil, ErrTooLarge
	}
	w := writer{b: make([]byte, 0, 64+len(q.Message.Payload)+2*len(q.Topic))}
	encodeRest(&w, q.Message)
	w.str(q.Route)
	w.str(q.Topic)
	return &seglog.Record{
		Stream:  seglog.Stream(q.Stream),
		Number:  q.Seq,
		Size:    uint32(q.Size), //nolint:gosec // checked above
		Blob:    seglog.BlobID(who.id),
		Content: who.json,
		Payload: w.b,
	}, nil
}

// decode reads a record. A damaged one has no Message.
func (o *Outbox) decode(r *seglog.Record) (message.StoredOutgoing, error) {
	q := message.StoredOutgoing{Stream: message.StreamID(r.Stream), Seq: r.Number, Size: int64(r.Size)}
	if r.Damaged {
		return q, fmt.Errorf("%w: message %d of the outbox", ErrCorrupt, r.Number)
	}
	in := &reader{b: r.Payload}
	m, err := decodeRest(in)
	if err != nil {
		return q, err
	}
	q.Route, q.Topic = in.str(), in.str()
	if in.err != nil {
		return q, in.err
	}
	if m.Publisher, err = o.publisher(r); err != nil {
		return q, err
	}
	q.Message = m
	return q, nil
}

// publisher is who published a stored message. If the damage has taken what was stored of
// him, it is a substitute: the message was authorised and acknowledged, so it must
// still be sent upstream, where only the device that it names matters.
func (o *Outbox) publisher(r *seglog.Record) (*principal.Principal, error) {
	id := personID(r.Blob)
	return o.s.people.loadFrom(id, func() ([]byte, error) {
		b, err := o.s.box.log.Blob(r)
		if !errors.Is(err, seglog.ErrNoBlob) {
			return b, err
		}
		if b, err := o.s.messages.get(id.key()); err == nil {
			return b, nil
		}
		o.s.opt.Log.Error("who published a stored message is lost", "sequence", r.Number)
		return json.Marshal(stranger(id))
	})
}

// Append stores a message; its number must be new.
func (o *Outbox) Append(q message.StoredOutgoing, done func(error)) {
	r, err := o.record(&q)
	s := submissionOf[boxOp]{err: err, done: done}
	if err == nil {
		s.ops = []boxOp{{Op: seglog.Op{Append: r}}}
	}
	o.s.box.submit(s)
}

// Streams yields every stream in which something is stored, in no particular order.
// If the start knows of a higher number, of a message that has gone or of a record of an earlier
// layout that is left (see takeOver), it also yields that one, as Last of a stream without a name
// and with Count 0: the numbers up to it are taken.
func (o *Outbox) Streams(yield func(message.StoredStream) error) error {
	list, err := o.s.box.log.Streams()
	if err != nil {
		return err
	}
	for _, s := range list {
		q := message.StoredStream{
			ID:    message.StreamID(s.Stream),
			Count: s.Count,
			Bytes: s.Bytes,
			Last:  s.Last,
		}
		if err := yield(q); err != nil {
			return err
		}
	}
	if o.s.taken > 0 {
		return yield(message.StoredStream{Last: o.s.taken})
	}
	return nil
}

// Next returns the first messages of a stream whose number is above after and at
// most upTo, in order: at most count, and no further one once their sizes add up to bytes.
func (o *Outbox) Next(stream message.StreamID, after, upTo uint64, count int, bytes int64) (list []message.StoredOutgoing, err error) {
	if after == math.MaxUint64 {
		return nil, nil
	}
	return o.from(stream, after+1, upTo, count, bytes)
}

func (o *Outbox) from(stream message.StreamID, from, upTo uint64, count int, bytes int64) (list []message.StoredOutgoing, err error) {
	buf := readBuffers.Get().(*seglog.Buffer)
	defer readBuffers.Put(buf)
	records, err := o.s.box.log.Next(seglog.Stream(stream), from, upTo, count, bytes, buf)
	if err != nil {
		return nil, boxError("read", o.s.box.dir, err)
	}
	for i := range records {
		q, err := o.decode(&records[i])
		if err != nil { // the caller decides what to do about a damaged record
			q.Message = nil
		}
		list = append(list, q)
	}
	return list, nil
}

// Load yields everything stored, in order of the streams and then of the numbers.
func (o *Outbox) Load(yield func(message.StoredOutgoing) error) error {
	streams, err := o.s.box.log.Streams()
	if err != nil {
		return err
	}
	slices.SortFunc(streams, func(a, b seglog.Sum) int { return bytes.Compare(a.Stream[:], b.Stream[:]) })
	for _, s := range streams {
		for from := uint64(0); ; {
			list, err := o.from(message.StreamID(s.Stream), from, math.MaxUint64, 256, 1<<20)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				break
			}
			for _, q := range list {
				if q.Message == nil {
					return fmt.Errorf("%w: message %d of the outbox", ErrCorrupt, q.Seq)
				}
				if err := yield(q); err != nil {
					return err
				}
			}
			from = list[len(list)-1].Seq + 1
		}
	}
	return nil
}

// Read returns one stored message.
func (o *Outbox) Read(stream message.StreamID, seq uint64) (message.StoredOutgoing, error) {
	buf := readBuffers.Get().(*seglog.Buffer)
	defer readBuffers.Put(buf)
	r, ok, err := o.s.box.log.Get(seglog.Stream(stream), seq, buf)
	switch {
	case err != nil:
		return message.StoredOutgoing{}, boxError("read", o.s.box.dir, err)
	case !ok:
		return message.StoredOutgoing{}, ErrNotFound
	}
	return o.decode(&r)
}

// Remove deletes messages of a stream. Unknown numbers are ignored. With an empty list
// it only runs done, in its place in the order. Without done the removal is durable only
// with what is stored after it.
func (o *Outbox) Remove(stream message.StreamID, seqs []uint64, done func(error)) {
	s := submissionOf[boxOp]{done: done}
	if len(seqs) > 0 {
		s.ops = []boxOp{{Op: seglog.Op{Stream: seglog.Stream(stream), Remove: seqs}, lazy: done == nil}}
	}
	o.s.box.submit(s)
}

func parkedKey(seq uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte(nsParked), seq))
}

// Park moves a stored message out of its stream: it is stored as a parked one, then
// removed. If the process ends in between, the next start removes it (reconcileParked).
func (o *Outbox) Park(p message.StoredParked, done func(error)) {
	id, who, err := o.s.people.intern(p.Message.Publisher)
	if err != nil {
		o.s.commit.submit(submission{err: err, done: done})
		return
	}
	var w writer
	encodeMessage(&w, p.Message, id)
	w.str(p.Route)
	w.str(p.Topic)
	w.b = append(w.b, p.Stream[:]...)
	w.time(p.At)
	w.str(p.Reason)
	w.uint(uint64(p.Size))
	ops := []op{who, {put, parkedKey(p.Seq), w.b}}
	o.s.commit.submit(submission{ops: ops, done: func(err error) {
		if err != nil {
			if done != nil {
				done(err)
			}
			return
		}
		o.Remove(p.Stream, []uint64{p.Seq}, done)
	}})
}

// Unpark removes the parked message with number seq and appends it to its stream as q,
// which has a new number. The log remembers seq until the parked one is gone; if the
// process ends before that, the next start removes it.
func (o *Outbox) Unpark(seq uint64, q message.StoredOutgoing, done func(error)) {
	r, err := o.record(&q)
	if err != nil {
		o.s.box.submit(submissionOf[boxOp]{err: err, done: done})
		return
	}
	r.Origin = seq
	o.s.box.submit(submissionOf[boxOp]{ops: []boxOp{{Op: seglog.Op{Append: r}}}, done: func(err error) {
		if err == nil {
			o.Purge([]uint64{seq}, func(err error) {
				if err == nil {
					o.s.box.submit(submissionOf[boxOp]{ops: []boxOp{{Op: seglog.Op{Forget: seq}, lazy: true}}})
				}
			})
		}
		if done != nil {
			done(err)
		}
	}})
}

// Purge removes parked messages.
func (o *Outbox) Purge(seqs []uint64, done func(error)) {
	ops := make([]op, len(seqs))
	for i, seq := range seqs {
		ops[i] = op{kind: remove, key: parkedKey(seq)}
	}
	o.s.commit.submit(submission{ops: ops, done: done})
}

// Parked yields the parked messages, in order of their numbers. One that is in its stream again is not
// parked any more, whether or not it is removed from messages/ already.
func (o *Outbox) Parked(yield func(message.StoredParked) error) error {
	back := o.s.box.log.Origins()
	return o.s.messages.scan(nsParked, func(key string, b []byte) error {
		if slices.Contains(back, oldSeq(key)) {
			return nil
		}
		p, err := o.decodeParked(key, b)
		if err != nil {
			return err
		}
		return yield(p)
	})
}

func (o *Outbox) decodeParked(key string, b []byte) (p message.StoredParked, err error) {
	r := &reader{b: b}
	if p.Message, err = decodeMessage(r, o.s.people.load); err != nil {
		return p, err
	}
	p.Route, p.Topic = r.str(), r.str()
	p.Seq = oldSeq(key) // the key has the same form
	copy(p.Stream[:], r.take(uint64(len(p.Stream))))
	p.At, p.Reason, p.Size = r.time(), r.str(), int64(r.uint()) //nolint:gosec // written from an int64
	return p, r.err
}
