package load

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
)

// What a frame may cost; a load tool trusts the broker that it was pointed at.
var limits = frame.Limits{UserProperties: 64, Filters: 1}

// client is one connection with what it does: it sends (from a publisher or an
// echo), receives, or both.
type client struct {
	x      *run
	n      int // its place among all of the run
	who    Client
	kept   bool // its session outlives the connection
	l      *link
	sub    *subscriber // nil: it receives nothing
	source source      // nil: it sends nothing
	w      *window     // of source; nil at QoS 0
	frames []byte      // acknowledgements made since the last pause; the reader's alone
	freed  bool        // a place in the window was freed since the last pause; the reader's alone
	stray  atomic.Int64
}

// source makes the publishes of a client.
type source interface {
	maker
	// answered notes the end of one publish of QoS 1 or 2.
	answered(at int64, refused byte)
}

func (c *client) produce(buf []byte) ([]byte, time.Duration) {
	wait := time.Duration(-1)
	if c.sub != nil {
		buf, wait = c.sub.produce(buf)
	}
	if c.source == nil {
		return buf, wait
	}
	buf, again := c.source.produce(buf)
	if wait < 0 || again >= 0 && again < wait {
		wait = again
	}
	return buf, wait
}

func (c *client) take(f frame.Frame) error {
	switch f.Type() {
	case frame.PUBLISH:
		if c.sub == nil {
			return fmt.Errorf("a message came to a client that subscribed to nothing")
		}
		return c.sub.publish(f)
	case frame.PUBREL:
		a, err := frame.ParseAck(f, c.l.level, limits)
		if err == nil {
			c.frames = frame.AppendAck(c.frames, frame.PUBCOMP, a.ID, 0, c.l.level)
		}
		return err
	case frame.PUBACK, frame.PUBREC, frame.PUBCOMP:
		return c.acknowledged(f)
	case frame.SUBACK:
		if c.sub == nil {
			return fmt.Errorf("a SUBACK came to a client that subscribed to nothing")
		}
		return c.sub.granted(f)
	case frame.PINGRESP:
		return nil
	}
	return fmt.Errorf("packet type %d, which a broker does not send here", f.Type())
}

func (c *client) acknowledged(f frame.Frame) error {
	a, err := frame.ParseAck(f, c.l.level, limits)
	if err != nil {
		return err
	}
	if c.w == nil {
		c.stray.Add(1)
		return nil
	}
	kind, refused := f.Type(), a.Code >= 0x80
	if kind == frame.PUBREC && !refused {
		if !c.w.release(a.ID) {
			c.stray.Add(1)
		}
		c.frames = frame.AppendAck(c.frames, frame.PUBREL, a.ID, 0, c.l.level)
		return nil
	}
	if kind == frame.PUBCOMP {
		a.Code, refused = 0, false // the broker has taken the message over with its PUBREC
	}
	if c.w.qos == 2 == (kind == frame.PUBACK) {
		c.stray.Add(1)
		return nil
	}
	at, ok := c.w.end(a.ID, refused)
	if !ok {
		c.stray.Add(1)
		return nil
	}
	if !refused {
		a.Code = 0
	}
	c.source.answered(at, a.Code)
	c.freed = true
	return nil
}

func (c *client) pause() {
	switch {
	case len(c.frames) > 0:
		c.l.put(c.frames) // wakes the writer
		c.frames = c.frames[:0]
	case c.freed && c.w.hasCapacity():
		c.l.call()
	default:
		return // what was freed waits for more of it
	}
	c.freed = false
}
