package broker

import (
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// hook is the one hook of the embedded library (docs/spec/broker-boundary.md B11). Its first methods answer
// the frame that the library works on; each of them runs inside
// controlFrame.guarded. The others are a tripwire: the library calls them only
// when it touches a message, which it never may.
type hook struct {
	mqtt.HookBase
	b *Broker
}

func (h *hook) ID() string { return "gatehouse" }

func (h *hook) Provides(what byte) bool {
	switch what {
	case mqtt.OnSubscribe, mqtt.OnUnsubscribe, mqtt.OnAuthPacket, mqtt.OnPacketEncode,
		mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPublish, mqtt.OnWill, mqtt.OnQosPublish, mqtt.OnPublished:
		return true
	}
	return false
}

// frameOf is the frame that the library works on for that client, or nil.
func frameOf(cl *mqtt.Client) *controlFrame {
	if l, ok := cl.Net.Conn.(*libraryConn); ok {
		return l.frame
	}
	return nil
}

// OnSubscribe handles the SUBSCRIBE and returns it without filters, so that the library keeps none.
func (h *hook) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	if f := frameOf(cl); f != nil {
		f.subscribe(&pk)
	}
	pk.Filters = nil
	return pk
}

func (h *hook) OnUnsubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	if f := frameOf(cl); f != nil {
		f.unsubscribe(&pk)
	}
	pk.Filters = nil
	return pk
}

// OnPacketEncode fills in what the library does not know: the codes of SUBACK
// and UNSUBACK, and the CONNACK properties that it leaves out.
func (h *hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	f := frameOf(cl)
	if f == nil {
		return pk
	}
	switch pk.FixedHeader.Type {
	case packets.Suback, packets.Unsuback:
		pk.ReasonCodes = f.codes
		pk.Properties.User = nil
	case packets.Connack:
		f.completeConnack(&pk)
	}
	return pk
}

func (h *hook) OnAuthPacket(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if f := frameOf(cl); f != nil {
		return pk, f.reauthenticate(cl)
	}
	return pk, nil
}

func (h *hook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { h.tripped(); return false }

func (h *hook) OnACLCheck(*mqtt.Client, string, bool) bool { h.tripped(); return false }

func (h *hook) OnPublish(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	h.tripped()
	return pk, packets.ErrRejectPacket
}

func (h *hook) OnPublished(*mqtt.Client, packets.Packet) { h.tripped() }

func (h *hook) OnWill(_ *mqtt.Client, w mqtt.Will) (mqtt.Will, error) {
	h.tripped()
	return w, nil
}

func (h *hook) OnQosPublish(*mqtt.Client, packets.Packet, int64, int) { h.tripped() }

func (h *hook) tripped() {
	h.b.count.tripwire.Add(1)
	h.b.o.Log.Error("the embedded library touched a message; this must never happen")
}
