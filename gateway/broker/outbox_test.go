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
}

func (o *outbox) Offer(m *message.Message, done func(error)) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
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
