package broker

import (
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/gatehouse/gatehouse/gateway/broker/plane"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// subscribe answers every filter on its own and keeps the ones granted. It
// runs inside the library's handler, before the SUBACK is written.
func (c *conn) subscribe(pk *packets.Packet) {
	c.codes = make([]byte, len(pk.Filters))
	c.fresh, c.became = nil, nil
	var at []int // the place of each fresh one in the packet
	var id uint32
	if ids := pk.Properties.SubscriptionIdentifier; len(ids) > 0 {
		id = uint32(ids[0])
	}
	have := c.sess.Subscriptions()
	added := map[string]bool{} // filters that it has not
	for i := range pk.Filters {
		f := &pk.Filters[i]
		sub, code := c.judge(message.Subscription{Filter: f.Filter, QoS: f.Qos, NoLocal: f.NoLocal,
			RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling, ID: id})
		if sub != nil && !added[f.Filter] && !c.sess.Subscribed(f.Filter) {
			if have+len(added) >= c.b.o.MaxSubscriptions {
				sub, code = nil, message.QuotaExceeded
			} else {
				added[f.Filter] = true
			}
		}
		c.codes[i] = code
		if sub != nil {
			c.fresh, at = append(c.fresh, sub), append(at, i)
		}
	}
	if len(c.fresh) > 0 && !c.keep(func(done func(error)) (ok bool) {
		c.became, ok = c.sess.Subscribe(c, c.fresh, c.still, done)
		return ok
	}) {
		for _, i := range at {
			c.codes[i] = message.ImplementationSpecificError
		}
		c.sess.Undo(c.fresh, c.became)
		c.fresh, c.became = nil, nil
	}
	for i, b := range c.became {
		if b.Refused {
			c.codes[at[i]] = message.NotAuthorized
		}
	}
	c.below5()
}

// judge decides one filter on its inner text; a private one cannot be shared.
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

// ask asks the rights of now. A filtered listener accepts more than they are.
func (c *conn) ask(sub *session.Sub) message.Verdict {
	v := c.proof.Load().rights.Subscribe(sub.Filter)
	if !v.Allowed && v.Filterable && c.l.Filtered && !sub.Private {
		v = message.Verdict{Allowed: true, Reason: "filtered"}
	}
	return v
}

// still tells whether what was judged a moment ago is still so.
func (c *conn) still(sub *session.Sub) bool {
	v := c.ask(sub)
	if !v.Allowed {
		c.b.audit("subscribe", false, c.proof.Load().who, c, sub.Filter, v)
	}
	return v.Allowed
}

func (c *conn) below5() {
	if c.level >= 5 {
		return
	}
	for i, code := range c.codes {
		if code > 2 {
			c.codes[i] = 0x80
		}
	}
}

// keep makes a change of the session durable before it is acknowledged.
func (c *conn) keep(change func(done func(error)) bool) bool {
	if !c.sess.Persistent() {
		return change(nil)
	}
	result := make(chan error, 1)
	if !change(func(err error) { result <- err }) {
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

// replay sends the retained messages of what was just subscribed.
func (c *conn) replay() {
	src := plane.Source{Pause: c.out.Uncork}
	for i, sub := range c.fresh {
		if b := c.became[i]; !b.Refused {
			c.b.plane.Replay(src, sub, b.Existed)
		}
	}
	c.fresh, c.became = nil, nil
}

func (c *conn) unsubscribe(pk *packets.Packet) {
	c.codes = make([]byte, len(pk.Filters))
	filters := make([]string, len(pk.Filters))
	for i := range pk.Filters {
		filters[i] = pk.Filters[i].Filter
	}
	ok := c.keep(func(done func(error)) bool {
		existed, ok := c.sess.Unsubscribe(c, filters, done)
		for i, was := range existed {
			if !was {
				c.codes[i] = message.NoSubscriptionExisted
			}
		}
		return ok
	})
	if !ok {
		for i := range c.codes {
			c.codes[i] = message.ImplementationSpecificError
		}
	}
}

// reauthenticate renews the same principal; as another one the connection
// ends (docs/spec/semantics.md 1.6). c.auth is the AUTH, checked already.
func (c *conn) reauthenticate(cl *mqtt.Client) error {
	h, old := &c.hello, c.proof.Load()
	if string(h.AuthMethod) == "" || c.auth.Method != string(h.AuthMethod) || c.auth.Code != packets.CodeReAuthenticate.Code {
		return packets.ErrProtocolViolation // 4.12.1-1
	}
	cred := c.credentials(h.ClientID)
	cred.AuthMethod, cred.AuthData = c.auth.Method, c.auth.Data
	who, err := c.b.o.Authenticator.Authenticate(c.b.ctx, cred)
	clear(c.auth.Data)
	if err != nil || who == nil {
		c.refused(err, "reauthenticate")
		return packets.ErrNotAuthorized
	}
	if who.Key != old.who.Key || !who.Expires.IsZero() && !time.Now().Before(who.Expires) {
		c.b.audit("reauthenticate", false, old.who, c, "", message.Verdict{Reason: "another-principal"})
		return packets.ErrNotAuthorized
	}
	p := &proof{who: who, rights: c.b.o.Access.Open(who)}
	if v := p.rights.Connect(); !v.Allowed {
		c.b.audit("reauthenticate", false, who, c, "", v)
		return packets.ErrNotAuthorized
	}
	c.proof.Store(p)
	if !c.sess.Renew(c, p.who, p.rights) {
		return packets.ErrSessionTakenOver
	}
	if v := p.rights.Connect(); !v.Allowed { // a revocation may have found the old proof
		c.b.audit("reauthenticate", false, who, c, "", v)
		return packets.ErrNotAuthorized
	}
	c.watchExpiry(who)
	c.b.audit("reauthenticate", true, who, c, "", message.Verdict{Reason: "granted"})
	return cl.WritePacket(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Auth},
		Properties:  packets.Properties{AuthenticationMethod: c.auth.Method},
	})
}
