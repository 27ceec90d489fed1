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
	// cold: it is in no flow, and remembered while it is being written only.
	cold   bool
	unread int // how often its record could not be read
	sent   time.Time
	late   int // how often it was not acknowledged in time
	// hangs is how often a connection ended while it was alone on it, and hungAt
	// lane.acks at the last time; proved: the connection stood without it since.
	hangs  int
	hungAt uint64
	proved bool
	// message is kept while there is memory for it; else it is read when its turn comes.
	message *message.Message
	topic   string
}

// flow is what one device sends at one priority, in order, over all routes of
// that priority. items is its head, the rest is on disk.
type flow struct {
	device   string
	publish  string // device, or the publisher's key: what quotas count by
	priority int
	lane     *lane
	box      *Outbox
	items    []*item // guarded by Outbox.mu, as everything here; front is items[head]
	head     int
	next     int  // the first that was not sent on this connection
	listed   bool // it stands in a turn of its lane
	streams  []*stream
	cold     int  // messages behind the items that are only on disk
	writing  int  // of those that will be, still being written
	retrying bool // its cold messages could not be read a moment ago
	// strikes counts connections in a row that ended with this flow's front
	// unanswered. A message that makes upstream hang up must not take the others
	// along: with suspect of them, the flow sends alone.
	strikes int
	due     uint64 // a suspect's: when so many were acknowledged on its lane, all others wait for it
}

const (
	suspect  = 3
	patience = 64 // acknowledgements of others before a suspect's turn; doubled with each strike
)

// strike notes that a connection of the lane ended with the front unanswered.
func (f *flow) strike(l *lane) {
	if f.strikes++; f.strikes >= suspect {
		f.due = l.acks + patience<<min(f.strikes-suspect, 10)
	}
}

// compact drops the finished front.
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

// ready is the item to send next; nil if there is none yet.
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

// empty tells whether nothing of it waits, neither here nor on disk.
func (f *flow) empty() bool { return f.items == nil && f.cold == 0 && f.writing == 0 }

// turns are the flows of one priority that have something to send.
type turns struct{ live, backlog []*flow }

// lane is what one connection carries.
type lane struct {
	name     string
	flows    map[*flow]bool
	turns    map[int]*turns
	order    []int   // priorities, highest first
	suspects []*flow // that have something to send
	alone    *item   // a suspect's, sent: nothing goes along
	acks     uint64
	since    time.Time     // when its connection came up
	hold     time.Duration // for so long a suspect waits for the proof that the connection stands without it
	parked   bool          // a message was parked, when parkedAt were acknowledged
	parkedAt uint64
	late     bool // its connection ends because a message was not acknowledged in time
	inflight int
	boundary uint64 // items below it are backlog
	replayed bool   // the last turn went to the backlog
	running  bool
	conn     uint64 // number of the connection; acknowledgements of older ones do not count
	sent     map[uint64]*item
	up       bool
	empty    []*flow // left a turn with nothing in them; for Outbox to forget
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

// list gives f a turn if it has something to send and stands in no turn.
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
		if l.list(f); f.empty() { // emptied while it stood in a turn: it would keep the lane open
			l.empty = append(l.empty, f)
		}
	}
}

// pick takes the next turn. mayReplay is asked before a backlog item is taken.
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

// leastSuspect is the suspect whose turn comes first; nil if there is none.
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

// turn takes the next turn of those who are no suspects.
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
