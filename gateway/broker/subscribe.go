package broker

import (
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/gatehouse/gatehouse/gateway/broker/plane"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// subscribe answers every filter of a SUBSCRIBE on its own and keeps the ones
// that are allowed. It runs inside the library's handler, before the SUBACK is
// written.
func (f *controlFrame) subscribe(pk *packets.Packet) {
	c := f.c
	f.codes = make([]byte, len(pk.Filters))
	var id uint32
	if ids := pk.Properties.SubscriptionIdentifier; len(ids) > 0 {
		id = uint32(ids[0])
	}
	have := c.sess.Subscriptions()
	added := map[string]bool{} // filters that the session does not have yet
	var places []int           // the position in the packet of each of f.subs
	for i := range pk.Filters {
		p := &pk.Filters[i]
		sub, code := c.judge(message.Subscription{
			Filter:            p.Filter,
			QoS:               p.Qos,
			NoLocal:           p.NoLocal,
			RetainAsPublished: p.RetainAsPublished,
			RetainHandling:    p.RetainHandling,
			ID:                id,
		})
		if sub != nil && !added[p.Filter] && !c.sess.Subscribed(p.Filter) {
			if have+len(added) >= c.b.o.MaxSubscriptions {
				sub, code = nil, message.QuotaExceeded
			} else {
				added[p.Filter] = true
			}
		}
		f.codes[i] = code
		if sub != nil {
			f.subs, places = append(f.subs, sub), append(places, i)
		}
	}
	f.keep(places)
	if c.level < 5 {
		subackBelow5(f.codes)
	}
}

// keep adds the allowed subscriptions to the session. places has the position of each one's code.
func (f *controlFrame) keep(places []int) {
	c := f.c
	if len(f.subs) == 0 {
		return
	}
	kept := c.change(func(done func(error)) (ok bool) {
		f.became, ok = c.sess.Subscribe(c, f.subs, c.still, done)
		return ok
	})
	if !kept {
		for _, i := range places {
			f.codes[i] = message.ImplementationSpecificError
		}
		c.sess.Undo(f.subs, f.became)
		f.subs, f.became = nil, nil
		return
	}
	for i, became := range f.became {
		if became.Refused {
			f.codes[places[i]] = message.NotAuthorized
		}
	}
}

// replay sends the retained messages for the new subscriptions.
func (f *controlFrame) replay() {
	c := f.c
	src := plane.Source{Pause: c.out.Uncork}
	for i, sub := range f.subs {
		if became := f.became[i]; !became.Refused {
			c.b.plane.Replay(src, sub, became.Existed)
		}
	}
}

// judge decides one filter. It returns the subscription, or nil and the reason code of the
// refusal. A private filter cannot be shared.
func (c *conn) judge(m message.Subscription) (*session.Sub, byte) {
	t, err := c.b.names.Subscription(m.Filter)
	if err != nil {
		return nil, message.TopicFilterInvalid
	}
	sub := session.NewSub(c.sess, m, t)
	if sub.Group != "" && (sub.Private || m.NoLocal) {
		return nil, message.NotAuthorized
	}
	v := c.ask(sub)
	if !v.Allowed || v.ReportOnly {
		c.b.audit("subscribe", v.Allowed, c.proof.Load().who, c, m.Filter, v)
	}
	if !v.Allowed {
		c.sess.Tally.Denied.Add(1)
		return nil, codeOr(v.Code, message.NotAuthorized)
	}
	return sub, m.QoS
}

// ask decides a subscription by the client's present rights. A filtered listener accepts a filter
// that is wider than these rights, because each delivery is decided in any case.
func (c *conn) ask(sub *session.Sub) message.Verdict {
	v := c.proof.Load().rights.Subscribe(sub.Filter)
	if !v.Allowed && v.Filterable && c.l.Filtered && !sub.Private {
		v = message.Verdict{Allowed: true, Reason: "filtered"}
	}
	return v
}

// still reports whether a subscription that was just allowed is still allowed. The session calls it
// with Session.mu held: see session.Session.Subscribe.
func (c *conn) still(sub *session.Sub) bool {
	v := c.ask(sub)
	if !v.Allowed {
		c.b.audit("subscribe", false, c.proof.Load().who, c, sub.Filter, v)
	}
	return v.Allowed
}

// subackBelow5 replaces every refusal by 0x80, the only failure code of MQTT 3.1.1 (3.9.3).
func subackBelow5(codes []byte) {
	for i, code := range codes {
		if code > 2 {
			codes[i] = 0x80
		}
	}
}

// change makes a change of the session and waits until it is stored, if the session is persistent. It
// returns false if the change was not made, or it is not known whether it was stored.
func (c *conn) change(submit func(done func(error)) bool) bool {
	if !c.sess.Persistent() {
		return submit(nil)
	}
	result := make(chan error, 1)
	if !submit(func(err error) { result <- err }) {
		return false
	}
	c.out.Uncork()
	select {
	case err := <-result:
		return err == nil
	case <-c.ended:
		return false
	case <-time.After(c.b.o.WriteTimeout):
		return false
	}
}

func (f *controlFrame) unsubscribe(pk *packets.Packet) {
	c := f.c
	f.codes = make([]byte, len(pk.Filters))
	filters := make([]string, len(pk.Filters))
	for i := range pk.Filters {
		filters[i] = pk.Filters[i].Filter
	}
	ok := c.change(func(done func(error)) bool {
		existed, ok := c.sess.Unsubscribe(c, filters, done)
		for i, was := range existed {
			if !was {
				f.codes[i] = message.NoSubscriptionExisted
			}
		}
		return ok
	})
	if !ok {
		for i := range f.codes {
			f.codes[i] = message.ImplementationSpecificError
		}
	}
}
