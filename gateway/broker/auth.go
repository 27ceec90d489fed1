package broker

import (
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// reauthenticate answers an MQTT 5 AUTH, which may renew the credential of the same principal. An
// AUTH that authenticates another principal ends the connection (docs/spec/semantics.md 1.6).
func (f *controlFrame) reauthenticate(cl *mqtt.Client) error {
	c, h, old := f.c, &f.c.hello, f.c.proof.Load()
	if string(h.AuthMethod) == "" || f.auth.Method != string(h.AuthMethod) || f.auth.Code != packets.CodeReAuthenticate.Code {
		return packets.ErrProtocolViolation // 4.12.1-1
	}
	cred := c.credentials(h.ClientID)
	cred.AuthMethod, cred.AuthData = f.auth.Method, f.auth.Data
	who, err := c.b.o.Authenticator.Authenticate(c.b.ctx, cred)
	clear(f.auth.Data)
	if err != nil || who == nil {
		c.refused(err, "reauthenticate")
		return packets.ErrNotAuthorized
	}
	if who.Key != old.who.Key || !who.Expires.IsZero() && !c.b.o.Now().Before(who.Expires) {
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
	if v := p.rights.Connect(); !v.Allowed { // decided again, because a revocation meanwhile has judged the old proof
		c.b.audit("reauthenticate", false, who, c, "", v)
		return packets.ErrNotAuthorized
	}
	c.watchExpiry(who)
	c.b.audit("reauthenticate", true, who, c, "", message.Verdict{Reason: "granted"})
	return cl.WritePacket(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Auth},
		Properties:  packets.Properties{AuthenticationMethod: f.auth.Method},
	})
}
