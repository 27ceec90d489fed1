package upstream

import (
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Shelf keeps parked messages on disk. When and where done runs is as for Storage.
type Shelf interface {
	// Park moves a stored message from its stream to the shelf, in one transaction.
	Park(p message.StoredParked, done func(error))
	// Unpark appends the parked message with sequence number seq to its stream as q,
	// which has a new number, and takes it off the shelf, in one transaction.
	Unpark(seq uint64, q message.StoredOutgoing, done func(error))
	// Purge deletes parked messages.
	Purge(seqs []uint64, done func(error))
	// Parked yields the parked messages, in order of their sequence numbers.
	Parked(yield func(message.StoredParked) error) error
}

// ParkedLimits bound the parked messages, which do not count against Limits. Beyond them the
// message that was parked first is dropped and counted. 0: no limit.
type ParkedLimits struct {
	Messages, DeviceMessages int
	Bytes                    int64
}

const (
	// hangups is how many connections must have ended on a message, while it was the only one
	// sent and not acknowledged, before it is parked.
	hangups = 3
	// proof is how long a connection must stay up without a message, to show that the message
	// is why earlier ones ended. An acknowledgement of another message shows it as well.
	proof = Lasting
)

// Parked describes a parked message.
type Parked struct {
	Seq           uint64
	Device        string // or "key " and the publisher's key
	Route, Topic  string // Topic is the upstream's
	Bytes         int64
	Accepted, At  time.Time // when it was accepted, when it was parked
	Reason        string
	retrying      bool // Unpark was called and has not answered
	storedMessage *message.Message
}

// shelf has the parked messages, in the order in which they were parked. It is guarded by
// Outbox.mu.
type shelf struct {
	list    []*Parked
	bytes   int64
	total   uint64 // messages parked since the start
	dropped uint64 // parked messages that were dropped since the start because of ParkedLimits
}

// openShelf reads the parked messages from Options.Shelf.
func (b *Outbox) openShelf() error {
	if b.opt.Shelf == nil {
		return nil
	}
	return b.opt.Shelf.Parked(func(p message.StoredParked) error {
		b.nextSeq = max(b.nextSeq, p.Seq)
		b.put(&p)
		return nil
	})
}

func (b *Outbox) put(p *message.StoredParked) {
	b.shelf.list = append(b.shelf.list, &Parked{
		Seq:           p.Seq,
		Device:        p.Message.Source(),
		Route:         p.Route,
		Topic:         p.Topic,
		Bytes:         p.Size,
		Accepted:      p.Message.Accepted,
		At:            p.At,
		Reason:        p.Reason,
		storedMessage: p.Message,
	})
	b.shelf.bytes += p.Size
}

// hungUp notes that a connection ended while it was the only message sent and not
// acknowledged. It parks the message after hangups such ends, if before each but the first
// the link has shown that it works without the message: another message was acknowledged, or
// a connection stayed up (mustProve). If a broker restarts again and again, it does neither,
// and no message is parked.
func (b *Outbox) hungUp(l *lane, it *item) {
	if b.opt.Shelf == nil || it.volatile {
		return
	}
	if it.hangs > 0 && l.acks == it.hungAt && !it.proved {
		return
	}
	it.proved = false
	it.hungAt = l.acks
	if it.hangs++; it.hangs >= hangups {
		b.park(l, it, fmt.Sprintf("upstream ended the connection %d times while it was the only message on it", it.hangs))
	}
}

// mustProve returns how long the connection must still stay up before it is sent, if nothing
// else was acknowledged since a connection last ended on it; otherwise 0.
func (b *Outbox) mustProve(l *lane, it *item) time.Duration {
	if b.opt.Shelf == nil || it.hangs == 0 || l.acks != it.hungAt {
		return 0
	}
	if l.parked && l.acks == l.parkedAt {
		return 0 // a message was parked on such a proof already: no other one is until something is acknowledged
	}
	left := proof - time.Since(l.since)
	it.proved = left <= 0
	return max(left, 0)
}

// park moves a message from its flow to the shelf.
func (b *Outbox) park(l *lane, it *item, reason string) {
	m := it.message
	if m == nil {
		q, err := b.opt.Storage.Read(it.stream.id, it.seq)
		if err != nil {
			b.opt.Log.Error("a message that upstream does not take cannot be read back", "device", it.flow.device, "err", err)
			return
		}
		m = q.Message
	}
	q := message.StoredOutgoing{
		Stream:  it.stream.id,
		Seq:     it.seq,
		Size:    it.size,
		Route:   it.stream.route.Name,
		Topic:   it.topic,
		Message: m,
	}
	p := message.StoredParked{StoredOutgoing: q, At: b.opt.Now(), Reason: reason}
	l.parked, l.parkedAt = true, l.acks
	it.flow.strikes = 0
	b.finish(it)
	b.shelf.total++
	b.put(&p)
	b.opt.Log.Error("a message is parked: upstream does not take it", "device", it.flow.device, "route", q.Route,
		"sequence", it.seq, "bytes", len(m.Payload), "reason", reason)
	b.opt.Shelf.Park(p, func(err error) {
		if err != nil {
			b.opt.Log.Error("a parked message could not be moved: it is sent again after the next start", "sequence", p.Seq, "err", err)
		}
	})
	b.trim(m.Source())
}

// trim drops the messages that were parked first, until ParkedLimits are kept.
func (b *Outbox) trim(device string) {
	l := b.opt.Parked
	of := func(p *Parked) bool { return p.Device == device }
	for l.DeviceMessages > 0 && b.parkedOf(of) > l.DeviceMessages {
		b.dropParked(of)
	}
	all := func(*Parked) bool { return true }
	for l.Messages > 0 && len(b.shelf.list) > l.Messages || l.Bytes > 0 && b.shelf.bytes > l.Bytes {
		b.dropParked(all)
	}
}

func (b *Outbox) parkedOf(match func(*Parked) bool) (n int) {
	for _, p := range b.shelf.list {
		if match(p) {
			n++
		}
	}
	return n
}

func (b *Outbox) dropParked(match func(*Parked) bool) {
	for _, p := range b.shelf.list {
		if match(p) {
			b.shelf.dropped++
			b.opt.Log.Error("a parked message is dropped: too many are", "device", p.Device, "sequence", p.Seq)
			b.takeOff(p)
			b.opt.Shelf.Purge([]uint64{p.Seq}, nil)
			return
		}
	}
}

// takeOff removes a parked message from b.shelf.
func (b *Outbox) takeOff(p *Parked) {
	for i, q := range b.shelf.list {
		if q == p {
			b.shelf.list = append(b.shelf.list[:i:i], b.shelf.list[i+1:]...)
			b.shelf.bytes -= p.Bytes
			return
		}
	}
}

// Selector says which messages a command is about: those that match every field that is set.
type Selector struct {
	Device string // as in Parked
	Route  string
	Seq    uint64
	All    bool // every message; needed if no other field is set
}

// Empty tells whether nothing is selected.
func (s Selector) Empty() bool { return s.Device == "" && s.Route == "" && s.Seq == 0 && !s.All }

func (s Selector) matches(device, route string, seq uint64) bool {
	return !s.Empty() && (s.Device == "" || s.Device == device) && (s.Route == "" || s.Route == route) && (s.Seq == 0 || s.Seq == seq)
}

// ListParked lists the selected parked messages, in the order in which they were parked.
func (b *Outbox) ListParked(s Selector) (list []Parked) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.shelf.list {
		if s.matches(p.Device, p.Route, p.Seq) {
			list = append(list, *p)
		}
	}
	return list
}

// Retry puts the selected parked messages back into the outbox, behind the other messages of
// their devices. They count as accepted anew, and are taken even beyond Limits. It returns how
// many it put back.
func (b *Outbox) Retry(s Selector) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.shelf.list {
		if p.retrying || !s.matches(p.Device, p.Route, p.Seq) {
			continue
		}
		n++
		p.retrying = true
		b.retry(p)
	}
	return n
}

func (b *Outbox) retry(p *Parked) {
	r := b.byName[p.Route]
	if r == nil {
		r = &route{Route: Route{Name: p.Route}}
		b.byName[p.Route] = r
	}
	b.nextSeq++
	m := p.storedMessage
	it := b.newItem(b.nextSeq, r, p.Topic, m, b.opt.Now())
	b.note(it.seq, b.opt.Now())
	b.insert(it, m)
	b.counts.appending++
	q := message.StoredOutgoing{Stream: it.stream.id, Seq: it.seq, Size: it.size, Route: r.Name, Topic: p.Topic, Message: m}
	b.opt.Shelf.Unpark(p.Seq, q, func(err error) {
		b.appended(it, err, nil, nil)
		b.mu.Lock()
		defer b.mu.Unlock()
		if p.retrying = false; err == nil {
			b.takeOff(p)
		}
	})
}

// PurgeParked deletes the selected parked messages, and returns how many.
func (b *Outbox) PurgeParked(s Selector) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var seqs []uint64
	for _, p := range append([]*Parked(nil), b.shelf.list...) {
		if p.retrying || !s.matches(p.Device, p.Route, p.Seq) {
			continue
		}
		seqs = append(seqs, p.Seq)
		b.takeOff(p)
	}
	if len(seqs) > 0 {
		b.opt.Shelf.Purge(seqs, nil)
	}
	return len(seqs)
}
