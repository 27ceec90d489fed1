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
	room   chan struct{} // closed when there is room; nil: there is
}

func (o *outbox) Room() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.room == nil {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	return o.room
}

// fill lets it refuse everything for want of room, and empty takes everything again.
func (o *outbox) fill() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refuse, o.room = &message.Refused{Code: 0x97, Reason: "outbox-full"}, make(chan struct{})
}

func (o *outbox) empty() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refuse = nil
	close(o.room)
	o.room = nil
	o.taken = nil
}

// payloads are what was offered since empty, in order.
func (o *outbox) payloads() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []string
	for _, m := range o.taken {
		list = append(list, string(m.Payload))
	}
	return list
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
