package broker

import (
	"errors"
	"math"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// connackProperties are the properties of a CONNACK that depend on its CONNECT.
type connackProperties struct {
	assignedClientID string
	keepAlive        time.Duration  // Server Keep Alive; 0: the client's own applies
	sessionExpiry    *time.Duration // Session Expiry Interval; nil: the client's own applies
	bare             bool           // without what the client can do without: see sendConnack
}

// refuse answers a CONNECT with a reason code that exists in the client's version of MQTT, and ends
// the connection.
func (f *controlFrame) refuse(level, code byte, reason string) {
	_ = f.sendConnack(level, code, reason, false)
	f.c.end(cause{code: code, reason: reason})
}

// sendConnack lets the embedded library write the CONNACK. The hook adds the properties that the
// library leaves out. If it is larger than the client's Maximum Packet Size, it is written without
// the Reason String and without the properties whose value is the one that a client assumes of an
// absent property; the others the client must know, or it would break limits that it was not told.
// It is an error if it is still too large.
func (f *controlFrame) sendConnack(level, code byte, reason string, present bool) error {
	if level != 5 {
		level = 4
	}
	send := func(cl *mqtt.Client) error {
		cl.Properties.ProtocolVersion = level
		return f.c.b.server.SendConnack(cl, packets.Code{Code: code, Reason: reason}, present, nil)
	}
	err := f.guarded(send)
	if errors.Is(err, packets.ErrPacketTooLarge) {
		f.connack.bare, reason = true, ""
		err = f.guarded(send)
	}
	return err
}

// completeConnack adds the properties that the library leaves out to a CONNACK before it is encoded.
func (f *controlFrame) completeConnack(pk *packets.Packet) {
	c, own := f.c, &f.connack
	if f.cl.Properties.ProtocolVersion < 5 {
		pk.ReasonCode = below5(pk.ReasonCode)
		return
	}
	p := &pk.Properties
	p.AssignedClientID = own.assignedClientID
	p.AuthenticationMethod = string(c.hello.AuthMethod)
	if pk.ReasonCode >= 0x80 {
		p.AssignedClientID, p.ReceiveMaximum = "", 0
		return
	}
	p.MaximumPacketSize = uint32(c.b.o.MaxPacket)
	p.TopicAliasMaximum = uint16(c.b.o.TopicAliasMaximum)
	p.ReceiveMaximum = uint16(c.b.o.ReceiveMaximum)
	told := !own.bare // absent, each of these four means the same
	p.RetainAvailable, p.RetainAvailableFlag = 1, told
	p.WildcardSubAvailable, p.WildcardSubAvailableFlag = 1, told
	p.SubIDAvailable, p.SubIDAvailableFlag = 1, told
	p.SharedSubAvailable, p.SharedSubAvailableFlag = 1, told
	if p.ReceiveMaximum == math.MaxUint16 && own.bare {
		p.ReceiveMaximum = 0 // which the library leaves out
	}
	p.ServerKeepAlive, p.ServerKeepAliveFlag = uint16(own.keepAlive/time.Second), own.keepAlive > 0
	p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = 0, own.sessionExpiry != nil
	if own.sessionExpiry != nil {
		p.SessionExpiryInterval = uint32(*own.sessionExpiry / time.Second)
	}
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
