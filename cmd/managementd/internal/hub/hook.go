package hub

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"slices"
	"sync"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// hook takes the events of the MQTT server and calls the hub. Every method runs on the client's reader
// goroutine and recovers from a panic, because the server does not: a panic would end the process.
type hook struct {
	mqtt.HookBase
	hub    *Hub
	server *mqtt.Server
	conns  sync.Map // *mqtt.Client -> *conn
}

func (k *hook) ID() string { return "development-iot-hub" }

func (k *hook) Provides(b byte) bool {
	return slices.Contains([]byte{
		mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnSessionEstablish, mqtt.OnSessionEstablished, mqtt.OnDisconnect, mqtt.OnACLCheck,
		mqtt.OnPacketRead, mqtt.OnPacketProcessed, mqtt.OnSubscribed, mqtt.OnUnsubscribed, mqtt.OnPublish,
	}, b)
}

func (k *hook) guard(what string, cl *mqtt.Client) {
	if r := recover(); r != nil {
		k.hub.log.Error("development IoT Hub: panic", "in", what, "client", cl.ID, "panic", r)
		cl.Stop(packets.ErrUnspecifiedError)
	}
}

func (k *hook) conn(cl *mqtt.Client) *conn {
	c, ok := k.conns.Load(cl)
	if !ok {
		return nil
	}
	return c.(*conn)
}

// OnConnect refuses other protocol versions with the code that says so.
func (k *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	defer k.guard("connect", cl)
	if pk.ProtocolVersion != 4 {
		_ = k.server.SendConnack(cl, packets.ErrUnsupportedProtocolVersion, false, nil)
		return packets.ErrUnsupportedProtocolVersion
	}
	return nil
}

func (k *hook) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) (allowed bool) {
	defer k.guard("authenticate", cl)
	id, err := k.hub.parseIdentity(cl.ID, string(pk.Connect.Username))
	if err == nil {
		var state *tls.ConnectionState
		if t, ok := cl.Net.Conn.(*tls.Conn); ok {
			s := t.ConnectionState()
			state = &s
		}
		err = k.hub.authenticate(id, pk.Connect.Password, state)
	}
	if w := cl.Properties.Will; err == nil && w.Flag == 1 {
		if _, ok := eventsTopic(id, w.TopicName); !ok {
			err = fmt.Errorf("%w: the will's topic is not the identity's events topic", ErrInvalid)
		}
	}
	if err != nil {
		k.hub.log.Info("development IoT Hub refused a connection", "client", cl.ID, "err", err)
		return false
	}
	k.conns.Store(cl, newConn(id, cl))
	return true
}

// OnSessionEstablish drops the connection that the identity already has. The server would otherwise take
// the session over and send DISCONNECT to the old connection, which MQTT 3.1.1 does not allow.
func (k *hook) OnSessionEstablish(cl *mqtt.Client, _ packets.Packet) {
	defer k.guard("establish", cl)
	if c := k.conn(cl); c != nil && k.hub.Drop(c.id) {
		k.hub.log.Info("development IoT Hub: a second connection drops the first", "client", cl.ID)
	}
}

func (k *hook) OnSessionEstablished(cl *mqtt.Client, pk packets.Packet) {
	defer k.guard("established", cl)
	if c := k.conn(cl); c != nil {
		c.start()
		k.hub.attach(c, pk.Connect.Clean)
	}
}

func (k *hook) OnDisconnect(cl *mqtt.Client, err error, _ bool) {
	defer k.guard("disconnect", cl)
	if c := k.conn(cl); c != nil {
		k.conns.Delete(cl)
		k.hub.detach(c, err != nil)
		c.stop()
	}
}

// OnACLCheck is asked for each filter of a SUBSCRIBE, each PUBLISH and, if the
// server ever tried one, each delivery of its own: the last never passes,
// because no topic that it could carry equals an allowed filter.
func (k *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	defer k.guard("acl", cl)
	c := k.conn(cl)
	return c != nil && (write || filterAllowed(c.id, topic))
}

// OnPacketRead ends the connection on QoS 2 (docs/spec/device-update.md 5.3)
// and takes the acknowledgements of our own messages.
func (k *hook) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	defer k.guard("read", cl)
	switch pk.FixedHeader.Type {
	case packets.Publish:
		if pk.FixedHeader.Qos > 1 {
			k.hub.log.Info("development IoT Hub: QoS 2 publish closes the connection", "client", cl.ID)
			return pk, packets.ErrRejectPacket
		}
	case packets.Puback:
		if c := k.conn(cl); c != nil {
			k.hub.acknowledged(c, pk.PacketID)
		}
	}
	return pk, nil
}

func (k *hook) OnSubscribed(cl *mqtt.Client, pk packets.Packet, codes []byte) {
	defer k.guard("subscribed", cl)
	c := k.conn(cl)
	if c == nil {
		return
	}
	granted := map[string]byte{}
	for i, f := range pk.Filters {
		if codes[i] <= 1 {
			granted[f.Filter] = codes[i]
		}
	}
	k.hub.subscribed(c, granted)
}

// OnPacketProcessed sends what was waiting for a subscription, after its SUBACK.
func (k *hook) OnPacketProcessed(cl *mqtt.Client, pk packets.Packet, _ error) {
	defer k.guard("processed", cl)
	if c := k.conn(cl); c != nil && pk.FixedHeader.Type == packets.Subscribe {
		k.hub.deliverPending(c)
	}
}

func (k *hook) OnUnsubscribed(cl *mqtt.Client, pk packets.Packet) {
	defer k.guard("unsubscribed", cl)
	if c := k.conn(cl); c != nil {
		for _, f := range pk.Filters {
			k.hub.unsubscribed(c, f.Filter)
		}
	}
}

// OnPublish handles the publish and acknowledges it; rejecting it afterwards
// keeps it from the server's own routing and retaining.
func (k *hook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	defer k.guard("publish", cl)
	c := k.conn(cl)
	if c == nil || !k.hub.published(c, pk.TopicName, bytes.Clone(pk.Payload), pk.FixedHeader.Retain) {
		k.hub.log.Info("development IoT Hub: a topic it does not know closes the connection", "client", cl.ID, "topic", pk.TopicName)
		cl.Stop(packets.ErrTopicNameInvalid)
		return pk, packets.ErrRejectPacket
	}
	if pk.FixedHeader.Qos == 1 {
		_ = cl.WritePacket(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: pk.PacketID})
	}
	return pk, packets.ErrRejectPacket
}
