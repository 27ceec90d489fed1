package broker

import (
	"errors"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// refuse answers a CONNECT with a code that the client understands.
func (c *conn) refuse(level, code byte, reason string) {
	_ = c.sendConnack(level, code, reason, false)
	c.end(cause{code: code, reason: reason})
}

// sendConnack lets the embedded library write the CONNACK; the hook adds what it leaves out.
func (c *conn) sendConnack(level, code byte, reason string, present bool) (err error) {
	defer func() {
		if r := recover(); r != nil {
			c.b.panicked("protocol library", r)
			err = errors.New("panic")
		}
	}()
	if c.cl == nil {
		c.cl = c.b.server.NewClient(&c.gate, c.l.Name, "", false)
	}
	if level != 5 {
		level = 4
	}
	c.cl.Properties.ProtocolVersion = level
	return c.b.server.SendConnack(c.cl, packets.Code{Code: code, Reason: reason}, present, nil)
}

// connack completes a CONNACK that is about to be encoded.
func (c *conn) connack(pk *packets.Packet) {
	if c.cl.Properties.ProtocolVersion < 5 {
		pk.ReasonCode = below5(pk.ReasonCode)
		return
	}
	p := &pk.Properties
	p.AssignedClientID = c.answer.AssignedClientID
	p.AuthenticationMethod = string(c.hello.AuthMethod)
	if pk.ReasonCode >= 0x80 {
		p.AssignedClientID, p.ReceiveMaximum = "", 0
		return
	}
	p.MaximumPacketSize = uint32(c.b.o.MaxPacket)
	p.TopicAliasMaximum = uint16(c.b.o.TopicAliasMaximum)
	p.ReceiveMaximum = uint16(c.b.o.ReceiveMaximum)
	p.RetainAvailable, p.RetainAvailableFlag = 1, true
	p.WildcardSubAvailable, p.WildcardSubAvailableFlag = 1, true
	p.SubIDAvailable, p.SubIDAvailableFlag = 1, true
	p.SharedSubAvailable, p.SharedSubAvailableFlag = 1, true
	p.ServerKeepAlive, p.ServerKeepAliveFlag = c.answer.ServerKeepAlive, c.answer.ServerKeepAliveFlag
	p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = c.answer.SessionExpiryInterval, c.answer.SessionExpiryIntervalFlag
}

// below5 translates a refusal for MQTT 3.1.1 (OASIS MQTT 3.1.1, 3.2.2.3). A
// client of a level that nobody knows (6) gets 1.
func below5(code byte) byte {
	switch code {
	case message.Success:
		return 0
	case message.UnsupportedProtocolVersion:
		return 1
	case message.ClientIdentifierNotValid:
		return 2
	case message.ServerUnavailable, message.ServerBusy, message.QuotaExceeded, message.ConnectionRateExceeded,
		message.UseAnotherServer, message.ServerMoved, message.ImplementationSpecificError, message.ServerShuttingDown:
		return 3
	case message.BadUserNameOrPassword, message.BadAuthenticationMethod:
		return 4
	}
	return 5
}
