package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/store/internal/seglog"
)

// Earlier releases kept the outbox in messages/: first under the number of a message alone
// (schemaFlat), then also under its stream and number (schemaSums). takeOver moves what they
// left into the log.

const boxKeySize = 1 + len(message.StreamID{}) + 8

// isBox tells whether a key is of an outbox record with its stream.
func isBox[K string | []byte](key K) bool { return len(key) == boxKeySize && key[0] == nsOutbox[0] }

// isOldBox tells whether a key of the outbox is its number alone.
func isOldBox[K string | []byte](key K) bool { return len(key) == len(nsOutbox)+8 }

func oldSeq[K string | []byte](key K) uint64 {
	return binary.BigEndian.Uint64([]byte(key[len(nsOutbox):]))
}

func boxSeq[K string | []byte](key K) uint64 {
	return binary.BigEndian.Uint64([]byte(key[boxKeySize-8:]))
}

// boxTail is how many bytes at the end of a record held its size for quotas.
const boxTail = 8

// takeover moves the records of messages/ to the log. Before Run only.
type takeover struct {
	*Store
	last       uint64 // highest number that a message has
	batch      []seglog.Op
	removals   []op
	size       int
	disordered map[seglog.Stream]bool // the log had later messages of it already
	unreadable int
}

// takeOver moves outbox records of earlier releases into the log: first they are stored
// there, in batches, then they are removed here. If the process ends in between, the next
// start finds the same message in the log, and only removes it here.
//
// What cannot be written for want of disk space, or cannot be decoded, stays, is not sent,
// and is tried again by a later start; leftBehind is its highest number, so that no other
// message gets it.
func (s *Store) takeOver() error {
	if s.messages.head.schema >= schemaLog && !s.messages.holds(nsOutbox) {
		return nil
	}
	t := takeover{Store: s, disordered: map[seglog.Stream]bool{}}
	err := t.run()
	if err == nil || errors.Is(err, ErrDiskFull) {
		err = errors.Join(err, t.reorder())
	}
	if err == nil && t.unreadable == 0 {
		return s.endTakeover()
	}
	if err == nil || errors.Is(err, ErrDiskFull) {
		err = errors.Join(err, s.noteLeft())
	}
	if t.unreadable > 0 {
		s.opt.Log.Error("stored messages of an earlier release were left where they are", "messages", t.unreadable)
	}
	return err
}

// endTakeover removes the sums by stream, which nothing needs any more.
func (s *Store) endTakeover() error {
	if s.messages.head.schema >= schemaLog {
		return nil
	}
	if err := s.messages.clear(nsSums); err != nil {
		return err
	}
	return s.messages.raise(schemaLog)
}

// noteLeft finds the highest number that is left.
func (s *Store) noteLeft() error {
	return s.messages.scanFrom(nsOutbox, nsOutbox, func(key, _ []byte) error {
		switch {
		case isBox(key):
			s.leftBehind = max(s.leftBehind, boxSeq(key))
		case isOldBox(key):
			s.leftBehind = max(s.leftBehind, oldSeq(key))
		}
		return nil
	})
}

func (t *takeover) run() error {
	old, err := t.prepare()
	if err != nil {
		return err
	}
	for _, key := range old {
		raw, err := t.messages.getRaw(key)
		if err != nil {
			return err
		}
		if err := t.take(key, raw); err != nil {
			return err
		}
	}
	for from := nsOutbox; ; {
		next, err := t.takeSome(from)
		if err != nil {
			return err
		}
		if err := t.flush(); err != nil {
			return err
		}
		if next == "" {
			break
		}
		from = next
	}
	return nil
}

// reorder puts streams in order of which the log had later messages already.
func (t *takeover) reorder() error {
	for id := range t.disordered {
		if err := t.box.log.Reorder(id); err != nil {
			return boxError("take over", t.box.dir, err)
		}
	}
	return nil
}

// prepare returns the keys without a stream, in order of their numbers, and finds the highest
// number of all.
func (t *takeover) prepare() (old []string, err error) {
	t.last = t.box.log.Highest()
	err = t.messages.scanFrom(nsOutbox, nsOutbox, func(key, _ []byte) error {
		if isBox(key) {
			t.last = max(t.last, boxSeq(key))
			return nil
		}
		if isOldBox(key) {
			t.last = max(t.last, oldSeq(key))
		}
		old = append(old, string(key))
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(old)
	return old, t.messages.scanFrom(nsParked, nsParked, func(key, _ []byte) error {
		t.last = max(t.last, oldSeq(key)) // the key of a parked message has the same form
		return nil
	})
}

// takeSome takes a batch of the records with a stream; next is the key after them.
func (t *takeover) takeSome(from string) (next string, err error) {
	type stored struct {
		key string
		raw []byte
	}
	var list []stored
	size := 0
	err = t.messages.scanFrom(nsOutbox, from, func(key, raw []byte) error {
		if !isBox(key) {
			return nil
		}
		if len(list) >= batchCount/4 || size > batchBytes/2 {
			next = string(key)
			return errEnough
		}
		list = append(list, stored{string(key), bytes.Clone(raw)})
		size += len(raw)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return "", err
	}
	for _, r := range list {
		if err := t.take(r.key, r.raw); err != nil {
			return "", err
		}
	}
	return next, nil
}

// errEnough ends a scan.
var errEnough = errors.New("enough")

// take adds a record to the batch. One that cannot be read stays where it is.
func (t *takeover) take(key string, raw []byte) error {
	q, err := t.decode(key, raw)
	if err != nil {
		t.unreadable++
		t.opt.Log.Error("a stored message of an earlier release cannot be read, and is not sent", "key", fmt.Sprintf("%x", key), "err", err)
		return nil
	}
	r, err := t.Outbox().record(&q)
	if err != nil {
		return err
	}
	same, taken, err := t.inLog(r)
	if err != nil {
		return err
	}
	if !same {
		if taken { // by another message
			t.last++
			r.Number = t.last
		}
		if t.box.log.Above(r.Stream, r.Number) {
			t.disordered[r.Stream] = true
		}
		t.batch = append(t.batch, seglog.Op{Append: r})
		t.size += len(r.Payload) + len(r.Content)
	}
	kind := remove
	if t.messages.head.schema == schemaSums && isBox(key) {
		kind = erase
	}
	t.removals = append(t.removals, op{kind: kind, key: key})
	if t.size > batchBytes || len(t.removals) >= batchCount/2 {
		return t.flush()
	}
	return nil
}

func (t *takeover) decode(key string, raw []byte) (q message.StoredOutgoing, err error) {
	b, err := unframe(key, raw)
	if err != nil {
		return q, err
	}
	r := &reader{b: b}
	if q.Message, err = decodeMessage(r, t.people.load); err != nil {
		return q, err
	}
	q.Route, q.Topic = r.str(), r.str()
	switch {
	case r.err != nil:
		return q, r.err
	case isBox(key):
		copy(q.Stream[:], key[1:])
		q.Seq = boxSeq(key)
		if len(r.b) >= boxTail {
			q.Size = int64(binary.BigEndian.Uint64(b[len(b)-boxTail:])) //nolint:gosec // written from an int64
		}
	case isOldBox(key):
		q.Seq = oldSeq(key)
		q.Stream, q.Size = message.StreamOf(q.Message, q.Route), message.OutgoingSize(q.Message, q.Topic)
	default:
		return q, fmt.Errorf("%w: an outbox key of %d bytes", ErrCorrupt, len(key))
	}
	return q, nil
}

// inLog tells whether the log has a message of that stream and number: the same one, or
// another.
func (t *takeover) inLog(r *seglog.Record) (same, taken bool, err error) {
	var buf seglog.Buffer
	have, ok, err := t.box.log.Get(r.Stream, r.Number, &buf)
	if err != nil {
		return false, false, boxError("take over", t.box.dir, err)
	}
	return ok && bytes.Equal(have.Payload, r.Payload), ok, nil
}

// flush stores the batch in the log, and removes it here. If it cannot be removed, it is
// taken back from the log, because the next start would not know that it was sent meanwhile.
func (t *takeover) flush() error {
	batch, removals := t.batch, t.removals
	t.batch, t.removals, t.size = nil, nil, 0
	if len(batch) > 0 {
		if err := t.box.admit(); err != nil {
			return err
		}
		if err := t.box.log.Commit(batch, true); err != nil {
			return boxError("take over", t.box.dir, err)
		}
	}
	if len(removals) == 0 {
		return nil
	}
	err := t.messages.commit(removals)
	if errors.Is(err, ErrDiskFull) { // it was refused: nothing is removed
		var back []seglog.Op
		for _, o := range batch {
			back = append(back, seglog.Op{Stream: o.Append.Stream, Remove: []uint64{o.Append.Number}})
		}
		return errors.Join(err, boxError("take over", t.box.dir, t.box.log.Commit(back, true)))
	}
	return err
}

// reconcileParked ends what a process has left half done: a message that is parked and still in
// its stream leaves the stream, and one that was put back into its stream is parked no more.
func (s *Store) reconcileParked() error {
	origins := s.box.log.Origins()
	var ops []op
	var rest []seglog.Op
	for _, seq := range origins {
		ops = append(ops, op{kind: remove, key: parkedKey(seq)})
		rest = append(rest, seglog.Op{Forget: seq})
	}
	for batch := range batches(ops) {
		if err := s.messages.commit(batch); err != nil {
			return err
		}
	}
	err := s.messages.scan(nsParked, func(key string, b []byte) error {
		p, err := s.Outbox().decodeParked(key, b)
		if err != nil {
			return nil //nolint:nilerr // Parked tells it
		}
		there, err := s.box.log.Has(seglog.Stream(p.Stream), p.Seq)
		if there {
			rest = append(rest, seglog.Op{Stream: seglog.Stream(p.Stream), Remove: []uint64{p.Seq}})
		}
		return err
	})
	if err == nil && len(rest) > 0 {
		err = s.box.log.Commit(rest, true)
	}
	return boxError("reconcile", s.box.dir, err)
}
