package broker_test

import (
	"sync"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// outbox is an Outbox that can hold what it was offered.
type outbox struct {
	mu     sync.Mutex
	taken  []*message.Message
	held   bool
	dones  []func(error)
	refuse error
	full   bool // what can wait does
	waits  []waiting
}

type waiting struct {
	m    *message.Message
	wait *message.Wait
	done func(error)
}

// empty takes what waits, in order, and everything after that.
func (o *outbox) empty() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.full = false
	for _, w := range o.waits {
		if code := w.wait.Still(); code != message.Success {
			go w.done(&message.Refused{Code: code})
			continue
		}
		o.taken = append(o.taken, w.m)
		go w.done(nil)
	}
	o.waits = nil
}

// first takes the first of those that wait.
func (o *outbox) first() {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.waits[0]
	o.waits = o.waits[1:]
	o.taken = append(o.taken, w.m)
	go w.done(nil)
}

// withheld is how many messages wait.
func (o *outbox) withheld() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.waits)
}

// payloads are what was taken, in order.
func (o *outbox) payloads() (list []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range o.taken {
		list = append(list, string(m.Payload))
	}
	return list
}

func (o *outbox) Offer(m *message.Message, wait *message.Wait, done func(error)) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.full && wait != nil {
		o.waits = append(o.waits, waiting{m, wait, done})
		wait.Begun()
		return true
	}
	o.taken = append(o.taken, m)
	if o.held && done != nil {
		o.dones = append(o.dones, done)
		return true
	}
	if err := o.refuse; done != nil {
		go done(err)
	}
	return true
}

func (o *outbox) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.taken)
}

func (o *outbox) release(err error) {
	o.mu.Lock()
	dones := o.dones
	o.dones = nil
	o.mu.Unlock()
	for _, d := range dones {
		d(err)
	}
}
