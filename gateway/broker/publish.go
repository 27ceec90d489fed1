package broker

import (
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/broker/plane"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// publish handles a PUBLISH: it resolves the topic alias, checks the receive maximum,
// has the publish decided, and gives it to the plane. The topic is resolved before
// anything is decided (B1).
func (c *conn) publish(f frame.Frame) error {
	p, err := frame.ParsePublish(f, c.level, c.b.shape)
	if err != nil {
		return err
	}
	name, err := c.topicOf(&p)
	if err != nil {
		return err
	}
	if p.QoS > 0 {
		if err := c.window(&p); err != nil {
			return err
		}
	}
	c.behind.bound()
	if c.isOver() {
		return nil
	}
	answer, slot, x := c.answerer(&p)
	if p.QoS == 2 && x == nil {
		return nil // a repetition, which gets the answer of the first, or the session was taken over
	}
	c.b.count.received.Add(1)
	c.sess.Tally.Received.Add(1)
	pr := c.proof.Load()
	now, gen := time.Now(), c.b.store.Now()
	m := &message.Message{
		ID:        c.b.nextID.Add(1),
		Topic:     name,
		Payload:   append([]byte(nil), p.Payload...),
		QoS:       p.QoS,
		Retain:    p.Retain,
		Props:     p.Message(),
		Accepted:  now,
		Publisher: pr.who,
	}
	if p.HasMessageExpiry() {
		m.Expires = now.Add(time.Duration(p.MessageExpiry) * time.Second)
	}
	v := message.Verdict{Reason: "topic-invalid", Code: message.TopicNameInvalid}
	if c.b.names.Name(name) == nil {
		v = pr.rights.Publish(name, m)
	}
	if !v.Allowed || v.ReportOnly {
		c.b.audit("publish", v.Allowed, pr.who, c, name, v)
	}
	if !v.Allowed {
		c.denied(p.QoS, v, answer)
		return nil
	}
	m.Via = v.Route
	if m.Retain && neverRetained(name) {
		m.Retain = false
	}
	src := plane.Source{
		Session: c.sess,
		Gone:    c.ended,
		Gen:     gen,
	}
	if p.QoS == 0 {
		c.carry(src, m, &promise{}, nil, func(byte) {})
		return nil
	}
	ack := session.NewAck(func(code byte) {
		if code >= 0x80 { // it was allowed, and is not kept
			c.b.count.refused.Add(1)
		}
		answer(code)
	})
	to := &promise{ack: ack}
	if c.level < 5 || p.QoS == 2 {
		to.wait = c.waits(m, gen, slot, x)
	}
	if p.QoS == 2 {
		to.keep = func(done func(error)) { c.sess.Keep(x, done) }
	}
	c.carry(src, m, to, slot, func(code byte) {
		if code == message.Success {
			to.keepNow()
		}
		ack.Done(code)
	})
	return nil
}

// promise is what has to be stored before a publish is acknowledged.
type promise struct {
	ack  *session.Ack  // nil: QoS 0
	wait *message.Wait // nil: the publisher is told at once that the outbox is full
	// keep stores the packet identifier of a QoS 2 publish after its message: a crash in between
	// delivers the message twice, and never loses it. Nil: there is none, or keep was called.
	keep func(done func(error))
}

// keepNow calls keep, unless that was done already; the acknowledgement waits for it.
func (p *promise) keepNow() {
	if keep := p.keep; keep != nil {
		p.keep = nil
		p.ack.Add()
		keep(p.ack.Stored)
	}
}

// waits returns how long the publish m, whose right was decided at generation gen, waits for
// capacity of the outbox. In a persistent session a QoS 2 publish waits as long as its exchange is
// open, across connections; any other publish waits until its connection ends, because the client
// sends it again on the next one.
func (c *conn) waits(m *message.Message, gen uint64, s *slot, x *session.Exchange) *message.Wait {
	outlives := x != nil && c.sess.Persistent()
	return &message.Wait{
		Begun: func() {
			if x != nil {
				c.sess.Withhold(x)
			}
			c.acks.withhold(s, m.Size())
		},
		Still: func() byte {
			switch {
			case outlives && x.Over(), !outlives && c.isOver():
				return message.UnspecifiedError
			case gen != 0 && gen != c.b.store.Now() && !c.b.plane.Judge(m):
				return message.NotAuthorized
			}
			return message.Success
		},
	}
}

// carry calls route with an allowed publish, and then done with the reason code. The publish is
// put into c.behind if a receiver holds it up, if the window of the connection is full, or if
// earlier publishes are there already.
func (c *conn) carry(src plane.Source, m *message.Message, to *promise, s *slot, done func(code byte)) {
	whole := func(src plane.Source) func() { // a function of its own, because most publishes need none
		return func() {
			c.acks.await(s)
			code, _ := c.b.route(src, m, to)
			done(code)
		}
	}
	if c.behind.busy() && c.behind.add(m.Size(), whole(src)) {
		return
	}
	if _, ok := c.acks.admit(s); !ok {
		c.behind.begin(m.Size(), whole(src))
		return
	}
	src.MayDefer, src.Pause = true, c.out.Uncork
	code, rest := c.b.route(src, m, to)
	if rest != nil {
		c.behind.begin(m.Size(), func() { done(rest()) })
		return
	}
	done(code)
}

// answerer appends the publish's slot s to the acknowledgements that are owed, and
// returns the function that answers it. x is the exchange of a QoS 2 publish; it is
// nil if Session.Received begins none, and then the publish is not carried.
func (c *conn) answerer(p *frame.Publish) (answer func(code byte), s *slot, x *session.Exchange) {
	switch p.QoS {
	case 1:
		s = c.acks.expect(frame.PUBACK, p.ID)
		return func(code byte) { c.acks.answer(s, code) }, s, nil
	case 2:
		s = c.acks.expect(frame.PUBREC, p.ID)
		x = c.sess.Received(c, p.ID, func(code byte) { c.acks.answer(s, code) })
		if x == nil && c.sess.Withheld(p.ID) {
			c.acks.withhold(s, 1) // the bytes are those of the first one
		}
		return func(code byte) {
			c.sess.Answer(x, code)
			c.acks.answer(s, code)
		}, s, x
	}
	return nil, nil, nil
}

// topicOf returns the topic of a PUBLISH, by the topic aliases of this connection.
func (c *conn) topicOf(p *frame.Publish) (string, error) {
	if !p.HasTopicAlias() {
		return c.intern(p.Topic), nil
	}
	n := int(p.TopicAlias)
	if n > c.b.o.TopicAliasMaximum {
		return "", &frame.Error{Code: message.TopicAliasInvalid, Reason: "topic alias above the maximum"}
	}
	if len(p.Topic) > 0 {
		if c.aliases == nil {
			c.aliases = make([]string, c.b.o.TopicAliasMaximum+1)
		}
		c.aliases[n] = c.intern(p.Topic)
		return c.aliases[n], nil
	}
	if n >= len(c.aliases) || c.aliases[n] == "" {
		return "", &frame.Error{Code: message.TopicAliasInvalid, Reason: "topic alias that was never set"}
	}
	return c.aliases[n], nil
}

// intern saves an allocation for the client that always publishes to one topic.
func (c *conn) intern(b []byte) string {
	if string(b) != c.lastTopic {
		c.lastTopic = string(b)
	}
	return c.lastTopic
}

// window holds a client to the receive maximum. An MQTT 5 client was told of it and
// is disconnected when it exceeds it (3.3.4-9); MQTT 3.1.1 knows none, so what such a
// client sends beyond it waits in c.behind until acknowledgements have been written. A
// QoS 2 publish counts once, from its PUBLISH to its PUBREL. Its repetitions do not count
// against the receive maximum, but the number of all publishes that wait for their
// acknowledgement, repetitions included, is bounded as well.
func (c *conn) window(p *frame.Publish) error {
	most := c.b.o.ReceiveMaximum
	again := p.QoS == 2 && c.sess.Receiving(p.ID)
	if c.level >= 5 {
		ones, all := c.acks.counts()
		if !again && ones+c.sess.Unreleased() >= most || all >= 2*most {
			return &frame.Error{Code: message.ReceiveMaximumExceeded, Reason: "receive maximum exceeded"}
		}
		return nil
	}
	_, all := c.acks.counts()
	if !again && c.sess.Unreleased() >= 65535-most || again && all >= 2*most+maxBehind/heldBytes {
		return &frame.Error{Code: message.ReceiveMaximumExceeded, Reason: "too many unreleased publishes"}
	}
	return nil
}

// denied answers a PUBLISH that is not allowed (docs/spec/semantics.md 3.11).
func (c *conn) denied(qos byte, v message.Verdict, answer func(code byte)) {
	c.b.count.denied.Add(1)
	c.b.count.refused.Add(1)
	c.sess.Tally.Denied.Add(1)
	code := codeOr(v.Code, message.NotAuthorized)
	if c.level < 5 {
		if c.l.OnDeniedPublish == Disconnect {
			c.end(cause{code: code, reason: "publish denied", keepWill: true})
			if qos > 0 {
				answer(code) // the connection is closed: this only ends the exchange
			}
			return
		}
		c.b.count.drop("denied-ignored")
		code = message.Success
	}
	if qos > 0 {
		answer(code)
	}
}

func (c *conn) pubrel(f frame.Frame) error {
	a, err := frame.ParseAck(f, c.level, c.b.shape)
	if err != nil {
		return err
	}
	c.sess.Released(c, a.ID, func(code byte) {
		c.out.Control(frame.AppendAck(nil, frame.PUBCOMP, a.ID, code, c.level))
	})
	return nil
}

// neverRetained tells whether RETAIN is cleared on a topic: a message about a twin,
// method or deployment is for one client, never for one that subscribes later.
func neverRetained(name string) bool {
	const hub, du = "$iothub/", "deviceupdate/"
	return len(name) >= len(hub) && strings.EqualFold(name[:len(hub)], hub) || strings.HasPrefix(name, du)
}

// route sends an allowed message where its row of the topic map says: to a service of the
// gateway, or to local receivers and to the outbox. The local receivers get it first, so that
// trouble upstream never holds up local traffic; the acknowledgement waits for both. If it has
// to wait for a receiver and src.MayDefer is set, it returns rest instead of a code: the caller
// runs rest, which returns the code, on another goroutine.
func (b *Broker) route(src plane.Source, m *message.Message, to *promise) (code byte, rest func() byte) {
	switch m.Via.Handling {
	case message.Fanout, message.Telemetry, message.CloudToDevice:
	default:
		b.serve(src, m, to.ack)
		return message.Success, nil
	}
	if m.Via.Topic != "" {
		m.Topic = m.Via.Topic
	}
	return b.deliver(src, m, to.ack, func(src plane.Source) (byte, func() byte) {
		if m.Via.Handling == message.CloudToDevice {
			return message.Success, nil
		}
		if m.Via.Mirror == "" {
			return b.upwards(src, m, to), nil
		}
		again := *m
		again.Topic = m.Via.Mirror
		return b.deliver(src, &again, to.ack, func(src plane.Source) (byte, func() byte) { return b.upwards(src, m, to), nil })
	})
}

// deliver publishes to the local receivers, and calls then if that succeeds.
func (b *Broker) deliver(
	src plane.Source, m *message.Message, ack *session.Ack, then func(plane.Source) (byte, func() byte),
) (code byte, rest func() byte) {
	code, deferred := b.plane.Publish(src, m, ack)
	switch {
	case deferred:
		src.MayDefer, src.Pause = false, nil
		return 0, func() byte {
			code, _ := b.deliver(src, m, ack, then)
			return code
		}
	case code != message.Success:
		return code, nil
	}
	return then(src)
}

// upwards offers m to the outbox.
func (b *Broker) upwards(src plane.Source, m *message.Message, to *promise) byte {
	if b.o.Outbox == nil || m.Publisher.Kind == principal.Upstream {
		return message.Success
	}
	if src.Gen != 0 && src.Gen != b.store.Now() && !b.plane.Judge(m) {
		return message.NotAuthorized // the right to publish it was lost while it waited for a receiver
	}
	b.offer(m, to)
	return message.Success
}

// offer gives m to the outbox, if a route sends it upstream. The packet identifier of a QoS 2
// publish is stored after the outbox has stored the message: if a crash left the identifier alone,
// the client's repetition would be acknowledged, and the message lost.
func (b *Broker) offer(m *message.Message, to *promise) {
	if to.ack == nil {
		b.o.Outbox.Offer(m, nil, nil) // nobody waits; what is dropped, the outbox counts
		return
	}
	to.ack.Add()
	keep := to.keep
	to.keep = nil
	done := to.ack.Stored
	if keep != nil {
		done = func(err error) {
			if err != nil {
				to.ack.Stored(err)
				return
			}
			keep(to.ack.Stored)
		}
	}
	if !b.o.Outbox.Offer(m, to.wait, done) {
		to.keep = keep
		to.ack.Done(message.Success)
	}
}

// serve hands a request to Options.Services, which gives the reason code of the acknowledgement.
func (b *Broker) serve(src plane.Source, m *message.Message, ack *session.Ack) {
	key := ""
	if src.Session != nil {
		key = src.Session.Key
	}
	done := func(byte) {}
	if ack != nil {
		ack.Add()
		done = once(ack.Done)
	}
	if b.o.Services == nil {
		done(message.ImplementationSpecificError)
		return
	}
	b.o.Services.Handle(m.Publisher, key, m, done)
}
