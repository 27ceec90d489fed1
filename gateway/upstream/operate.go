package upstream

import (
	"cmp"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// ReasonPurged is the drop reason of messages that an operator removed.
const ReasonPurged = "purged"

// Pile describes the messages of one device that wait by one route.
type Pile struct {
	Device   string // or "key " and the publisher's key
	Route    string
	Messages int
	Bytes    int64
	Oldest   time.Time // when its first message was accepted; zero if that is not known yet
	Paused   bool
}

// Waiting describes a message that waits or is unacknowledged.
type Waiting struct {
	Seq          uint64
	Device       string
	Route, Topic string // Topic is the upstream's
	Bytes        int64
	Accepted     time.Time
	Sent         bool // and not acknowledged yet
}

// matching yields the streams that s selects by Device and Route; Seq is ignored. b.mu is held.
func (b *Outbox) matching(s Selector, yield func(*stream)) {
	for publish, byPriority := range b.flows {
		for _, f := range byPriority {
			for _, st := range f.streams {
				if st.n > 0 && (s.Device == "" || s.Device == publish) && (s.Route == "" || s.Route == st.route.Name) {
					yield(st)
				}
			}
		}
	}
}

// List tells what waits by device and route, the most bytes first.
func (b *Outbox) List(s Selector) (list []Pile) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.matching(s, func(st *stream) {
		f := st.flow
		p := Pile{
			Device:   f.publish,
			Route:    st.route.Name,
			Messages: st.n,
			Bytes:    st.bytes,
			Paused:   b.pausedAll || b.paused[f.publish],
		}
		for i := f.head; i < len(f.items); i++ {
			if it := f.items[i]; it.stream == st && it.state != gone {
				p.Oldest = it.accepted
				break
			}
		}
		list = append(list, p)
	})
	slices.SortFunc(list, func(x, y Pile) int {
		return cmp.Or(cmp.Compare(y.Bytes, x.Bytes), cmp.Compare(x.Device, y.Device), cmp.Compare(x.Route, y.Route))
	})
	return list
}

// cursor says where to read the messages of a stream that are only on disk.
type cursor struct {
	stream          message.StreamID
	device          string
	loaded, durable uint64
	count           int
}

// Peek lists the first messages that wait of each selected device, at most n in all, by
// sequence number. It reads the disk without holding b.mu, so a message that is sent
// meanwhile may be in the list.
func (b *Outbox) Peek(s Selector, n int) []Waiting {
	list, cold := b.peekMemory(s, n)
	for _, c := range cold {
		more, err := b.opt.Storage.Next(c.stream, c.loaded, c.durable, c.count, 8<<20)
		if err != nil {
			continue // the stream is in List, and can be looked at later
		}
		for _, q := range more {
			w := Waiting{Seq: q.Seq, Device: c.device, Route: q.Route, Topic: q.Topic, Bytes: q.Size}
			if q.Message != nil {
				w.Accepted = q.Message.Accepted
			}
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(x, y Waiting) int { return cmp.Compare(x.Seq, y.Seq) })
	return list
}

// peekMemory returns the part of Peek's list that is in memory, and where to read the rest.
func (b *Outbox) peekMemory(s Selector, left int) (list []Waiting, cold []cursor) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.matching(s, func(st *stream) {
		f := st.flow
		for _, it := range f.items[f.head:] {
			if it.stream == st && it.state != gone && (s.Seq == 0 || s.Seq == it.seq) && left > 0 {
				left--
				list = append(list, Waiting{
					Seq:      it.seq,
					Device:   f.publish,
					Route:    st.route.Name,
					Topic:    it.topic,
					Bytes:    it.size,
					Accepted: it.accepted,
					Sent:     it.state == inflight,
				})
			}
		}
		if s.Seq != 0 || left <= 0 || st.cold == 0 {
			return
		}
		cold = append(cold, cursor{st.id, f.publish, st.loaded, st.durable, left})
		left -= min(st.cold, left)
	})
	return list, cold
}

const (
	// purgeStep is how many messages Purge removes, and purgeLoads how often it reads cold
	// ones, before it releases mu for others.
	purgeStep  = 512
	purgeLoads = 4
)

// Purge drops the selected messages that wait now, except those that are sent and not
// acknowledged yet. It returns how many it dropped. An empty Selector selects none.
func (b *Outbox) Purge(s Selector) (n int) {
	if s.Empty() {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	last := b.nextSeq
	if s.Seq != 0 {
		last = min(last, s.Seq)
	}
	var streams []*stream
	b.matching(s, func(st *stream) { streams = append(streams, st) })
	for _, st := range streams {
		if s.Seq != 0 && !b.holds(st, s.Seq) {
			continue
		}
		for more := true; more; {
			var k int
			k, more = b.purgeSome(st, s, last)
			n += k
			b.mu.Unlock() // so that Offer need not wait for the whole purge
			b.mu.Lock()
		}
	}
	return n
}

// holds tells whether the message of that number waits in st, without reading those before it.
func (b *Outbox) holds(st *stream, seq uint64) bool {
	if seq <= st.loaded || seq > st.durable {
		return slices.ContainsFunc(st.flow.items[st.flow.head:], func(it *item) bool { return it.stream == st && it.seq == seq })
	}
	_, err := b.opt.Storage.Read(st.id, seq)
	return err == nil
}

// purgeSome drops some messages of a stream; more tells whether others may be left.
func (b *Outbox) purgeSome(st *stream, s Selector, last uint64) (n int, more bool) {
	f := st.flow
	if b.flows[f.publish][f.priority] != f {
		return 0, false // the flow was emptied meanwhile
	}
	var victims []*item
	loads := 0
	for i := f.head; len(victims) < purgeStep; i++ {
		if i >= len(f.items) {
			if st.cold == 0 || st.loaded >= last {
				break
			}
			if more = loads == purgeLoads; more || !b.load(f) {
				break
			}
			loads++
		}
		if it := f.items[i]; it.stream == st && it.state == queued && it.seq <= last && (s.Seq == 0 || s.Seq == it.seq) {
			victims = append(victims, it)
		}
	}
	for _, it := range victims {
		b.drop(it, ReasonPurged)
	}
	f.tidy()
	return len(victims), more || len(victims) == purgeStep
}

// tidy removes the items that are gone, wherever in the flow they are.
func (f *flow) tidy() {
	if f.items == nil {
		return
	}
	left := make([]*item, 0, len(f.items)-f.head)
	next := 0
	for i, it := range f.items {
		if it != nil && it.state != gone {
			left = append(left, it)
			if i < f.next {
				next = len(left)
			}
		}
	}
	f.items, f.head, f.next = left, 0, next
}

// Pause stops sending the messages of the selected device, or of all, until Resume or
// the next start. Those that are sent and not acknowledged are not affected.
func (b *Outbox) Pause(s Selector) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case s.Device != "":
		b.paused[s.Device] = true
	case s.All:
		b.pausedAll = true
	}
}

// Resume ends Pause for the selected device; with Selector.All, for all devices.
func (b *Outbox) Resume(s Selector) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case s.Device != "":
		delete(b.paused, s.Device)
	case s.All:
		b.pausedAll = false
		clear(b.paused)
	}
	for _, byPriority := range b.flows {
		for _, f := range byPriority {
			b.ready(f)
		}
	}
}

// Drain resumes everything, and lifts the replay limit until nothing waits.
func (b *Outbox) Drain() {
	b.Resume(Selector{All: true})
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.total.messages == 0 {
		return
	}
	b.draining = true
	b.replay.SetLimit(rate.Inf)
	for _, l := range b.lanes {
		l.nudge()
	}
}

// drained puts the replay limit back.
func (b *Outbox) drained() {
	if b.draining && b.total.messages == 0 {
		b.draining = false
		if b.opt.Replay > 0 {
			b.replay.SetLimit(rate.Limit(b.opt.Replay))
		}
	}
}
