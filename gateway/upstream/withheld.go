package upstream

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// storeRetry is how long a message waits that the storage refused for its disk:
// nothing tells the outbox when a disk has room again.
const storeRetry = time.Second

// withheld are the messages that were offered with a message.Wait and found no capacity.
// They are in memory, nobody has been told that they are kept, and they are lost with the
// process: their publishers send them again. Those of one publisher are taken in the order
// in which they were offered, and what the publisher offers meanwhile goes behind them, or is
// refused if it cannot wait: else upstream would get a device's messages out of order.
//
// Publishers take turns, a message each. One for whom only a limit of its own has no
// capacity is passed over until a message of its own leaves the outbox.
//
// All of it is guarded by Outbox.mu.
type withheld struct {
	queues  map[string]*waiters // by publisher; none is empty
	turns   []*waiters          // those who may be next: all that are not passed over
	bytes   int64               // of all, each with itemBytes
	n       int                 // messages
	swept   time.Time           // when the queues of all were last looked through
	trying  bool                // admit has been started, and not run
	noSpace bool                // the storage refused a message, less than storeRetry ago
}

// waiters are the withheld messages of one publisher.
type waiters struct {
	publish string
	list    []*waiter
	bytes   int64
	listed  bool // in withheld.turns
	looks   bool // lookAgain will
}

// waiter is one withheld message.
type waiter struct {
	m      *message.Message // nil: it was refused after all, and what follows it may not overtake its repetition
	route  *route
	target string
	size   int64
	seq    uint64 // the number under which the storage refused it; 0: it has not been tried
	begun  bool   // wait.Begun was called
	wait   *message.Wait
	done   func(error)
}

// maxWithheld is how many bytes of one publisher are withheld. The publisher is held back
// from message.MaxWithheld on; the rest is for what is accounted to a message beside itself.
const maxWithheld = 2 * message.MaxWithheld

// never tells whether a message is larger than what the limits allow to all messages together:
// no wait helps it.
func (b *Outbox) never(size int64) bool {
	l := &b.opt.Limits
	return l.Bytes > 0 && size > l.Bytes || l.DeviceBytes > 0 && size > l.DeviceBytes
}

// withhold lets a message wait behind those of its publisher. It returns false if they, or
// those of all, hold too many bytes already; then nothing of the publisher is taken until
// whoever waits for w has gone.
func (b *Outbox) withhold(w *waiter) bool {
	publish := w.m.Source()
	if q := b.withheld.queues[publish]; q != nil && q.bytes >= maxWithheld {
		b.weed(q)
	}
	if b.withheld.bytes >= b.opt.Memory {
		b.weedAll()
	}
	q := b.queue(publish)
	full := q.bytes >= maxWithheld || b.withheld.bytes >= b.opt.Memory
	if full {
		w.m, w.done = nil, nil
	}
	q.list = append(q.list, w)
	b.weigh(q, w, 1)
	b.enlist(q)
	if full {
		return false
	}
	w.begin()
	if len(q.list) > 1 { // what is before it may have found capacity, or may be given up, by now
		b.try()
	}
	return true
}

// waitsBefore tells whether messages of a publisher wait for whom somebody waits.
func (b *Outbox) waitsBefore(publish string) bool {
	q := b.withheld.queues[publish]
	if q == nil {
		return false
	}
	if q.list[0].wait.Still() != message.Success {
		b.weed(q)
	}
	return len(q.list) > 0
}

func (w *waiter) begin() {
	if !w.begun {
		w.begun = true
		w.wait.Begun()
	}
}

// queue returns the withheld messages of a publisher, and makes them if there are none.
func (b *Outbox) queue(publish string) *waiters {
	q := b.withheld.queues[publish]
	if q == nil {
		q = &waiters{publish: publish}
		b.withheld.queues[publish] = q
	}
	return q
}

// enlist gives q a turn.
func (b *Outbox) enlist(q *waiters) {
	if !q.listed && len(q.list) > 0 {
		q.listed = true
		b.withheld.turns = append(b.withheld.turns, q)
	}
}

// weigh accounts for a waiter that comes (by is 1) or goes (-1).
func (b *Outbox) weigh(q *waiters, w *waiter, by int64) {
	size := int64(itemBytes)
	if w.m != nil {
		size += w.size
		b.withheld.n += int(by)
	}
	q.bytes += by * size
	b.withheld.bytes += by * size
	if len(q.list) == 0 {
		delete(b.withheld.queues, q.publish)
	}
}

// weed gives up those of q for whom nobody waits any more.
func (b *Outbox) weed(q *waiters) {
	var out []*waiter
	q.list = slices.DeleteFunc(q.list, func(w *waiter) bool {
		code := w.wait.Still()
		if code != message.Success {
			out = append(out, w)
			b.giveUp(w, code)
		}
		return code != message.Success
	})
	for _, w := range out {
		b.weigh(q, w, -1)
	}
}

// weedAll does so for all, at most once a second.
func (b *Outbox) weedAll() {
	if now := time.Now(); now.Sub(b.withheld.swept) >= time.Second {
		b.withheld.swept = now
		for _, q := range b.withheld.queues {
			b.weed(q)
		}
	}
}

// giveUp answers a message that is not taken after all.
func (b *Outbox) giveUp(w *waiter, code byte) {
	if w.m == nil {
		return // it has its answer
	}
	b.counts.refused[ReasonFull]++
	b.answer(w.done, &message.Refused{Code: code, Reason: ReasonFull})
}

// released is called when a message of a publisher has left the outbox: withheld ones may
// be taken now. They are taken on a goroutine of their own, because its callers are amid
// something else.
func (b *Outbox) released(publish string) {
	if len(b.withheld.queues) == 0 {
		return
	}
	if q := b.withheld.queues[publish]; q != nil {
		b.enlist(q)
	}
	b.try()
}

func (b *Outbox) try() {
	if b.withheld.trying || b.withheld.noSpace {
		return
	}
	b.withheld.trying = true
	go func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.withheld.trying = false
		b.admit()
	}()
}

// admit takes withheld messages while there is capacity, one of each publisher in turn.
func (b *Outbox) admit() {
	for !b.withheld.noSpace && len(b.withheld.turns) > 0 {
		q := b.withheld.turns[0]
		verdict := b.admitFirst(q)
		if verdict == stuckAll {
			return
		}
		b.withheld.turns[0] = nil
		b.withheld.turns = b.withheld.turns[1:]
		q.listed = false
		if verdict == went {
			b.enlist(q)
		}
	}
}

// What became of the first message of a queue.
type admission int

const (
	went     admission = iota // or given up: the next one may follow
	stuckOwn                  // it waits for a message of its own publisher to leave, or for an end of Still
	stuckAll                  // it waits for a message of anybody to leave
)

func (b *Outbox) admitFirst(q *waiters) admission {
	if len(q.list) == 0 {
		return stuckOwn
	}
	w := q.list[0]
	if code := w.wait.Still(); code != message.Success {
		b.shift(q)
		b.giveUp(w, code)
		return went
	}
	if w.m == nil {
		b.lookAgain(q)
		return stuckOwn
	}
	switch device, all := b.fits(q.publish, w.size); {
	case !device:
		return stuckOwn
	case !all:
		return stuckAll
	}
	b.shift(q)
	at := b.opt.Now()
	b.keep(b.newItem(b.nextSeq+1, w.route, w.target, w.m, at), w.m, at, w, w.done)
	return went
}

// lookAgain looks in a while whether somebody still waits for the first of q: nothing
// tells the outbox when that ends.
func (b *Outbox) lookAgain(q *waiters) {
	if q.looks {
		return
	}
	q.looks = true
	time.AfterFunc(storeRetry, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		q.looks = false
		b.enlist(q)
		b.admit()
	})
}

// shift removes the first waiter of q.
func (b *Outbox) shift(q *waiters) {
	w := q.list[0]
	q.list[0] = nil
	q.list = q.list[1:]
	b.weigh(q, w, -1)
}

// again withholds a message that the storage has refused for want of room; false: it has
// not. A message that was stored although one before it was refused is withheld as well,
// behind that one.
func (b *Outbox) again(w *waiter, it *item, err error) bool {
	switch reason := reasonOf(err); {
	case reason == "disk-full" || reason == "store-busy":
		b.waitForSpace()
	case err == nil && b.overtakes(w, it.seq):
		b.opt.Storage.Remove(it.stream.id, []uint64{it.seq}, nil)
	default:
		return false
	}
	b.finish(it)
	w.seq = it.seq
	q := b.queue(it.flow.publish)
	i, _ := slices.BinarySearchFunc(q.list, w, func(x, y *waiter) int { return cmp.Compare(x.seq-1, y.seq-1) }) // 0 is last
	q.list = slices.Insert(q.list, i, w)
	b.weigh(q, w, 1)
	b.enlist(q)
	w.begin()
	return true
}

// overtakes tells whether a message of the same publisher waits that was offered before the
// one with that number.
func (b *Outbox) overtakes(w *waiter, seq uint64) bool {
	q := b.withheld.queues[w.m.Source()]
	return q != nil && q.list[0].seq > 0 && q.list[0].seq < seq
}

// waitForSpace tries the storage again in a while.
func (b *Outbox) waitForSpace() {
	if b.withheld.noSpace {
		return
	}
	b.withheld.noSpace = true
	time.AfterFunc(storeRetry, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.withheld.noSpace = false
		b.admit()
	})
}

// reasonOf is the reason that a storage gives with an error; empty: none.
func reasonOf(err error) string {
	if coded := (interface{ Reason() string })(nil); errors.As(err, &coded) {
		return coded.Reason()
	}
	return ""
}
