package upstream

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// stream has the messages that one route takes of one publisher. The first ones are
// items of the flow, in memory. The others are cold: they are counted here, and read
// when the flow has sent its items. All fields are guarded by Outbox.mu.
type stream struct {
	id    message.StreamID
	route *route
	flow  *flow

	bytes     int64  // of the n messages, as limits count
	n         int    // messages waiting, being written, or sent and not acknowledged; cold ones included
	cold      int    // messages that are durable and only on disk: their seq is in (loaded, durable]
	coldBytes int64  // of the cold messages, as limits count
	loaded    uint64 // the highest seq that is or was an item
	durable   uint64 // the highest seq of a cold message

	// floor is a lower bound of the seq of the oldest message that may be dropped. place
	// is the index of the stream in Outbox.loose; -1: it is not there.
	floor uint64
	place int
}

// loose is a heap of the streams whose route is DropOldest, the lowest floor first.
type loose []*stream

func (h loose) Len() int           { return len(h) }
func (h loose) Less(i, j int) bool { return h[i].floor < h[j].floor }
func (h loose) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}
func (h *loose) Push(x any) {
	s := x.(*stream)
	s.place = len(*h)
	*h = append(*h, s)
}
func (h *loose) Pop() any {
	last := len(*h) - 1
	s := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	s.place = -1
	return s
}

// stream returns the stream of f by that route, and makes it if there is none.
func (b *Outbox) stream(f *flow, r *route, m *message.Message) *stream {
	for _, s := range f.streams {
		if s.route == r {
			return s
		}
	}
	s := &stream{id: message.StreamOf(m, r.Name), route: r, flow: f, loaded: b.nextSeq, place: -1}
	f.streams = append(f.streams, s)
	return s
}

// enter accounts for one more message of a stream, and leave for one that is gone.
func (b *Outbox) enter(s *stream, seq uint64, size int64) {
	if s.n++; s.n == 1 {
		s.floor = seq
		if s.route.Overflow == DropOldest {
			heap.Push(&b.loose, s)
		}
	}
	s.bytes += size
	u := b.use[s.flow.publish]
	if u == nil {
		u = &usage{}
		b.use[s.flow.publish] = u
	}
	for _, u := range [...]*usage{u, &b.total} {
		u.bytes += size
		u.messages++
	}
}

func (b *Outbox) leave(s *stream, size int64) {
	if s.n--; s.n == 0 && s.place >= 0 {
		heap.Remove(&b.loose, s.place)
	}
	s.bytes -= size
	u := b.use[s.flow.publish]
	if u == nil {
		b.opt.Log.Error("a message has left that was not accounted for", "device", s.flow.device, "route", s.route.Name)
		return
	}
	for _, u := range [...]*usage{u, &b.total} {
		u.bytes -= size
		u.messages--
	}
	if u.messages == 0 {
		b.total.bytes -= u.bytes // of records that could not be read
		delete(b.use, s.flow.publish)
	}
	b.released(s.flow.publish)
	b.drained()
}

// itemBytes is roughly the memory of an item without its message.
const itemBytes = 512

// window is how many items a flow may have before further messages become cold. It
// shrinks with the number of flows, so that all items together take about half of
// Options.Memory.
func (b *Outbox) window() int {
	return int(min(max(b.opt.Memory/itemBytes/2/int64(max(1, len(b.flows))), 8), 256))
}

// load makes items of the next cold messages of f, in order of their numbers over
// its streams; false: there are none, or they cannot be read now.
//
// It reads the disk with mu held: a few hundred consecutive records at most, and only
// when the flow has sent its items.
func (b *Outbox) load(f *flow) bool {
	if f.cold == 0 {
		return false
	}
	count, bytes := max(b.window()/2, 1), max(b.opt.Memory/8, 1)
	type part struct {
		s    *stream
		list []message.StoredOutgoing
	}
	var parts []part
	upTo := ^uint64(0) // the last seq up to which every stream was read: later ones might be out of order
	for _, s := range f.streams {
		if s.cold == 0 {
			continue
		}
		list, err := b.opt.Storage.Next(s.id, s.loaded, s.durable, count, bytes)
		if err != nil {
			b.later(f, err)
			return false
		}
		if n := len(list); n > 0 && n == s.cold && list[n-1].Seq < s.durable { // more are stored than were counted
			more, err := b.opt.Storage.Next(s.id, list[n-1].Seq, s.durable, count, bytes)
			if err != nil {
				b.later(f, err)
				return false
			}
			list = append(list, more...)
		}
		if size := sizes(list); len(list) < min(count, s.cold) && size < bytes {
			b.lost(s, s.cold-len(list))
		}
		if len(list) > s.cold {
			b.found(s, len(list)-s.cold, max(sizes(list)-s.coldBytes, 0))
		}
		if len(list) < s.cold {
			upTo = min(upTo, list[len(list)-1].Seq)
		}
		if len(list) > 0 {
			parts = append(parts, part{s, list})
		}
	}
	var fresh []*item
	for _, p := range parts {
		for _, q := range p.list {
			if q.Seq > upTo {
				break
			}
			fresh = append(fresh, b.thaw(p.s, &q))
		}
	}
	if len(parts) > 1 {
		slices.SortFunc(fresh, func(x, y *item) int { return cmp.Compare(x.seq, y.seq) })
	}
	f.items = append(f.items, fresh...)
	return len(fresh) > 0
}

func sizes(list []message.StoredOutgoing) (n int64) {
	for i := range list {
		n += list[i].Size
	}
	return n
}

// thaw makes a cold message an item.
func (b *Outbox) thaw(s *stream, q *message.StoredOutgoing) *item {
	if s.cold == 1 {
		q.Size = s.coldBytes // the last one takes the rest, which is of records that could not be read
	}
	it := &item{seq: q.Seq, size: q.Size, stream: s, flow: s.flow, topic: q.Topic, state: queued}
	if q.Message != nil {
		it.accepted = q.Message.Accepted
		if end := s.route.end(q.Message); !end.IsZero() {
			it.expires = max(end.Sub(b.epoch(q.Seq)), 1)
		}
		if b.memory+q.Size <= b.opt.Memory {
			it.message = q.Message
			b.memory += q.Size
		}
	}
	s.cold--
	s.coldBytes -= q.Size
	s.flow.cold--
	s.loaded = q.Seq
	return it
}

// lost drops messages from the accounts that were counted and are not stored any more.
func (b *Outbox) lost(s *stream, n int) {
	b.opt.Log.Error("stored messages are missing", "device", s.flow.device, "route", s.route.Name, "messages", n)
	size := s.coldBytes / int64(s.cold)
	for range n {
		s.cold--
		s.coldBytes -= size
		s.flow.cold--
		b.leave(s, size)
		b.counts.dropped[ReasonUnreadable]++
	}
}

// found accounts for n more cold messages, of size bytes together, which are stored
// although they were not counted. They are sent too: otherwise load would stop at the
// count, and as many messages behind them would wait until the next start.
func (b *Outbox) found(s *stream, n int, size int64) {
	b.opt.Log.Error("messages are stored that were not accounted for", "device", s.flow.device, "route", s.route.Name, "messages", n)
	b.counts.restored += uint64(n)
	for range n {
		b.enter(s, s.loaded, size)
		s.cold++
		s.coldBytes += size
		s.flow.cold++
		size = 0
	}
}

// later lists f again after storeRetry, because its cold messages could not be read.
func (b *Outbox) later(f *flow, err error) {
	if f.retrying {
		return
	}
	f.retrying = true
	b.opt.Log.Warn("the outbox cannot be read, and is tried again", "device", f.device, "err", err)
	time.AfterFunc(storeRetry, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		f.retrying = false
		f.lane.list(f)
		f.lane.nudge()
	})
}

// era is a run of messages that were accepted while the clock of Accepted and
// Options.Elapsed advanced together: the clock was not set in between.
type era struct {
	first uint64    // seq of the first message
	epoch time.Time // what the clock showed, or would have shown, when Elapsed was 0
}

// maxEras bounds the memory for a clock that is set again and again.
const maxEras = 256

// note begins a new era if the clock was set by a second or more before seq was accepted.
// A message that is read back later then ages by the time that really passed.
func (b *Outbox) note(seq uint64, accepted time.Time) {
	epoch := accepted.Add(-b.elapsed())
	if n := len(b.eras); n > 0 {
		if d := epoch.Sub(b.eras[n-1].epoch); d > -time.Second && d < time.Second {
			return
		}
		if n == maxEras {
			b.eras = slices.Delete(b.eras, 1, 2)
		}
	}
	b.eras = append(b.eras, era{seq, epoch})
}

// epoch is era.epoch of the era of the message with that seq.
func (b *Outbox) epoch(seq uint64) time.Time {
	i, found := slices.BinarySearchFunc(b.eras, seq, func(e era, seq uint64) int { return cmp.Compare(e.first, seq) })
	if !found {
		i--
	}
	return b.eras[max(i, 0)].epoch
}
