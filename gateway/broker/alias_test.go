package broker_test

import (
	"encoding/binary"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
)

// aliasOf is the topic alias in the properties of a delivery that has no other property.
func aliasOf(d rawclient.Delivery) uint16 {
	if len(d.Props) != 3 || d.Props[0] != 35 {
		return 0
	}
	return binary.BigEndian.Uint16(d.Props[1:])
}

// A client gets as many topic aliases as it allows, of its own and of this connection: none if it
// allows none or speaks MQTT 3.1.1 (MQTT-3.1.2-26, 3.1.2-27, 3.3.2-7, 3.3.2-8, 3.3.2-11).
func TestOutboundTopicAliases(t *testing.T) {
	t.Parallel()
	h := start(t)
	receivers := map[string]*rawclient.Client{}
	allow := map[string]uint16{"none": 0, "one": 1, "many": 65535}
	for id, n := range allow {
		o := rawclient.Connect{Level: 5, ID: id, User: id}
		if n > 0 {
			o.Props = []byte{34, byte(n >> 8), byte(n)}
		}
		receivers[id] = h.connect(o)
	}
	receivers["older"], allow["older"] = h.client(4, "older"), 0
	for _, c := range receivers {
		c.Subscribe(1, "building/#", 1)
	}
	pub := h.client(5, "pub")
	for round := range 4 {
		for _, name := range []string{"building/1/lobby", "building/2/lobby"} {
			pub.Publish(name, "x", 1, 1, 0)
			finish(pub, 1, 1)
			for id, c := range receivers {
				d := c.ExpectPublish()
				take(c, d)
				want := uint16(0)
				switch {
				case round == 0:
				case name == "building/1/lobby":
					want = min(1, allow[id])
				case allow[id] > 1:
					want = 2
				}
				alone := round > 1 && want > 0
				if aliasOf(d) != want || (d.Topic == "") != alone || !alone && d.Topic != name {
					t.Errorf("round %d, %s, %s: got %+v with alias %d, want alias %d", round, id, name, d, aliasOf(d), want)
				}
			}
		}
	}
	// Another connection of the same client knows nothing of what the first one was told.
	_ = receivers["many"].Close()
	c := h.connect(rawclient.Connect{Level: 5, ID: "many", User: "many", Props: []byte{34, 0, 9}})
	c.Subscribe(1, "building/#", 0)
	for i := range 2 {
		pub.Publish("building/1/lobby", "x", 0, 0, 0)
		if d := c.ExpectPublish(); d.Topic != "building/1/lobby" {
			t.Errorf("message %d of a new connection: %+v", i, d)
		}
	}
}
