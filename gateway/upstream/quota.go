package upstream

import (
	"container/heap"
	"maps"
	"time"
)

// counts are the counters behind Stats. At any moment each message that was restored or
// accepted is counted once as acknowledged, waiting, parked or dropped: see Stats.Waiting.
type counts struct {
	restored, accepted, sent, acked uint64
	dropped, refused                map[string]uint64
	appending                       int // being written: neither accepted nor refused yet
}

func newCounts() counts {
	return counts{dropped: map[string]uint64{}, refused: map[string]uint64{}}
}

// fits tells whether one more message of size bytes is within the limits of its device, and
// within those of all devices together.
func (b *Outbox) fits(publish string, size int64) (device, all bool) {
	l, u := b.opt.Limits, b.use[publish]
	if u == nil {
		u = &usage{}
	}
	within := func(u *usage, bytes int64, messages int) bool {
		return (bytes == 0 || u.bytes+size <= bytes) && (messages == 0 || u.messages < messages)
	}
	return within(u, l.DeviceBytes, l.DeviceMessages), within(&b.total, l.Bytes, l.Messages)
}

// evict drops what it may until there is capacity for it; false: there is none.
func (b *Outbox) evict(it *item) bool {
	for swept := false; ; {
		device, all := b.fits(it.flow.publish, it.size)
		if device && all {
			return true
		}
		if !swept {
			swept = true
			b.sweep()
			continue
		}
		if it.stream.route.Overflow != DropOldest || it.volatile {
			return false
		}
		victim := b.oldest(it.flow, !device)
		if victim == nil {
			return false
		}
		b.drop(victim, ReasonOldest)
	}
}

// oldest is the oldest waiting message whose route is DropOldest: of the device of f if same,
// else of any device.
func (b *Outbox) oldest(f *flow, same bool) *item {
	if !same {
		return b.loosest()
	}
	var best *item
	for _, f := range b.flows[f.publish] {
		for _, s := range f.streams {
			if s.route.Overflow != DropOldest {
				continue
			}
			if it := b.droppable(s); it != nil && (best == nil || it.seq < best.seq) {
				best = it
			}
		}
	}
	return best
}

// droppable is the oldest message of s that waits and was not sent.
func (b *Outbox) droppable(s *stream) *item {
	f := s.flow
	for i := f.head; ; i++ {
		for i >= len(f.items) {
			if s.cold == 0 || !b.load(f) {
				return nil
			}
		}
		if it := f.items[i]; it.stream == s && it.state == queued {
			return it
		}
	}
}

// loosest is the oldest droppable message of all streams.
func (b *Outbox) loosest() (victim *item) {
	var passed []*stream // streams that have nothing to drop now
	for victim == nil && len(b.loose) > 0 {
		s := b.loose[0]
		it := b.droppable(s)
		switch {
		case it == nil:
			heap.Pop(&b.loose)
			passed = append(passed, s)
		case it.seq > s.floor: // the first messages of s are gone: another stream may have older ones
			s.floor = it.seq
			heap.Fix(&b.loose, 0)
		default:
			victim = it
		}
	}
	for _, s := range passed {
		heap.Push(&b.loose, s)
	}
	return victim
}

// drop removes a message that is not sent any more, and counts the reason.
func (b *Outbox) drop(it *item, reason string) {
	b.finish(it)
	b.counts.dropped[reason]++
	if !it.volatile {
		b.opt.Storage.Remove(it.stream.id, []uint64{it.seq}, nil)
	}
}

// maxSwept bounds how many expired messages are read back in one sweep.
const maxSwept = 4096

// sweep drops the expired messages among the items of each flow, and while all items of a
// flow have expired it reads the next ones. An expired message that is only on disk, behind
// one that has not expired, is dropped when it is read to be sent. sweep does nothing if it
// ran less than a second ago, because it goes through every flow and a full outbox calls it
// with each message.
func (b *Outbox) sweep() {
	now := b.opt.Now()
	if since := now.Sub(b.swept); since >= 0 && since < time.Second {
		return
	}
	b.swept = now
	elapsed, left := b.elapsed(), maxSwept
	var flows []*flow
	for _, byPriority := range b.flows {
		for _, f := range byPriority {
			flows = append(flows, f)
		}
	}
	for _, f := range flows {
		for left > 0 {
			var old []*item
			for _, it := range f.items[f.head:] {
				if it.state == queued && it.expired(elapsed) {
					old = append(old, it)
				}
			}
			for _, it := range old {
				b.drop(it, ReasonExpired)
			}
			left -= len(old)
			if len(old) == 0 || f.items != nil || !b.load(f) {
				break
			}
		}
	}
	if left <= 0 { // the next call goes on at once
		b.swept = time.Time{}
	}
}

// Stats is the state of the outbox.
type Stats struct {
	Messages int       // waiting, being written, or sent and not acknowledged
	Waiting  int       // Messages without those being written: Restored + Accepted = Acked + Waiting + Aside + all of Dropped
	Bytes    int64     // of Messages, as the limits count
	Devices  int       // how many devices Messages are of
	Oldest   time.Time // when the oldest message was accepted; zero: there is none
	Inflight int       // messages sent and not acknowledged
	Lanes    int       // connections that are up or needed
	Up       int       // how many of Lanes are connected
	Restored uint64    // messages that were stored when the outbox was opened
	Accepted uint64    // messages since then
	Sent     uint64
	Acked    uint64
	Dropped  map[string]uint64 // by reason
	Refused  map[string]uint64 // by reason
	Aside    uint64            // parked since the start
	// What is parked now, and how many parked messages were dropped since the start because of ParkedLimits.
	Parked        int
	ParkedBytes   int64
	ParkedDropped uint64
	Paused        bool // a device, or all of them, by Pause
	// Withheld are the messages that wait for capacity. They are not accepted, and not among Messages.
	Withheld      int
	WithheldBytes int64
}

// Stats is a copy of the counters.
func (b *Outbox) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Stats{
		Messages: b.total.messages,
		Bytes:    b.total.bytes,
		Devices:  len(b.use),
		Lanes:    len(b.lanes),
		Waiting:  b.total.messages - b.counts.appending,
		Restored: b.counts.restored,
		Accepted: b.counts.accepted,
		Sent:     b.counts.sent,
		Acked:    b.counts.acked,
		Dropped:  maps.Clone(b.counts.dropped),
		Refused:  maps.Clone(b.counts.refused),
	}
	for _, byPriority := range b.flows {
		for _, f := range byPriority {
			if f.items == nil && !b.load(f) {
				continue
			}
			if at := f.items[f.head].accepted; s.Oldest.IsZero() || at.Before(s.Oldest) {
				s.Oldest = at
			}
		}
	}
	s.Aside, s.Parked, s.ParkedBytes, s.ParkedDropped = b.shelf.total, len(b.shelf.list), b.shelf.bytes, b.shelf.dropped
	s.Withheld, s.WithheldBytes = b.withheld.n, b.withheld.bytes
	s.Paused = b.pausedAll || len(b.paused) > 0
	for _, l := range b.lanes {
		s.Inflight += l.inflight
		if l.up {
			s.Up++
		}
	}
	return s
}
