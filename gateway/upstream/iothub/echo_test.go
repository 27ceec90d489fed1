package iothub

import (
	"errors"
	"strings"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// TestEchoAndThrottling: the hub answers a request for the gateway's own twin, and when it answers
// that it throttles, that is remembered.
func TestEchoAndThrottling(t *testing.T) {
	fake := newFakeHub(t)
	hub, err := New(fake.options())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hub.Echo(t.Context()); err == nil || !strings.Contains(err.Error(), "is down") {
		t.Errorf("before there is a connection: %v", err)
	}
	hub = start(t, fake.options())
	eventually(t, "the session is up", func() bool { return hub.Status().GatewayUp })
	if took, err := hub.Echo(t.Context()); err != nil || took <= 0 {
		t.Errorf("echo: %v, %v", took, err)
	}
	if at := hub.Throttled(); !at.IsZero() {
		t.Errorf("throttled at %v, and the hub never said so", at)
	}
	fake.mu.Lock()
	fake.script = func(c *hubConn, p packets.ControlPacket) bool {
		m, ok := p.(*packets.PublishPacket)
		if !ok {
			return false
		}
		rid, ok := strings.CutPrefix(m.TopicName, "$iothub/twin/GET/?$rid=")
		if ok {
			c.publish("$iothub/twin/res/429/?$rid="+rid, "", 0)
		}
		return ok
	}
	fake.mu.Unlock()
	var status *StatusError
	if _, err := hub.Echo(t.Context()); !errors.As(err, &status) || status.Status != 429 || hub.Throttled().IsZero() {
		t.Errorf("a hub that throttles: %v, noted at %v", err, hub.Throttled())
	}
}
