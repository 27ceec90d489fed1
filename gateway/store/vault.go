package store

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Vault keeps persistent sessions, their queues, wills and the retained messages.
// Every done may be nil; it runs after the group commit, in submission order, on the goroutine
// behind the committer. Messages and records must not change before that.
type Vault struct{ s *Store }

// Vault is the persistence of the broker.
func (s *Store) Vault() *Vault { return &Vault{s} }

// Keys of sessions and topics are hashed: they come from outside and may be longer than a key may be.
func hashed(s string) string {
	h := sha256.Sum256([]byte(s))
	return string(h[:20])
}

func queueKey(ns, session string, seq uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte(ns+hashed(session)), seq))
}

func inboundKey(session string, id uint16) string {
	return string(binary.BigEndian.AppendUint16([]byte(nsInbound+hashed(session)), id))
}

// LoadSessions yields every session, in no particular order.
func (v *Vault) LoadSessions(yield func(message.StoredSession) error) error {
	inbound := map[string][]uint16{}
	err := v.s.messages.scan(nsInbound, func(key string, _ []byte) error {
		session, id := key[len(nsInbound):len(key)-2], key[len(key)-2:]
		inbound[session] = append(inbound[session], binary.BigEndian.Uint16([]byte(id)))
		return nil
	})
	if err != nil {
		return err
	}
	return v.s.messages.scan(nsSession, func(_ string, b []byte) error {
		r, err := decodeSession(b)
		if err != nil {
			return err
		}
		if old := r.InboundQoS2; len(old) > 0 { // an older release stored them in the session's record, from where they would come back
			for _, id := range old {
				v.Receive(r.Key, id, nil)
			}
			v.SaveSession(r, nil)
		}
		r.InboundQoS2 = append(r.InboundQoS2, inbound[hashed(r.Key)]...)
		slices.Sort(r.InboundQoS2)
		r.InboundQoS2 = slices.Compact(r.InboundQoS2)
		return yield(r)
	})
}

// LoadQueue yields the queue of a session in order of Seq.
func (v *Vault) LoadQueue(session string, yield func(message.StoredDelivery) error) error {
	states := map[uint64][]byte{}
	err := v.s.messages.scan(nsState+hashed(session), func(key string, b []byte) error {
		states[binary.BigEndian.Uint64([]byte(key[len(key)-8:]))] = append([]byte{}, b...)
		return nil
	})
	if err != nil {
		return err
	}
	return v.s.messages.scan(nsQueue+hashed(session), func(key string, b []byte) error {
		q, err := v.decodeQueued(b)
		if err != nil {
			return err
		}
		q.Seq = binary.BigEndian.Uint64([]byte(key[len(key)-8:]))
		if st, ok := states[q.Seq]; ok {
			r := reader{b: st}
			q.PacketID, q.Released = uint16(r.uint()), r.bool()
			if r.err != nil {
				return r.err
			}
		}
		return yield(q)
	})
}

// ReadQueue returns the deliveries with these numbers, which are in ascending order, as
// Enqueue stored them: without the changes of Update. A number that is not stored is left
// out; a delivery whose record is damaged has a nil Message.
func (v *Vault) ReadQueue(session string, seqs []uint64) (list []message.StoredDelivery, err error) {
	list = make([]message.StoredDelivery, 0, len(seqs))
	prefix, keys := nsQueue+hashed(session), make([]string, len(seqs))
	for i, seq := range seqs {
		keys[i] = string(binary.BigEndian.AppendUint64([]byte(prefix), seq))
	}
	err = v.s.messages.read(prefix, keys, func(i int, raw []byte) {
		q := message.StoredDelivery{}
		if b, err := unframe(keys[i], raw); err == nil {
			if q, err = v.decodeQueued(b); err != nil {
				q = message.StoredDelivery{}
			}
		}
		q.Seq = seqs[i]
		list = append(list, q)
	})
	return list, err
}

// LoadRetained yields every retained message.
func (v *Vault) LoadRetained(yield func(*message.Message) error) error {
	return v.s.messages.scan(nsRetained, func(_ string, b []byte) error {
		m, err := decodeMessage(&reader{b: b}, v.s.people.load)
		if err != nil {
			return err
		}
		return yield(m)
	})
}

// SaveSession stores the session without its queue and without the packet ids that
// Receive stores.
func (v *Vault) SaveSession(r message.StoredSession, done func(error)) {
	b, err := encodeSession(r)
	if err != nil {
		v.s.commit.submit(submission{err: err, done: done})
		return
	}
	v.s.commit.submit(submission{ops: []op{{put, nsSession + hashed(r.Key), b}}, done: done})
}

// DeleteSession removes the session with its queue. A crash in between leaves
// the session with a shorter queue, never a queue without its session.
func (v *Vault) DeleteSession(key string, done func(error)) {
	v.s.commit.submit(submission{below: nsInbound + hashed(key)})
	v.s.commit.submit(submission{below: nsState + hashed(key)})
	v.s.commit.submit(submission{below: nsQueue + hashed(key), ops: []op{{remove, nsSession + hashed(key), nil}}, done: done})
}

// Receive stores that the session has received a QoS 2 publish with that packet id.
func (v *Vault) Receive(session string, id uint16, done func(error)) {
	v.s.commit.submit(submission{ops: []op{{put, inboundKey(session, id), nil}}, done: done})
}

// Release removes what Receive stored.
func (v *Vault) Release(session string, id uint16, done func(error)) {
	v.s.commit.submit(submission{ops: []op{{remove, inboundKey(session, id), nil}}, done: done})
}

// Enqueue appends q to the queue of the session. Seq must be new for it.
func (v *Vault) Enqueue(session string, q message.StoredDelivery, done func(error)) {
	ops, err := v.encodeQueued(session, &q)
	v.s.commit.submit(submission{ops: ops, err: err, done: done})
}

// Update stores PacketID and Released of an existing Seq; the message stays as it was.
func (v *Vault) Update(session string, q message.StoredDelivery, done func(error)) {
	v.s.commit.submit(submission{ops: []op{stateOp(session, &q)}, done: done})
}

// Dequeue removes records; unknown ones are ignored.
func (v *Vault) Dequeue(session string, seqs []uint64, done func(error)) {
	for len(seqs) > batchCount/2 {
		v.dequeue(session, seqs[:batchCount/2], nil)
		seqs = seqs[batchCount/2:]
	}
	v.dequeue(session, seqs, done)
}

func (v *Vault) dequeue(session string, seqs []uint64, done func(error)) {
	ops := make([]op, 0, 2*len(seqs))
	for _, seq := range seqs {
		ops = append(ops, op{kind: remove, key: queueKey(nsQueue, session, seq)}, op{kind: remove, key: queueKey(nsState, session, seq)})
	}
	v.s.commit.submit(submission{ops: ops, done: done})
}

// Retain stores m as the retained message of its topic.
func (v *Vault) Retain(m *message.Message, done func(error)) {
	id, who, err := v.s.people.intern(m.Publisher)
	if err != nil {
		v.s.commit.submit(submission{err: err, done: done})
		return
	}
	var w writer
	encodeMessage(&w, m, id)
	v.s.commit.submit(submission{ops: []op{who, {put, nsRetained + hashed(m.Topic), w.b}}, done: done})
}

// Unretain removes the retained message of the topic.
func (v *Vault) Unretain(topic string, done func(error)) {
	v.s.commit.submit(submission{ops: []op{{remove, nsRetained + hashed(topic), nil}}, done: done})
}

func willKey(id uint64) string { return string(binary.BigEndian.AppendUint64([]byte(nsWill), id)) }

// LoadWills yields every will, in order of its ID.
func (v *Vault) LoadWills(yield func(message.StoredWill) error) error {
	return v.s.messages.scan(nsWill, func(_ string, b []byte) error {
		w, err := decodeWill(b)
		if err != nil {
			return err
		}
		return yield(w)
	})
}

// SaveWill stores w under its ID.
func (v *Vault) SaveWill(w message.StoredWill, done func(error)) {
	b, err := encodeWill(w)
	if err != nil {
		v.s.commit.submit(submission{err: err, done: done})
		return
	}
	v.s.commit.submit(submission{ops: []op{{put, willKey(w.ID), b}}, done: done})
}

// DeleteWill removes the will with that ID.
func (v *Vault) DeleteWill(id uint64, done func(error)) {
	v.s.commit.submit(submission{ops: []op{{remove, willKey(id), nil}}, done: done})
}

func (v *Vault) encodeQueued(session string, q *message.StoredDelivery) ([]op, error) {
	if q.Message == nil {
		return nil, fmt.Errorf("queue record %d has no message", q.Seq)
	}
	id, who, err := v.s.people.intern(q.Message.Publisher)
	if err != nil {
		return nil, err
	}
	var w writer
	encodeMessage(&w, q.Message, id)
	w.uint(uint64(q.QoS))
	w.bool(q.Retain)
	w.uint(uint64(len(q.SubIDs)))
	for _, s := range q.SubIDs {
		w.uint(uint64(s))
	}
	ops := []op{who, {put, queueKey(nsQueue, session, q.Seq), w.b}}
	if q.PacketID != 0 || q.Released {
		ops = append(ops, stateOp(session, q))
	}
	return ops, nil
}

func (v *Vault) decodeQueued(b []byte) (message.StoredDelivery, error) {
	r := &reader{b: b}
	m, err := decodeMessage(r, v.s.people.load)
	if err != nil {
		return message.StoredDelivery{}, err
	}
	q := message.StoredDelivery{Message: m, QoS: byte(r.uint()), Retain: r.bool()}
	if n := r.count(1); n > 0 {
		q.SubIDs = make([]uint32, n)
		for i := range q.SubIDs {
			q.SubIDs[i] = uint32(r.uint())
		}
	}
	return q, r.err
}

// stateOp stores what changes with each packet in a record of its own. In the
// message's record it would cost writing the whole message again each time.
func stateOp(session string, q *message.StoredDelivery) op {
	var w writer
	w.uint(uint64(q.PacketID))
	w.bool(q.Released)
	return op{put, queueKey(nsState, session, q.Seq), w.b}
}
