package upstream

import (
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

type state uint8

const (
	pending  state = iota // being written: not sent before it is durable
	queued                // durable, waiting
	inflight              // sent, not acknowledged
	gone                  // acknowledged, dropped or refused
)

// item is a message that is about to be sent, or was sent and is not acknowledged:
// enough to account for it and to order it.
type item struct {
	seq      uint64
	size     int64
	expires  time.Duration // as Outbox.elapsed; 0: never
	accepted time.Time
	stream   *stream
	flow     *flow
	state    state
	// volatile: a QoS 0 message, in memory only.
	volatile bool
	// cold: the message will be on disk only. The item is in no flow, and ends when the
	// message is durable.
	cold   bool
	unread int // how often its record could not be read
	sent   time.Time
	late   int // how often it was not acknowledged within Options.AckWait
	// hangs counts the connections that ended while this was the only message sent and not
	// acknowledged. hungAt is lane.acks at the last of them. proved: since then a connection
	// has stayed up without this message for as long as mustProve asks.
	hangs  int
	hungAt uint64
	proved bool
	// message is nil if Options.Memory is used up: it is then read from the storage to be sent.
	message *message.Message
	topic   string
}

// flow has the messages of one device at one priority, in order, over all routes of
// that priority. The first ones are in items, the rest is on disk. All fields are
// guarded by Outbox.mu.
type flow struct {
	device   string
	publish  string // message.Message.Source: the device or the publisher's key, by which limits count
	priority int
	lane     *lane
	box      *Outbox
	items    []*item // the front of the flow is items[head]
	head     int
	next     int  // index of the first item that was not sent on this connection
	listed   bool // the flow is in one of its lane's turns or in lane.suspects
	streams  []*stream
	cold     int  // messages behind the items that are only on disk
	writing  int  // messages that are being written and will be cold
	retrying bool // cold messages could not be read, and later will try again
	// strikes counts connections in a row that ended while the flow's front was sent and not
	// acknowledged. From suspect strikes on, its messages are sent only while nothing else
	// is unacknowledged: a message at which upstream ends the connection must not delay the
	// other flows for ever.
	strikes int
	due     uint64 // of a suspect flow: from this value of lane.acks on, all other flows wait for it
}

const (
	suspect  = 3  // strikes
	patience = 64 // acknowledgements of other flows before a suspect flow's turn; doubled with each further strike
)

// strike notes that a connection of the lane ended with the front unanswered.
func (f *flow) strike(l *lane) {
	if f.strikes++; f.strikes >= suspect {
		f.due = l.acks + patience<<min(f.strikes-suspect, 10)
	}
}

// compact removes the items at the front that are gone.
func (f *flow) compact() {
	for f.head < len(f.items) && f.items[f.head].state == gone {
		f.items[f.head] = nil
		f.head++
	}
	f.next = max(f.next, f.head)
	if f.head == len(f.items) {
		f.items, f.head, f.next = nil, 0, 0
	} else if f.head > 64 && f.head > len(f.items)/2 {
		f.items = append([]*item(nil), f.items[f.head:]...)
		f.next -= f.head
		f.head = 0
	}
}

// ready returns the item to send next; nil if there is none now.
func (f *flow) ready() *item {
	for f.next < len(f.items) && f.items[f.next].state == gone {
		f.next++
	}
	if b := f.box; b.pausedAll || b.paused[f.publish] {
		return nil
	}
	if f.next >= len(f.items) && !f.box.load(f) {
		return nil
	}
	if f.items[f.next].state == queued {
		return f.items[f.next]
	}
	return nil
}

// empty tells whether the flow has no messages, neither in memory nor on disk.
func (f *flow) empty() bool { return f.items == nil && f.cold == 0 && f.writing == 0 }

// turns are the flows of one priority that have something to send.
type turns struct{ live, backlog []*flow }

// lane has the flows that one connection upstream carries, and what is known of that
// connection. Its fields are guarded by Outbox.mu.
type lane struct {
	name     string
	flows    map[*flow]bool
	turns    map[int]*turns
	order    []int         // priorities, highest first
	suspects []*flow       // suspect flows that have something to send
	alone    *item         // sent, of a suspect flow: nothing else is sent until it is acknowledged
	acks     uint64        // messages acknowledged, over all connections
	since    time.Time     // when its connection came up
	hold     time.Duration // set by pick: how long the connection must still stay up before a suspect's message is sent
	parked   bool          // a message was parked; acks was parkedAt then
	parkedAt uint64
	late     bool // its connection ends because a message was not acknowledged in time
	inflight int
	boundary uint64 // items with a lower seq are backlog
	replayed bool   // the last turn went to the backlog
	running  bool
	conn     uint64 // number of the connection; acknowledgements of older ones do not count
	sent     map[uint64]*item
	up       bool
	empty    []*flow // flows that had no messages when their turn came: Outbox.take forgets them
	wake     chan struct{}
}

func newLane(name string) *lane {
	return &lane{name: name, flows: map[*flow]bool{}, turns: map[int]*turns{}, sent: map[uint64]*item{}, wake: make(chan struct{}, 1)}
}

func (l *lane) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// list puts f into a turn, or among the suspects, if it has something to send and is in none.
func (l *lane) list(f *flow) {
	it := f.ready()
	if f.listed || it == nil || l.alone != nil && l.alone.flow == f {
		return
	}
	f.listed = true
	if f.strikes >= suspect {
		l.suspects = append(l.suspects, f)
		return
	}
	t := l.turns[f.priority]
	if t == nil {
		t = &turns{}
		l.turns[f.priority] = t
		i := 0
		for i < len(l.order) && l.order[i] > f.priority {
			i++
		}
		l.order = append(l.order[:i], append([]int{f.priority}, l.order[i:]...)...)
	}
	if it.seq < l.boundary {
		t.backlog = append(t.backlog, f)
	} else {
		t.live = append(t.live, f)
	}
}

// relist builds the turns anew, for a new connection.
func (l *lane) relist() {
	clear(l.turns)
	l.order, l.suspects, l.alone = nil, nil, nil
	for f := range l.flows {
		f.listed = false
		f.next = f.head
		if l.list(f); f.empty() { // its last message went while it was listed: the empty flow would keep the lane open
			l.empty = append(l.empty, f)
		}
	}
}

// pick returns the next item to send, or nil. mayReplay is asked before a backlog item is taken.
func (l *lane) pick(mayReplay func() bool) *item {
	l.hold = 0
	if l.alone != nil {
		return nil
	}
	next := l.leastSuspect()
	if next == nil || l.acks < next.due {
		if it := l.turn(mayReplay); it != nil || next == nil {
			return it
		}
	}
	it := next.ready()
	if l.inflight == 0 {
		if l.hold = next.box.mustProve(l, it); l.hold > 0 {
			return nil
		}
	}
	if l.inflight > 0 || it.seq < l.boundary && !mayReplay() {
		return nil
	}
	l.suspects = slices.DeleteFunc(l.suspects, func(f *flow) bool { return f == next })
	next.listed = false
	next.next++
	l.alone = it
	return it
}

// leastSuspect is the suspect flow that is due first; nil if there is none.
func (l *lane) leastSuspect() (first *flow) {
	l.suspects = slices.DeleteFunc(l.suspects, func(f *flow) bool {
		if f.ready() == nil {
			f.listed = false
			if f.empty() {
				l.empty = append(l.empty, f)
			}
			return true
		}
		if first == nil || f.due < first.due {
			first = f
		}
		return false
	})
	return first
}

// turn returns the next item of the flows that are not suspect, or nil: of the highest
// priority that has one, from backlog and live flows alternately.
func (l *lane) turn(mayReplay func() bool) *item {
	for _, p := range l.order {
		t := l.turns[p]
		first, second := &t.live, &t.backlog
		if !l.replayed {
			first, second = second, first
		}
		for _, list := range [...]*[]*flow{first, second} {
			if it := l.pickFrom(list, list == &t.backlog, mayReplay); it != nil {
				l.replayed = list == &t.backlog
				return it
			}
		}
	}
	return nil
}

func (l *lane) pickFrom(list *[]*flow, backlog bool, mayReplay func() bool) *item {
	for range len(*list) {
		all := *list
		f := all[0]
		*list = all[1:]
		f.listed = false
		it := f.ready()
		if it == nil {
			if f.empty() {
				l.empty = append(l.empty, f)
			}
			continue
		}
		if backlog && !mayReplay() {
			*list = all
			f.listed = true
			return nil
		}
		f.next++
		l.list(f)
		return it
	}
	return nil
}

func (it *item) expired(elapsed time.Duration) bool { return it.expires != 0 && elapsed >= it.expires }
