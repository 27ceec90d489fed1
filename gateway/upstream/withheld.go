package upstream

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// storeRetry is how long the outbox waits before it tries the storage again, after the
// storage had no free space. Nothing tells the outbox when a disk has free space again.
const storeRetry = time.Second

// withheld are the messages that were offered with a message.Wait and found no capacity.
// They are in memory and not acknowledged; when the process ends they are lost, and their
// publishers send them again. The messages of one publisher are taken in the order in which
// they were offered. What the publisher offers meanwhile is put behind them, or refused if it
// cannot wait: otherwise upstream would get a device's messages out of order.
//
// Publishers take turns, with one message each. A publisher whose own limits are used up is
// passed over until one of its messages leaves the outbox.
//
// All fields are guarded by Outbox.mu.
type withheld struct {
	queues  map[string]*waiters // by publisher; none is empty
	turns   []*waiters          // the queues of publishers that are not passed over
	bytes   int64               // of all messages, and itemBytes for each
	n       int                 // messages
	swept   time.Time           // when weedAll last went through all queues
	trying  bool                // try has started a goroutine that has not called admit yet
	noSpace bool                // the storage refused a message, less than storeRetry ago
	order   uint64              // of the latest waiter
}

// waiters are the withheld messages of one publisher.
type waiters struct {
	publish string
	list    []*waiter
	bytes   int64
	listed  bool // the queue is in withheld.turns
	looks   bool // lookAgain's timer runs
}

// waiter is one withheld message.
type waiter struct {
	m      *message.Message // nil: it was refused, and the publisher's later ones must not overtake its repetition
	route  *route
	target string
	size   int64
	order  uint64 // rises from one waiter of the outbox to the next, in the order of the calls of Offer
	tried  bool   // the storage has refused it
	begun  bool   // wait.Begun was called
	wait   *message.Wait
	done   func(error)
}

// maxWithheld is how many bytes of one publisher are withheld. The broker carries no more of
// the publisher's messages from message.MaxWithheld on, but it does not count itemBytes for each.
const maxWithheld = 2 * message.MaxWithheld

// never tells whether a message is too large even for an empty outbox, so that waiting would
// not help.
func (b *Outbox) never(size int64) bool {
	l := &b.opt.Limits
	return l.Bytes > 0 && size > l.Bytes || l.DeviceBytes > 0 && size > l.DeviceBytes
}

// withhold puts a message behind those of its publisher that wait. It returns false if they
// have maxWithheld bytes already, or all that wait have Options.Memory. The message is then
// refused, but w keeps its place: nothing that the publisher offers later is taken until
// w.wait.Still says that nobody waits for w, because the message itself is sent again.
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
	if len(q.list) > 1 { // by now there may be capacity for the message before it, or nobody may wait for that one
		b.try()
	}
	return true
}

// waitsBefore tells whether messages of a publisher wait, without those that are given up.
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

// queue returns the queue of a publisher, and makes it if there is none.
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

// weigh accounts for a waiter that was added to q (by is 1) or removed from it (-1).
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

// weed removes the waiters of q whose Still says that nobody waits for them, and answers them.
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

// weedAll weeds all queues, at most once a second.
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

// released is called when a message of a publisher has left the outbox, so that withheld
// ones may be taken. That is done on another goroutine, because the callers are in the
// middle of changes of their own, with mu held.
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
	went     admission = iota // it was taken or given up: the next one may follow
	stuckOwn                  // it waits until a message of its publisher leaves the outbox, or nobody waits for it
	stuckAll                  // it waits until any message leaves the outbox
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

// lookAgain calls admit after storeRetry, because the first waiter of q may be given up by
// then: nothing tells the outbox when somebody stops waiting.
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

// again withholds a message that the storage has refused for want of free space; it returns
// false if the storage had another error, or none. A message that was stored although an
// earlier one of its publisher was refused is withheld as well, behind that one.
func (b *Outbox) again(w *waiter, it *item, err error) bool {
	switch reason := reasonOf(err); {
	case reason == "disk-full" || reason == "store-busy":
		b.waitForSpace()
	case err == nil && b.overtakes(w):
		b.opt.Storage.Remove(it.stream.id, []uint64{it.seq}, nil)
	default:
		return false
	}
	b.finish(it)
	w.tried = true
	q := b.queue(it.flow.publish)
	i, _ := slices.BinarySearchFunc(q.list, w, func(x, y *waiter) int { return cmp.Compare(x.order, y.order) })
	q.list = slices.Insert(q.list, i, w)
	b.weigh(q, w, 1)
	b.enlist(q)
	w.begin()
	return true
}

// overtakes tells whether a message of the same publisher waits that was offered before w and that
// the storage has refused. One that waits for capacity, by a route that refuses, holds up nobody
// whose route makes room for itself.
func (b *Outbox) overtakes(w *waiter) bool {
	q := b.withheld.queues[w.m.Source()]
	return q != nil && q.list[0].tried && q.list[0].order < w.order
}

// waitForSpace tries the storage again after storeRetry.
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

// reasonOf is the reason code in an error of the storage; empty: it has none.
func reasonOf(err error) string {
	if coded := (interface{ Reason() string })(nil); errors.As(err, &coded) {
		return coded.Reason()
	}
	return ""
}
