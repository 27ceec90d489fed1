package broker

import (
	"net"

	mqtt "github.com/mochi-mqtt/server/v2"
)

// ServeUnprotected serves one connection as conn.serve does, but without the
// protection of conn.handle: every frame after the CONNECT goes to the embedded
// library, whatever its type and shape. It is the mutation under which a test
// of that protection must see the harm.
func (b *Broker) ServeUnprotected(nc net.Conn) {
	l := newListener(b.ctx, b, b.o.Listeners[0])
	admitted, _, _ := l.door.admit(nc)
	c := newConn(l, &socket{Conn: admitted.Conn, door: admitted, peerUID: -1, flush: b.o.FlushTimeout})
	b.conns.Go(func() {
		b.enter(c)
		defer c.teardown()
		for on := c.connect(); on; on = !c.isOver() {
			f, err := c.next()
			if err == nil {
				err = (&controlFrame{c: c, unread: f.Raw}).speak()
			}
			c.out.Uncork()
			if err != nil {
				c.lost(err)
			}
		}
	})
}

// Library is the embedded server, for looking at what it holds.
func (b *Broker) Library() *mqtt.Server { return b.server }

// WillsPending is how many wills wait for the end of their delay.
func (b *Broker) WillsPending() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.wills)
}

// Timers is how many timers of the broker's clock run.
func (b *Broker) Timers() int {
	b.clock.mu.Lock()
	defer b.clock.mu.Unlock()
	return len(b.clock.timers)
}

// NextMessage takes the next message id, so that two calls tell how many messages were made between them.
func (b *Broker) NextMessage() uint64 { return b.nextID.Add(1) }

// SysTopics lists the $SYS topics.
func SysTopics() (list []string) {
	for _, s := range sysTopics {
		list = append(list, "$SYS/broker/"+s.name)
	}
	for _, of := range loadNames {
		for _, over := range loadOver {
			list = append(list, "$SYS/broker/load/"+of+"/"+over.name)
		}
	}
	return list
}
