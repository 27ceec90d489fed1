package upstream

import (
	"cmp"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Refusal reasons and drop reasons, as counted.
const (
	ReasonFull       = "outbox-full"
	ReasonExpired    = "expired"
	ReasonOldest     = "drop-oldest"
	ReasonNewest     = "drop-newest"
	ReasonUnsendable = "unsendable"
	ReasonUnreadable = "unreadable"
	ReasonOffline    = "qos0-offline"
)

// Offer takes m if a route sends it upstream; false: none does, and done is not
// called. done may be nil. done(nil) runs when m is durable, or has been dropped
// although it was accepted, because it is QoS 0 or its route is not Refuse; done with a
// *message.Refused: nothing of m is kept. done runs on the storage's goroutine, never
// inside Offer, and in the order of the calls for messages that do not wait. With wait,
// a message that finds no capacity is not refused but waits: see withheld.
func (b *Outbox) Offer(m *message.Message, wait *message.Wait, done func(error)) bool {
	r := b.route(m)
	if r == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if wait != nil {
		// If nobody waits any more, the earlier messages of the connection were given up,
		// and m must not overtake their repetitions.
		if code := wait.Still(); code != message.Success {
			b.counts.refused[ReasonFull]++
			b.answer(done, &message.Refused{Code: code, Reason: ReasonFull})
			return true
		}
	}
	if !b.open {
		b.answer(done, &message.Refused{Code: message.ServerUnavailable, Reason: "store-failed"})
		return true
	}
	target, qos, err := r.target(m)
	if err != nil {
		b.counts.refused[ReasonUnsendable]++
		b.answer(done, &message.Refused{Code: message.TopicNameInvalid, Reason: ReasonUnsendable})
		return true
	}
	volatile := m.QoS == 0
	if qos != m.QoS { // how m is kept depends on its own QoS, and it is sent with this one
		lowered := *m
		lowered.QoS, m = qos, &lowered
	}
	at := cmp.Or(m.Accepted, b.opt.Now())
	it := b.newItem(b.nextSeq+1, r, target, m, at)
	it.volatile = volatile
	if b.never(it.size) {
		b.forget(it.flow)
		b.counts.refused[ReasonUnsendable]++
		b.answer(done, &message.Refused{Code: message.PacketTooLarge, Reason: ReasonUnsendable})
		return true
	}
	if l := it.flow.lane; volatile && l.running && !l.up {
		b.forget(it.flow)
		b.counts.accepted++
		b.counts.dropped[ReasonOffline]++
		b.answer(done, nil)
		return true
	}
	var w *waiter // what m becomes if it has to wait
	if wait != nil {
		b.withheld.order++
		w = &waiter{m: m, route: r, target: target, size: it.size, order: b.withheld.order, wait: wait, done: done}
	}
	behind := !volatile && r.Overflow == Refuse && b.waitsBefore(it.flow.publish)
	if behind || !b.evict(it) || volatile && b.memory+it.size > b.opt.Memory {
		b.forget(it.flow)
		switch {
		case it.volatile || r.Overflow == DropNewest:
			b.counts.accepted++
			b.counts.dropped[ReasonNewest]++
			b.answer(done, nil)
		case w != nil && b.withhold(w):
		default:
			b.counts.refused[ReasonFull]++
			b.answer(done, &message.Refused{Code: message.QuotaExceeded, Reason: ReasonFull})
		}
		return true
	}
	b.keep(it, m, at, w, done)
	return true
}

// keep accounts for a message that is within the limits, and stores it. If the storage
// has no free space for it, it becomes the waiter w; if w is nil, it is refused.
func (b *Outbox) keep(it *item, m *message.Message, at time.Time, w *waiter, done func(error)) {
	b.nextSeq++
	b.note(it.seq, at)
	b.insert(it, m)
	if it.volatile {
		it.state = queued
		b.counts.accepted++
		b.ready(it.flow)
		b.answer(done, nil)
		return
	}
	b.counts.appending++
	q := message.StoredOutgoing{
		Stream:  it.stream.id,
		Seq:     it.seq,
		Size:    it.size,
		Route:   it.stream.route.Name,
		Topic:   it.topic,
		Message: m,
	}
	b.opt.Storage.Append(q, func(err error) { b.appended(it, err, w, done) })
}

func (b *Outbox) route(m *message.Message) *route {
	for _, r := range b.routes {
		if r.matches(m) {
			return r
		}
	}
	return nil
}

// answer calls done after those of all messages that are being written. Only Storage
// knows when they are, so done is passed to it with an empty Remove.
func (b *Outbox) answer(done func(error), err error) {
	if done == nil {
		return
	}
	b.opt.Storage.Remove(message.StreamID{}, nil, func(error) { done(err) })
}

func (b *Outbox) appended(it *item, err error, w *waiter, done func(error)) {
	b.mu.Lock()
	switch {
	case w != nil && it.state == pending && b.again(w, it, err):
		b.mu.Unlock()
		return
	case err != nil:
		b.finish(it)
		reason := cmp.Or(reasonOf(err), "store-failed")
		b.counts.refused[reason]++
		code := message.ImplementationSpecificError
		if reason == "disk-full" || reason == "store-busy" {
			code = message.QuotaExceeded
		}
		if reason == "store-failed" { // it may have been written nevertheless
			b.opt.Storage.Remove(it.stream.id, []uint64{it.seq}, nil)
		}
		err = &message.Refused{Code: code, Reason: reason}
	case it.state == pending:
		it.state = queued
		b.counts.appending--
		b.counts.accepted++
		if it.cold {
			b.freeze(it)
		}
		b.ready(it.flow)
	default: // it was dropped while it was being written
		b.counts.accepted++
	}
	b.mu.Unlock()
	if done != nil {
		done(err)
	}
}
