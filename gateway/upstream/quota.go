package upstream

import (
	"maps"
	"time"
)

// counts is what a status page asks for. What was restored and what was accepted
// is acknowledged, or waits, or was dropped for a reason: at any moment, nothing else.
type counts struct {
	restored, accepted, sent, acked uint64
	dropped, refused                map[string]uint64
	appending                       int // neither accepted nor refused yet
}

func newCounts() counts {
	return counts{dropped: map[string]uint64{}, refused: map[string]uint64{}}
}

// fits tells whether one more message of that size is within the limits of the device and of all.
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

// makeRoom drops what may be dropped until it fits; false: it does not.
func (b *Outbox) makeRoom(it *item) bool {
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
		if it.route.Overflow != DropOldest || it.volatile {
			return false
		}
		victim := b.oldest(it.flow, !device)
		if victim == nil {
			return false
		}
		b.drop(victim, ReasonOldest)
	}
}

// oldest is the longest waiting message that its route allows to drop: of the
// same device if that is what is full, else of any.
func (b *Outbox) oldest(f *flow, same bool) *item {
	if same {
		var best *item
		for _, f := range b.flows[f.publish] {
			for _, it := range f.items[f.head:] {
				if it.route.Overflow == DropOldest && it.state == queued {
					if best == nil || it.seq < best.seq {
						best = it
					}
					break
				}
			}
		}
		return best
	}
	var best *item
	for r, q := range b.byRoute {
		if r.Overflow != DropOldest {
			continue
		}
		for _, it := range q.items {
			if it.state == queued {
				if best == nil || it.seq < best.seq {
					best = it
				}
				break
			}
		}
	}
	return best
}

// drop forgets a message that nobody will get, and counts why.
func (b *Outbox) drop(it *item, reason string) {
	volatile, seq := it.volatile, it.seq
	b.finish(it)
	b.counts.dropped[reason]++
	if !volatile {
		b.opt.Storage.Remove([]uint64{seq}, nil)
	}
}

// sweep drops what has expired, wherever it waits; at most once a second,
// because it looks at everything and a full outbox asks for it with each message.
func (b *Outbox) sweep() {
	now := b.opt.Now()
	if since := now.Sub(b.swept); since >= 0 && since < time.Second {
		return
	}
	b.swept = now
	elapsed := b.elapsed()
	var old []*item
	for _, q := range b.byRoute {
		for _, it := range q.items {
			if it.state == queued && it.expired(elapsed) {
				old = append(old, it)
			}
		}
	}
	for _, it := range old {
		b.drop(it, ReasonExpired)
	}
}

// Stats is the state of the outbox.
type Stats struct {
	Messages int       // waiting or unacknowledged, with those that are being written
	Waiting  int       // of them those that are accepted: Restored + Accepted = Acked + Waiting + all of Dropped
	Bytes    int64     // of them, as accounted
	Devices  int       // that have something waiting
	Oldest   time.Time // when the longest waiting one was accepted; zero: none waits
	Inflight int
	Lanes    int    // known
	Up       int    // of them connected
	Restored uint64 // that waited when the outbox was opened
	Accepted uint64 // since then
	Sent     uint64
	Acked    uint64
	Dropped  map[string]uint64 // by reason
	Refused  map[string]uint64 // by reason
}

// Stats is a copy of the counters.
func (b *Outbox) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Stats{Messages: b.total.messages, Bytes: b.total.bytes, Devices: len(b.use), Lanes: len(b.lanes),
		Waiting: b.total.messages - b.counts.appending, Restored: b.counts.restored, Accepted: b.counts.accepted, Sent: b.counts.sent, Acked: b.counts.acked,
		Dropped: maps.Clone(b.counts.dropped), Refused: maps.Clone(b.counts.refused)}
	for _, q := range b.byRoute {
		for _, it := range q.items {
			if it.state != gone {
				if s.Oldest.IsZero() || it.accepted.Before(s.Oldest) {
					s.Oldest = it.accepted
				}
				break
			}
		}
	}
	for _, l := range b.lanes {
		s.Inflight += l.inflight
		if l.up {
			s.Up++
		}
	}
	return s
}
