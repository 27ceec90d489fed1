package broker

import (
	"context"
	"errors"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/plane"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Publish publishes a message of the gateway itself or of an upstream link.
// m.Publisher is set, and m belongs to the broker from here on. A message of an
// upstream link is decided like that of any client; the gateway's own is not.
// Neither is offered to the outbox. done may be nil. done(nil) runs once every
// receiver whose session survives a restart has the message durably; done with a
// *message.Refused means that it was not taken. The code NoMatchingSubscribers
// then says that no device was there for a command.
func (b *Broker) Publish(m *message.Message, done func(error)) {
	if done == nil {
		done = func(error) {}
	}
	if err := b.names.Name(m.Topic); err != nil {
		done(&message.Refused{Code: message.TopicNameInvalid, Reason: "topic-invalid"})
		return
	}
	src := plane.Source{Gen: b.store.Now()}
	if m.Publisher.Kind != principal.Gateway {
		v := b.plane.Rights(m.Publisher).Publish(m.Topic, m)
		if !v.Allowed || v.ReportOnly {
			b.audit("publish", v.Allowed, m.Publisher, nil, m.Topic, v)
		}
		if !v.Allowed {
			b.count.denied.Add(1)
			done(&message.Refused{Code: codeOr(v.Code, message.NotAuthorized), Reason: v.Reason})
			return
		}
		m.Via = v.Route
		src.Receiver = v.Route.Handling == message.CloudToDevice
	}
	if m.ID == 0 {
		m.ID = b.nextID.Add(1)
	}
	if m.Accepted.IsZero() {
		m.Accepted = time.Now()
	}
	if m.Retain && neverRetained(m.Topic) {
		m.Retain = false
	}
	ack := session.NewAck(func(code byte) {
		if code == message.Success {
			done(nil)
			return
		}
		done(&message.Refused{Code: code, Reason: "refused"})
	})
	if m.Publisher.Kind == principal.Gateway {
		code, _ := b.plane.Publish(src, m, ack)
		ack.Done(code)
		return
	}
	code, _ := b.route(src, m, &promise{ack: ack})
	ack.Done(code)
}

// Send delivers m privately to the connected sessions of that principal that
// hold a matching private subscription; it returns how many took it.
func (b *Broker) Send(principalKey string, m *message.Message) int {
	n := 0
	for _, s := range b.store.Of(principalKey) {
		if b.send(s, m) {
			n++
		}
	}
	return n
}

// SendSession is Send to one session, by the key that Services.Handle was given.
func (b *Broker) SendSession(key string, m *message.Message) bool {
	s, ok := b.store.Get(key)
	return ok && b.send(s, m)
}

// send is SendSession; false if s has no private subscription for m, or its queue is full.
func (b *Broker) send(s *session.Session, m *message.Message) bool {
	sub, ok := s.PrivateMatch(m.Topic)
	if !ok {
		return false
	}
	d := session.Delivery{Message: m, Sub: sub, QoS: min(m.QoS, sub.QoS), Private: true, Gen: b.store.Now()}
	if sub.ID != 0 {
		d.SubIDs = []uint32{sub.ID}
	}
	if d.QoS > 0 && !s.Reserve(m) {
		b.count.drop("queue-full-private")
		return false
	}
	o := s.Deliver(d, nil)
	if o == session.Full {
		if out := s.Buffer(); out != nil && out.WaitCapacity(b.o.Stall) {
			o = s.Deliver(d, nil)
		}
	}
	switch o {
	case session.Delivered:
		b.count.delivered.Add(1)
		return true
	case session.Denied:
		b.count.denied.Add(1)
	case session.Full:
		b.count.drop("slow-receiver-private")
	}
	return false
}

// Subscribed tells whether a connected session of that principal holds a
// private subscription that matches, so that a Send would reach it.
func (b *Broker) Subscribed(principalKey, topic string) bool {
	for _, s := range b.store.Of(principalKey) {
		if _, ok := s.PrivateMatch(topic); ok {
			return true
		}
	}
	return false
}

// Disconnect closes the connections of a principal, without waiting, and
// returns how many. After NotAuthorized or Banned no will is sent.
func (b *Broker) Disconnect(principalKey string, code byte, reason string) int {
	n := 0
	for _, s := range b.store.Of(principalKey) {
		n += hangUp(s, cause{code: code, reason: reason, keepWill: keepsWill(code)})
	}
	if !keepsWill(code) {
		b.dropWills(func(p *principal.Principal) bool { return p.Key == principalKey })
	}
	return n
}

func keepsWill(code byte) bool { return code != message.NotAuthorized && code != message.Banned }

// DisconnectSession is Disconnect for one session, by its key. Its will is sent.
func (b *Broker) DisconnectSession(key string, code byte, reason string) int {
	s, ok := b.store.Get(key)
	if !ok {
		return 0
	}
	return hangUp(s, cause{code: code, reason: reason, keepWill: true})
}

// hangUp ends the connection of a session, and returns how many that was: 0 or 1.
func hangUp(s *session.Session, why cause) int {
	c, ok := s.Info().Conn.(*conn)
	if !ok || c == nil || c.isOver() {
		return 0
	}
	c.end(why)
	return 1
}

// Forget deletes every session, will, queued and retained message of the principals
// that gone names, because they were deleted upstream. They need not have a session
// here. It returns how many queued and retained messages that was.
func (b *Broker) Forget(gone func(*principal.Principal) bool) int {
	all := b.store.All()
	for _, s := range all {
		if gone(s.Principal()) {
			hangUp(s, cause{code: message.NotAuthorized, reason: "deleted"})
			b.endIf(s, time.Time{})
		}
	}
	b.dropWills(gone)
	n := b.plane.ForgetRetained(gone)
	for _, s := range all {
		n += s.Forget(gone)
	}
	return n
}

// Ping takes and releases the locks of the sessions, the plane and the broker, for
// the watchdog. It fails if that is not done before ctx ends: then somebody holds one
// of them for ever.
func (b *Broker) Ping(ctx context.Context) error {
	done := make(chan struct{})
	go func() { // Run does not wait for this goroutine, which may hang
		defer close(done)
		b.store.Len()
		b.plane.Ping()
		b.mu.Lock()
		defer b.mu.Unlock()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.New("broker: no round trip: " + ctx.Err().Error())
	}
}

// Sessions lists the sessions in order of their key.
func (b *Broker) Sessions() []SessionInfo {
	all := b.store.All()
	list := make([]SessionInfo, 0, len(all))
	for _, s := range all {
		i := s.Info()
		info := SessionInfo{
			Key:            s.Key,
			Principal:      i.Principal,
			ClientID:       s.ClientID,
			Version:        i.Level,
			Since:          i.Offline,
			Subscriptions:  i.Subscriptions,
			Suspended:      i.Suspended,
			Received:       s.Tally.Received.Load(),
			Sent:           s.Tally.Sent.Load(),
			Denied:         s.Tally.Denied.Load(),
			TakeOvers:      s.Tally.TakeOvers.Load(),
			Inflight:       i.Inflight,
			Queued:         i.Queued,
			QueuedBytes:    i.Bytes,
			LostOldest:     i.Lost.Oldest,
			LostNewest:     i.Lost.Newest,
			Overflowing:    i.Losing,
			Persistent:     i.Persistent,
			CredentialEnds: i.Principal.Expires,
		}
		if c, ok := i.Conn.(*conn); ok && c != nil {
			info.Connected, info.Listener, info.Remote, info.Since = true, c.l.Name, c.remote, c.since
		}
		list = append(list, info)
	}
	return list
}

// Filters lists what a session is subscribed to, and what of it is suspended; sorted.
func (b *Broker) Filters(key string) (all, suspended []string) {
	s, ok := b.store.Get(key)
	if !ok {
		return nil, nil
	}
	return s.Filters()
}

// Stats returns the counters.
func (b *Broker) Stats() Stats {
	n := &b.count
	b.mu.Lock()
	live := len(b.live)
	b.mu.Unlock()
	kept, bytes := b.plane.Retained()
	st := Stats{
		Connections:     live,
		Pending:         int(n.pending.Load()),
		Waiting:         int(n.waiting.Load()),
		Contested:       len(b.Contests()),
		Sessions:        b.store.Len(),
		Retained:        kept,
		RetainedBytes:   bytes,
		QueuedBytes:     b.store.QueuedBytes(),
		Accepted:        n.accepted.Load(),
		AcceptErrors:    n.acceptErrors.Load(),
		RefusedEarly:    n.refusedEarly.Load(),
		TurnedAway:      n.turnedAway.all(),
		Connects:        n.connects.Load(),
		ConnectsRefused: n.connectsRefused.Load(),
		TakeOvers:       n.takeOvers.Load(),
		Received:        n.received.Load(),
		Delivered:       n.delivered.Load(),
		Denied:          n.denied.Load(),
		Refused:         n.refused.Load(),
		Malformed:       n.malformed.Load(),
		BytesIn:         n.bytesIn.Load(),
		BytesOut:        n.bytesOut.Load(),
		Dropped:         n.dropped.all(),
		Panics:          n.panics.Load(),
		Tripwire:        n.tripwire.Load(),
	}
	for _, s := range b.store.All() {
		st.Subscriptions += s.Subscriptions()
		st.Queued += s.Waiting()
	}
	return st
}
