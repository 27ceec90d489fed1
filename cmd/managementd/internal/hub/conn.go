package hub

import (
	"sync"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// conn is one live connection. Packets go out through a bounded queue and one
// goroutine, so that nothing that holds the hub's lock ever waits for a socket.
type conn struct {
	id   ID
	cl   *mqtt.Client
	will *mqtt.Will

	out   chan packets.Packet
	ended chan struct{}
	done  sync.WaitGroup

	nextID uint16            // guarded by Hub.mu
	wait   map[uint16]uint64 // packet id of an unacknowledged message -> its sequence; guarded by Hub.mu
}

const outQueue = 1024

func newConn(id ID, cl *mqtt.Client) *conn {
	c := &conn{
		id:    id,
		cl:    cl,
		out:   make(chan packets.Packet, outQueue),
		ended: make(chan struct{}),
		wait:  map[uint16]uint64{},
	}
	if w := cl.Properties.Will; w.Flag == 1 {
		c.will = &w
		// The server would publish the will to its own subscribers, so it must not see it.
		cl.Properties.Will = mqtt.Will{}
	}
	return c
}

func (c *conn) start() {
	c.done.Go(func() {
		for {
			select {
			case pk := <-c.out:
				if c.cl.WritePacket(pk) != nil {
					c.close()
					return
				}
			case <-c.ended:
				return
			}
		}
	})
}

// send queues a publish; a connection that does not keep up is closed.
func (c *conn) send(topic string, payload []byte, qos byte, packetID uint16) {
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos},
		TopicName:   topic, Payload: payload, PacketID: packetID,
	}
	select {
	case c.out <- pk:
	default:
		c.close()
	}
}

// close ends the connection from our side; its reader then runs OnDisconnect.
func (c *conn) close() { c.cl.Stop(packets.ErrServerShuttingDown) }

// stop waits for the writer goroutine. It is called once, after the reader has ended.
func (c *conn) stop() {
	close(c.ended)
	c.done.Wait()
}
