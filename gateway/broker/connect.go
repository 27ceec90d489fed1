package broker

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/broker/hall"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// connect handles a connection from its first byte to the CONNACK. It returns false if the
// connection has ended.
func (c *conn) connect() bool {
	_ = c.sock.SetReadDeadline(time.Now().Add(c.l.Limits.Connect))
	f := &controlFrame{c: c}
	raw, err := c.rd.Next()
	if err != nil {
		if fe := (*frame.Error)(nil); errors.As(err, &fe) && raw.Type() == frame.CONNECT {
			f.refuse(5, fe.Code, fe.Reason)
		}
		if errors.Is(err, frame.ErrFirst) {
			c.b.count.turnedAway.add(notConnect)
		}
		c.misshapen(err)
		return false
	}
	c.rd.First = 0 // from now on a frame may be of any type
	c.sock.door.showed(hall.Introduced)
	c.b.count.connects.Add(1)
	hello, err := frame.ParseConnect(raw, c.b.shape)
	if err != nil {
		fe := (*frame.Error)(nil)
		if errors.As(err, &fe) && (hello.Level >= 5 || fe.Code == message.UnsupportedProtocolVersion) && raw.Type() == frame.CONNECT {
			f.refuse(hello.Level, fe.Code, fe.Reason)
		}
		c.misshapen(err)
		return false
	}
	hello.AuthMethod = bytes.Clone(hello.AuthMethod) // because hello is kept longer than the read buffer
	c.hello = hello
	code, reason := f.name()
	if err := f.introduce(); err != nil { // tells the library the maximum packet size of the client, which the CONNACK must keep
		code, reason = message.MalformedPacket, "malformed packet"
	}
	if code != message.Success {
		f.refuse(hello.Level, code, reason)
		return false
	}
	p, code := c.prove()
	if code != message.Success {
		c.b.count.connectsRefused.Add(1)
		f.refuse(hello.Level, code, "connection refused")
		return false
	}
	return f.waitForHolder(p) && f.establish(p)
}

// name assigns a client id to a client that sent none (only in MQTT 5 it is told which), and refuses
// client ids that cannot be used.
func (f *controlFrame) name() (code byte, reason string) {
	h := &f.c.hello
	switch {
	case h.ClientID == "" && h.Level < 5 && !h.Clean: // OASIS MQTT 3.1.1, 3.1.3-8
		return message.ClientIdentifierNotValid, "client identifier"
	case h.ClientID == "":
		h.ClientID = "auto-" + rand.Text()
		f.connack.assignedClientID = h.ClientID
	case len(h.ClientID) > f.c.b.o.MaxTopic:
		return message.ClientIdentifierNotValid, "client identifier too long"
	}
	return message.Success, ""
}

// prove authenticates the client and decides whether it may be connected and leave its will. The
// client is refused if the code is not message.Success.
func (c *conn) prove() (*proof, byte) {
	h := &c.hello
	cred := c.credentials(h.ClientID)
	cred.Username, cred.HasUser, cred.Password, cred.HasPass = h.Username, h.HasUser, h.Password, h.HasPass
	cred.AuthMethod, cred.AuthData = string(h.AuthMethod), h.AuthData
	ctx, cancel := context.WithTimeout(c.b.ctx, c.l.Limits.Connect)
	who, err := c.b.o.Authenticator.Authenticate(ctx, cred)
	cancel()
	if err != nil || who == nil || who.Key == "" {
		return nil, c.refused(err, "connect")
	}
	// Credentials are not kept, neither in hello nor in the buffer that it points into.
	clear(h.Password)
	h.Password, h.AuthData = nil, nil
	if !who.Expires.IsZero() && !c.b.o.Now().Before(who.Expires) {
		c.b.audit("connect", false, who, c, "", message.Verdict{Reason: expired})
		return nil, message.NotAuthorized
	}
	p := &proof{who: who, rights: c.b.o.Access.Open(who)}
	if v := p.rights.Connect(); !v.Allowed {
		c.b.audit("connect", false, who, c, "", v)
		return nil, codeOr(v.Code, message.NotAuthorized)
	}
	if h.Will == nil {
		return p, message.Success
	}
	if c.b.names.Name(h.Will.Topic) != nil {
		return nil, message.TopicNameInvalid
	}
	if v := p.rights.Will(h.Will.Topic); !v.Allowed {
		c.b.audit("will", false, who, c, h.Will.Topic, v)
		return nil, codeOr(v.Code, message.NotAuthorized)
	}
	c.will = c.newWill(p)
	h.Will = nil
	return p, message.Success
}

func (c *conn) credentials(clientID string) *principal.Credentials {
	return &principal.Credentials{
		Listener: c.l.Name,
		Remote:   addrPort(c.sock.RemoteAddr()),
		TLS:      c.sock.tls,
		PeerUID:  c.sock.peerUID,
		Version:  c.hello.Level,
		ClientID: clientID,
	}
}

// refused audits a failed authentication and returns the reason code for the client.
func (c *conn) refused(err error, event string) byte {
	r := (*principal.Refusal)(nil)
	if !errors.As(err, &r) {
		r = &principal.Refusal{Code: message.NotAuthorized, Reason: "authentication-failed"}
		if err != nil {
			r.Detail = err.Error()
		}
	}
	c.b.o.Auditor.Audit(message.AuditRecord{
		Time:      time.Now(),
		Event:     event,
		Principal: c.hello.ClientID,
		ClientID:  c.hello.ClientID,
		Remote:    c.remote,
		Reason:    r.Reason,
		Detail:    r.Detail,
		Count:     1,
	})
	return codeOr(r.Code, message.NotAuthorized)
}

// codeOr returns code if it is an error (0x80 or above), and otherwise the other code.
func codeOr(code, otherwise byte) byte {
	if code < 0x80 {
		return otherwise
	}
	return code
}

// negotiate limits the keep alive and the session expiry that the client asks for, and notes what
// the CONNACK has to tell the client about that.
func (f *controlFrame) negotiate() (expiry time.Duration, persistent bool) {
	c, h := f.c, &f.c.hello
	c.level = h.Level
	c.alive = time.Duration(h.KeepAlive) * time.Second
	if h.Level < 5 {
		return c.b.o.MaxSessionExpiry, !h.Clean
	}
	if most := c.b.o.MaxKeepAlive; c.alive == 0 || c.alive > most {
		c.alive = most
		f.connack.keepAlive = most
	}
	expiry, persistent = c.expiry(h.SessionExpiry)
	if persistent && time.Duration(h.SessionExpiry)*time.Second != expiry {
		f.connack.sessionExpiry = &expiry
	}
	return expiry, persistent
}

// establish opens the session, ends the connection that had it before, answers with the CONNACK, and
// starts the delivery of the messages that wait in the session.
func (f *controlFrame) establish(p *proof) bool {
	c, h := f.c, &f.c.hello
	expiry, persistent := f.negotiate()
	if c.will != nil {
		c.will.ID, c.will.Session = c.b.nextID.Add(1), session.Key(p.who, h.ClientID)
	}
	o := c.b.store.Open(session.Request{
		Principal:  p.who,
		Rights:     p.rights,
		ClientID:   h.ClientID,
		Level:      h.Level,
		Clean:      h.Clean,
		Persistent: persistent,
		Expiry:     expiry,
		Conn:       c,
		Allow:      c.allow(p.rights),
	})
	if o.Session == nil {
		c.b.audit("connect", false, p.who, c, "", message.Verdict{Reason: "too-many-sessions"})
		f.refuse(h.Level, message.QuotaExceeded, "too many sessions")
		return false
	}
	c.sess = o.Session
	// A revocation that begins now finds the session. One that began earlier may have
	// missed it, so the right to be connected is decided once more.
	v := p.rights.Connect()
	if v.Allowed {
		c.proof.Store(p)
	}
	if o.Discarded != nil {
		c.b.gone(o.Discarded)
	}
	if old, ok := o.Displaced.(*conn); ok && old != nil {
		c.b.takenOver(o.Session, old, c)
		old.end(cause{code: message.SessionTakenOver, reason: "session taken over", keepWill: true})
		c.b.farewell(old, o.Present)
	}
	if !v.Allowed {
		c.b.audit("connect", false, p.who, c, "", v)
		f.refuse(h.Level, codeOr(v.Code, message.NotAuthorized), "not authorized")
		return false
	}
	c.b.arrived(c, o)
	if c.b.o.Presence != nil {
		c.here = p.who
		c.b.o.Presence.Arrived(c.here)
	}
	if o.Present && o.Session.Info().Suspended > 0 {
		c.b.purgeLater(o.Session, time.Now())
	}
	c.sock.door.proved()
	c.keepWill()
	c.rd.Max = c.b.o.MaxPacket
	c.out.Cork() // until the loop reads again, so that the CONNACK and the waiting messages are sent in one write
	if err := f.sendConnack(h.Level, message.Success, "", o.Present); err != nil {
		return false
	}
	c.b.audit("connect", true, p.who, c, "", message.Verdict{Reason: "granted"})
	c.watchExpiry(p.who)
	window := c.b.o.Inflight
	if h.ReceiveMaximum > 0 {
		window = min(window, int(h.ReceiveMaximum))
	}
	c.out.AllowAliases(h.TopicAliasMax) // 0 below MQTT 5
	return c.sess.Attach(&session.Link{
		Out:       c.out,
		Level:     c.level,
		MaxPacket: int(h.MaximumPacket),
		Window:    window,
		Conn:      c,
	})
}

// expiry limits an MQTT 5 session expiry interval. persistent reports whether the session
// outlives its connection.
func (c *conn) expiry(seconds uint32) (d time.Duration, persistent bool) {
	if seconds == 0xffffffff {
		return c.b.o.MaxSessionExpiry, true
	}
	return min(time.Duration(seconds)*time.Second, c.b.o.MaxSessionExpiry), seconds > 0
}

// allow decides the subscriptions of a session that this connection resumes.
func (c *conn) allow(r session.Rights) func(*session.Sub) bool {
	return func(s *session.Sub) bool {
		v := r.Subscribe(s.Filter)
		return v.Allowed || v.Filterable && c.l.Filtered && !s.Private
	}
}

// watchExpiry ends the connection when its credential expires (docs/spec/semantics.md 1.8).
func (c *conn) watchExpiry(who *principal.Principal) {
	c.b.clock.cancel(c.expiresAt)
	c.expiresAt = nil
	if who.Expires.IsZero() {
		return
	}
	c.expiresAt = c.b.clock.after(who.Expires.Sub(c.b.o.Now()), func() {
		c.end(cause{code: message.NotAuthorized, reason: "credential expired", keepWill: true})
	})
}
