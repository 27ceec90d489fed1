package broker

import (
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// hook is the one hook of the embedded library (docs/spec/broker-boundary.md B11). The
// first group does the talking; the second is a tripwire: those are called
// only if the library touches a message, which it never may. Every method that
// matters runs inside conn.speak and is guarded there.
type hook struct {
	mqtt.HookBase
	b *Broker
}

func (h *hook) ID() string { return "gatehouse" }

func (h *hook) Provides(what byte) bool {
	switch what {
	case mqtt.OnSubscribe, mqtt.OnUnsubscribe, mqtt.OnAuthPacket, mqtt.OnPacketEncode, mqtt.OnPacketProcessed,
		mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPublish, mqtt.OnWill, mqtt.OnQosPublish, mqtt.OnPublished:
		return true
	}
	return false
}

func connOf(cl *mqtt.Client) *conn {
	if g, ok := cl.Net.Conn.(*gate); ok {
		return g.c
	}
	return nil
}

// OnSubscribe takes the filters: the library is left with none.
func (h *hook) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	if c := connOf(cl); c != nil {
		c.subscribe(&pk)
	}
	pk.Filters = nil
	return pk
}

func (h *hook) OnUnsubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	if c := connOf(cl); c != nil {
		c.unsubscribe(&pk)
	}
	pk.Filters = nil
	return pk
}

// OnPacketEncode fills in what the library does not know: the codes of SUBACK
// and UNSUBACK, and the CONNACK properties that it leaves out.
func (h *hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c := connOf(cl)
	if c == nil {
		return pk
	}
	switch pk.FixedHeader.Type {
	case packets.Suback, packets.Unsuback:
		pk.ReasonCodes = c.codes
		pk.Properties.User = nil
	case packets.Connack:
		c.connack(&pk)
	}
	return pk
}

// OnPacketProcessed comes after the SUBACK: retained messages follow it.
func (h *hook) OnPacketProcessed(cl *mqtt.Client, pk packets.Packet, _ error) {
	if c := connOf(cl); c != nil && pk.FixedHeader.Type == packets.Subscribe {
		c.replay()
	}
}

func (h *hook) OnAuthPacket(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if c := connOf(cl); c != nil {
		return pk, c.reauthenticate(cl)
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
