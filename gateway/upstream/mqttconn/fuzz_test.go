package mqttconn

import (
	"bytes"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// readAll gives what the guard let through to the library's own decoder.
func readAll(t *testing.T, b []byte) {
	t.Helper()
	for r := bytes.NewReader(b); r.Len() > 0; {
		p, err := packets.ReadPacket(r)
		if err != nil {
			t.Fatalf("the library refuses what the guard let through: %v", err)
		}
		if s, ok := p.(*packets.SubackPacket); ok && (len(s.ReturnCodes) == 0 || len(s.ReturnCodes) > 8) {
			t.Fatalf("SUBACK with %d codes", len(s.ReturnCodes))
		}
	}
}
