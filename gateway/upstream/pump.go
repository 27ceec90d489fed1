package upstream

import (
	"context"
	"errors"
	"sync"
	"time"
)

// laneIdle is how long a lane without messages keeps its connection.
const laneIdle = 30 * time.Second

// Run sends the messages that wait, until ctx ends. One goroutine serves each lane that
// has something to send. When Run returns, what was sent and not acknowledged waits again.
func (b *Outbox) Run(ctx context.Context) error {
	var group sync.WaitGroup
	b.mu.Lock()
	b.start = func(l *lane) {
		l.running = true
		group.Go(func() { b.serve(ctx, l) })
	}
	for _, l := range b.lanes {
		if !l.running && len(l.flows) > 0 {
			b.start(l)
		}
	}
	b.mu.Unlock()
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			b.mu.Lock()
			b.sweep()
			b.mu.Unlock()
		case <-ctx.Done():
		}
	}
	b.mu.Lock()
	b.start = nil
	b.mu.Unlock()
	group.Wait()
	return nil
}

// serve connects and sends for one lane until it has nothing left, or ctx ends.
func (b *Outbox) serve(ctx context.Context, l *lane) {
	back := NewBackoff()
	for {
		if ctx.Err() != nil || b.retire(l) {
			b.mu.Lock()
			l.running = false
			b.mu.Unlock()
			return
		}
		conn, err := b.opt.Connector.Connect(ctx, l.name)
		if err != nil {
			if ctx.Err() == nil {
				b.opt.Log.Warn("no way upstream", "lane", l.name, "err", err)
				back.Wait(ctx)
			}
			continue
		}
		acked, broken := b.pump(ctx, l, conn)
		conn.Release(broken)
		if acked > 0 {
			back.Reset()
		} else if ctx.Err() == nil && b.hasWork(l) {
			back.Wait(ctx) // a connection over which nothing was acknowledged counts as a failure
		}
	}
}

func (b *Outbox) hasWork(l *lane) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(l.flows) > 0
}

// retire removes l if it has nothing to send. Before that it moves the flows of devices for
// which Connector.Lane now names another lane.
func (b *Outbox) retire(l *lane) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for f := range l.flows {
		if b.opt.Connector.Lane(f.device) == l.name {
			continue
		}
		delete(l.flows, f)
		f.listed = false
		f.next, f.due = f.head, 0
		b.attach(f)
		f.lane.list(f)
		if !f.lane.running && b.start != nil {
			b.start(f.lane)
		}
		f.lane.nudge()
	}
	if len(l.flows) > 0 {
		return false
	}
	l.running = false
	delete(b.lanes, l.name)
	return true
}

// pump sends over one connection until the connection ends or the lane was idle for laneIdle.
func (b *Outbox) pump(ctx context.Context, l *lane, conn Conn) (acked int, broken bool) {
	b.mu.Lock()
	l.conn++
	number := l.conn
	l.boundary = b.nextSeq + 1
	l.up = true
	l.since = time.Now()
	l.relist()
	b.mu.Unlock()
	counter := &ackCount{}
	defer func() { acked = b.disconnected(l, counter) }()
	idle := time.NewTimer(laneIdle)
	defer idle.Stop()
	later := time.NewTimer(time.Hour)
	defer later.Stop()
	stall := time.NewTicker(max(b.opt.AckWait/8, time.Millisecond))
	defer stall.Stop()
	for ctx.Err() == nil {
		it, wait := b.take(l)
		if it != nil {
			if !b.send(l, conn, number, it, counter) {
				break
			}
			idle.Reset(laneIdle)
			continue
		}
		if wait == 0 {
			wait = time.Hour
		}
		later.Reset(wait)
		select {
		case <-l.wake:
			idle.Reset(laneIdle)
		case <-later.C:
		case <-conn.Done():
			return 0, false
		case <-ctx.Done():
		case <-stall.C:
			if b.overdue(l) {
				b.opt.Log.Warn("upstream does not acknowledge", "lane", l.name)
				return 0, true
			}
		case <-idle.C:
			if !b.hasWork(l) {
				return 0, false
			}
			idle.Reset(laneIdle)
		}
	}
	return 0, false
}

// overdue tells whether a message was not acknowledged within AckWait, and counts that in late of each such item.
func (b *Outbox) overdue(l *lane) (any bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	for _, it := range l.sent {
		if now.Sub(it.sent) >= b.opt.AckWait {
			it.late++
			any = true
		}
	}
	l.late = any
	return any
}

type ackCount struct{ n int } // guarded by Outbox.mu

// take picks the next item and counts it as sent. Without one, the duration says after how
// long there may be one (0: nothing but an event makes one), because of the replay limit or
// because a suspect's connection must stay up for a while (lane.hold).
func (b *Outbox) take(l *lane) (*item, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.inflight >= b.opt.Window {
		return nil, 0
	}
	now := b.elapsed()
	for {
		var wait time.Duration
		it := l.pick(func() bool {
			r := b.replay.Reserve()
			if d := r.Delay(); d > 0 {
				r.Cancel()
				wait = d
				return false
			}
			return true
		})
		for _, f := range l.empty {
			b.forget(f)
		}
		l.empty = nil
		if it == nil {
			if l.hold > 0 && (wait == 0 || l.hold < wait) {
				wait = l.hold
			}
			return nil, wait
		}
		if it.expired(now) {
			b.drop(it, ReasonExpired)
			continue
		}
		it.state = inflight
		it.sent = time.Now()
		l.inflight++
		l.sent[it.seq] = it
		return it, 0
	}
}

// send sends a message, after reading it from the storage if it is not in memory. It returns
// false if the connection cannot be used any more.
func (b *Outbox) send(l *lane, conn Conn, number uint64, it *item, counter *ackCount) bool {
	b.mu.Lock()
	m, topic := it.message, it.topic
	b.mu.Unlock()
	if m == nil {
		q, err := b.opt.Storage.Read(it.stream.id, it.seq)
		if err == nil && (q.Message == nil || q.Topic == "") {
			err = errors.New("the record has no message or no topic")
		}
		if err != nil {
			return b.unreadable(it, err)
		}
		m, topic = q.Message, q.Topic // the item has no topic if Next could not read the record
	}
	err := conn.Send(topic, m, func(err error) { b.acked(l, number, it, err, counter) })
	switch {
	case errors.Is(err, ErrUnsendable):
		b.opt.Log.Warn("a message cannot go upstream", "device", it.flow.device, "bytes", len(m.Payload), "err", err)
		b.mu.Lock()
		b.drop(it, ReasonUnsendable)
		b.mu.Unlock()
		return true
	case err != nil:
		return false
	}
	b.mu.Lock()
	b.counts.sent++
	b.mu.Unlock()
	return true
}

// unreadable drops a message after the third failure to read its record, and logs that as an
// error. Before that it returns false, which ends the connection; the message is tried again
// on the next one.
func (b *Outbox) unreadable(it *item, err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if it.unread++; it.unread < 3 {
		return false
	}
	b.opt.Log.Error("a stored message cannot be read back", "sequence", it.seq, "device", it.flow.device, "err", err)
	b.drop(it, ReasonUnreadable)
	return true
}

func (b *Outbox) acked(l *lane, number uint64, it *item, err error, counter *ackCount) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil || it.state == gone {
		return // disconnected puts it back
	}
	if l.conn == number {
		counter.n++
	}
	b.counts.acked++
	l.acks++
	it.flow.strikes = 0
	b.finish(it)
	if !it.volatile {
		b.opt.Storage.Remove(it.stream.id, []uint64{it.seq}, nil)
	}
	l.list(it.flow)
	l.nudge()
}

// disconnected puts back into their flows the messages that were sent and not acknowledged,
// and drops those of QoS 0, which need not be sent again.
func (b *Outbox) disconnected(l *lane, counter *ackCount) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.conn++
	l.up = false
	var lost []*item
	var struck *item
	alone := l.alone
	for _, it := range l.sent {
		it.state = queued
		f := it.flow
		f.next = f.head
		// If the connection ended because messages were late, only the late ones get a strike,
		// and not at their first time.
		if f.items[f.head] == it && (!l.late || it.late > 1) {
			f.strike(l)
			if it == alone {
				struck = it
			}
		}
	}
	clear(l.sent)
	l.inflight, l.alone, l.late = 0, nil, false
	if struck != nil {
		b.hungUp(l, struck)
	}
	for f := range l.flows {
		for _, it := range f.items[f.head:] {
			if it.volatile && it.state == queued {
				lost = append(lost, it)
			}
		}
	}
	for _, it := range lost {
		b.drop(it, ReasonOffline)
	}
	return counter.n
}
