package upstream

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// stream is what one route takes of one publisher. Its first messages are items
// of its flow, in memory; those behind them are cold: counted here, and read when
// the flow has sent what it holds. All fields are guarded by Outbox.mu.
type stream struct {
	id    message.StreamID
	route *route
	flow  *flow

	bytes     int64  // of n, as accounted
	n         int    // waiting or unacknowledged, cold ones and those being written included
	cold      int    // durable and only on disk: numbers in (loaded, durable]
	coldBytes int64  // of them, as accounted
	loaded    uint64 // the highest number that is or was an item
	durable   uint64 // the highest number of a cold message

	// floor is at most the number of the oldest message that may be dropped, and
	// place the index in Outbox.loose by which it is found; -1: it is not there.
	floor uint64
	place int
}

// loose are the streams of routes that drop their oldest, by floor.
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

// enter accounts for one more message of a stream, and leave for one less.
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

// Memory of an item without its message, roughly and in bytes.
const itemBytes = 512

// window is how many items a flow may hold before further messages stay on disk:
// all flows together hold about as much in items as in messages.
func (b *Outbox) window() int {
	return int(min(max(b.opt.Memory/itemBytes/2/int64(max(1, len(b.flows))), 8), 256))
}

// load makes items of the next cold messages of f, in order of their numbers over
// its streams; false: there are none, or they cannot be read now.
//
// It reads the disk with mu held: some hundred records at most, one after the
// other, and only once the flow has sent what it had.
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
	upTo := ^uint64(0) // a stream that was cut may have the next number
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
		q.Size = s.coldBytes // the last one takes what those that could not be read did not
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

// lost gives up messages that were counted and are not there any more.
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

// found accounts for n more cold messages, of that size together: they are stored below
// the number of an acknowledged one, and were not counted. Unless they are sent as well,
// as many acknowledged ones would wait until the next start.
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

// later tries again to read what could not be read.
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

// era is a time in which the clock of messages and the time since the start ran together.
type era struct {
	first uint64    // number of the first message
	epoch time.Time // what the clock said, or would have said, at the start
}

// maxEras bounds what is remembered of a clock that is set again and again.
const maxEras = 256

// note remembers how the clock stood to the time since the start when seq was accepted: what is
// read back later ages by the time that passed, whatever the clock was set to meanwhile.
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

// epoch is the time of the start by the clock of the message of that number.
func (b *Outbox) epoch(seq uint64) time.Time {
	i, found := slices.BinarySearchFunc(b.eras, seq, func(e era, seq uint64) int { return cmp.Compare(e.first, seq) })
	if !found {
		i--
	}
	return b.eras[max(i, 0)].epoch
}
