package broker

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// retryPause is how long an offer waits that was refused although there was room.
const retryPause = 20 * time.Millisecond

// retries are the publishes of one connection that the outbox has refused for want
// of room and that the client cannot be told of: of MQTT 3.1.1, and of QoS 2, where a
// refusal would end the exchange and the client would publish again what local
// receivers have. Their acknowledgement is withheld. Local delivery has happened, so
// only the outbox part is tried again, in the order in which they came, whenever
// there is room; RefuseHold without any closes the connection
// (docs/spec/semantics.md 6.3).
//
// A QoS 2 publish of a session that outlives the connection goes on waiting: its
// client repeats it, and gets the answer of the first.
type retries struct {
	c *conn

	mu      sync.Mutex // guards the fields below
	last    uint64     // number of the last publish
	list    []retry    // in order
	running bool       // run does
}

// retry is one publish.
type retry struct {
	n   uint64 // its place in the order of the connection
	m   *message.Message
	ack *session.Ack
	x   *session.Exchange // of QoS 2; else nil
}

// offer offers m to the outbox, behind those of the connection that wait already. ack
// waits for it.
func (r *retries) offer(m *message.Message, ack *session.Ack, x *session.Exchange) {
	r.mu.Lock()
	r.last++
	p := retry{r.last, m, ack, x}
	if len(r.list) > 0 {
		r.wait(p)
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	r.c.b.offerTo(m, ack, func(err error) {
		if session.CodeOf(err) != message.QuotaExceeded {
			ack.Stored(err)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.wait(p)
	})
}

// wait puts p into its place; r.mu is held.
func (r *retries) wait(p retry) {
	c := r.c
	c.b.count.drop("withheld")
	if p.x != nil {
		c.sess.Withhold(p.x)
	}
	r.list = append(r.list, p)
	slices.SortFunc(r.list, func(a, b retry) int { return cmp.Compare(a.n, b.n) })
	if !r.running && c.b.join() {
		r.running = true
		go r.run()
	}
}

// run offers what waits until nothing does.
func (r *retries) run() {
	c := r.c
	defer c.b.conns.Done()
	timer := time.NewTimer(c.b.o.RefuseHold)
	defer timer.Stop()
	ended := c.ended
	for {
		p, ok := r.head()
		if !ok {
			return
		}
		select {
		case <-c.b.o.Outbox.Room():
			if r.again(p) {
				timer.Reset(c.b.o.RefuseHold)
			} else if !pause(retryPause, c.b.stopping) {
				return
			}
		case <-ended:
			ended = nil
			r.part()
		case <-timer.C:
			why := cause{code: message.QuotaExceeded, reason: "publish refused", keepWill: true}
			if ended != nil {
				c.end(why)
			} else if hangUp(c.sess, why) == 0 && !c.sess.Alive() {
				r.drop(func(retry) bool { return true })
			}
			timer.Reset(c.b.o.RefuseHold)
		case <-c.b.stopping:
			return
		}
	}
}

func pause(d time.Duration, stop <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stop:
		return false
	}
}

// head is the first one; false ends run.
func (r *retries) head() (retry, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) == 0 {
		r.running = false
		return retry{}, false
	}
	return r.list[0], true
}

// again offers p once more and waits for the answer; false if it is refused again.
func (r *retries) again(p retry) bool {
	answer := make(chan error, 1)
	if !r.c.b.o.Outbox.Offer(p.m, func(err error) { answer <- err }) {
		answer <- nil // no route takes it any more
	}
	err := <-answer
	if session.CodeOf(err) == message.QuotaExceeded {
		return false
	}
	r.mu.Lock()
	r.list = slices.DeleteFunc(r.list, func(o retry) bool { return o.n == p.n })
	r.mu.Unlock()
	if p.x != nil && err == nil {
		p.ack.Add()
		r.c.sess.KeepNow(p.x, p.ack.Stored)
	}
	p.ack.Stored(err)
	return true
}

// part drops what ends with the connection: its client publishes that again.
func (r *retries) part() {
	alive := r.c.sess.Persistent() && r.c.sess.Alive()
	r.drop(func(p retry) bool { return p.x == nil || !alive })
}

func (r *retries) drop(which func(retry) bool) {
	r.mu.Lock()
	var gone []retry
	r.list = slices.DeleteFunc(r.list, func(p retry) bool {
		if which(p) {
			gone = append(gone, p)
			return true
		}
		return false
	})
	r.mu.Unlock()
	for _, p := range gone {
		p.ack.Done(message.QuotaExceeded)
	}
}
