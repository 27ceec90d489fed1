package broker

import (
	"errors"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// loop reads frames until the connection ends.
func (c *conn) loop() {
	c.deadline = time.Time{}
	c.rd.Connected()
	for !c.isOver() {
		f, err := c.next()
		if err != nil {
			c.lost(err)
			return
		}
		if c.isOver() {
			return
		}
		c.out.Cork()
		err = c.handle(f)
		if err != nil {
			c.lost(err)
			return
		}
		if c.out.Overfull() {
			c.out.Uncork()
			if !c.out.WaitControl(c.b.o.WriteTimeout) {
				c.end(cause{reason: "does not read", keepWill: true})
				return
			}
		}
	}
}

// lost ends the connection after an error while reading it or handling its frame.
func (c *conn) lost(err error) {
	c.misshapen(err)
	why := cause{reason: "connection lost", keepWill: true}
	if fe := (*frame.Error)(nil); errors.As(err, &fe) {
		why.code, why.reason = fe.Code, fe.Reason
	} else if pc := (packets.Code{}); errors.As(err, &pc) {
		why.code, why.reason = codeOr(pc.Code, message.ProtocolError), pc.Reason
	}
	c.end(why)
}

// misshapen counts an error that breaks the protocol or a limit. A keep-alive
// timeout is neither.
func (c *conn) misshapen(err error) {
	if fe := (*frame.Error)(nil); errors.As(err, &fe) && fe.Code != message.KeepAliveTimeout {
		c.b.count.malformed.Add(1)
	}
}

// next reads a frame. A whole frame must arrive within one and a half times the keep alive (B9). The
// time counts from when the last frame had been handled, because a client that was not read
// meanwhile (back-pressure) has not been silent.
func (c *conn) next() (frame.Frame, error) {
	c.last = time.Now()
	for {
		c.arm()
		f, err := c.rd.Next()
		if err == nil || !isTimeout(err) || c.isOver() {
			return f, err
		}
		if c.alive > 0 && time.Since(c.last) >= c.grace() {
			if c.behind.busy() { // it may wait for our acknowledgements before it sends anything
				c.last = time.Now()
				continue
			}
			return f, &frame.Error{Code: message.KeepAliveTimeout, Reason: "keep alive timeout"}
		}
	}
}

func (c *conn) grace() time.Duration { return c.alive + c.alive/2 }

// arm sets the read deadline. It does not do so for every frame, which would cost a system call or a
// timer each time, so a deadline may fire too early, and next then sets it again. A
// WebSocket connection does not survive a deadline, so for that it is exact.
func (c *conn) arm() {
	if c.alive == 0 {
		c.disarm()
		return
	}
	due := c.last.Add(c.grace())
	slack := c.grace() / 4
	if c.sock.ws != nil {
		slack = 0
	}
	if c.deadline.IsZero() || due.Sub(c.deadline) > slack || !time.Now().Before(c.deadline) {
		c.deadline = due
		_ = c.sock.SetReadDeadline(due)
	}
}

// disarm removes the CONNECT deadline once.
func (c *conn) disarm() {
	if !c.disarmed {
		c.disarmed = true
		_ = c.sock.SetReadDeadline(time.Time{})
	}
}

// handle checks the shape of a frame (B27, B29) and gives it to the message plane,
// the session or the embedded library, according to its type.
func (c *conn) handle(f frame.Frame) error {
	if err := frame.CheckHeader(f, c.level); err != nil {
		return err
	}
	switch f.Type() {
	case frame.PUBLISH:
		return c.publish(f)
	case frame.PUBACK, frame.PUBREC, frame.PUBCOMP:
		a, err := frame.ParseAck(f, c.level, c.b.shape)
		if err == nil && !c.sess.Acknowledged(c, f.Type(), a) {
			err = &frame.Error{Code: message.ProtocolError, Reason: "acknowledgement of another kind than its delivery"}
		}
		return err
	case frame.PUBREL:
		return c.pubrel(f)
	case frame.DISCONNECT:
		return c.goodbye(f)
	case frame.AUTH:
		a, err := frame.ParseAuth(f.Body, c.level, c.b.shape)
		if err != nil {
			return err
		}
		return (&controlFrame{c: c, unread: f.Raw, auth: a}).speak()
	}
	if err := frame.Check(f, c.level, c.b.shape); err != nil {
		return err
	}
	return (&controlFrame{c: c, unread: f.Raw}).speak()
}

// goodbye takes the client's DISCONNECT. Only reason code 0 drops the will (OASIS
// MQTT 5.0, 3.14.4).
func (c *conn) goodbye(f frame.Frame) error {
	d, err := frame.ParseDisconnect(f.Body, c.level, c.b.shape)
	if err != nil {
		return err
	}
	if d.HasSessionExpiry {
		if d.SessionExpiry > 0 && c.hello.SessionExpiry == 0 {
			return &frame.Error{Code: message.ProtocolError, Reason: "session expiry cannot be raised from 0"}
		}
		expiry, persistent := c.expiry(d.SessionExpiry)
		c.sess.SetExpiry(c, expiry, persistent)
	}
	c.end(cause{reason: "client disconnected", keepWill: d.Code != 0})
	return nil
}
