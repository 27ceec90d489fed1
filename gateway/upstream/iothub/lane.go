package iothub

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/topic"
	"github.com/gatehouse/gatehouse/gateway/upstream"
	"github.com/gatehouse/gatehouse/gateway/upstream/mqttconn"
)

// maxEvent is what the hub takes as one device-to-cloud message, properties included; more ends the connection.
const maxEvent = 256 << 10

// lane is a session as an upstream.Conn, for the pump of the outbox.
type lane struct {
	session *Session
	conn    *mqttconn.Conn
	release func()
}

// Send implements upstream.Conn.
func (l *lane) Send(to string, m *message.Message, acked func(error)) error {
	event, err := eventTopic(l.session.device, to, m)
	if err != nil {
		return err
	}
	if len(event)+len(m.Payload) > maxEvent {
		return fmt.Errorf("%w: %d bytes, the hub takes %d", upstream.ErrUnsendable, len(event)+len(m.Payload), maxEvent)
	}
	err = l.conn.Publish(event, m.QoS, false, m.Payload, acked)
	if errors.Is(err, mqttconn.ErrString) {
		return fmt.Errorf("%w: %w", upstream.ErrUnsendable, err)
	}
	return err
}

// Done implements upstream.Conn.
func (l *lane) Done() <-chan struct{} { return l.conn.Done() }

// Release implements upstream.Conn.
func (l *lane) Release(broken bool) {
	if broken {
		l.conn.Fail("the hub does not acknowledge messages")
	}
	l.release()
}

// eventTopic is where m goes on the session of an identity: the hub ends a
// connection that publishes anywhere but to its own events.
func eventTopic(identity, to string, m *message.Message) (string, error) {
	bag := make([]message.UserProperty, 0, len(m.Via.Properties)+2)
	for _, p := range m.Via.Properties {
		if p.Key != OriginProperty && p.Key != TopicProperty { // only the gateway may set these two
			bag = append(bag, p)
		}
	}
	origin := m.Via.Device
	if m.Via.Module != "" {
		origin += "/" + m.Via.Module
	}
	if origin == "" && m.Publisher != nil {
		origin = m.Publisher.Key
	}
	if origin != identity {
		bag = append(bag, message.UserProperty{Key: OriginProperty, Value: origin})
	}
	if m.Via.Handling != message.Telemetry {
		bag = append(bag, message.UserProperty{Key: TopicProperty, Value: to})
	}
	var b strings.Builder
	b.WriteString("devices/" + identity + "/messages/events/")
	b.Write(topic.AppendBag(nil, bag))
	if b.Len() > upstream.MaxTopic {
		return "", fmt.Errorf("%w: its properties make a topic of %d bytes", upstream.ErrUnsendable, b.Len())
	}
	return b.String(), nil
}
