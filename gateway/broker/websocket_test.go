package broker_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
)

// A WebSocket whose peer stops in the middle of a frame is closed within the
// bound of any connection: the library waits for the rest of a frame without
// end, and the stop of the gateway would wait with it.
func TestWebSocketInTheMiddleOfAFrame(t *testing.T) {
	t.Parallel()
	for name, mqtt := range map[string]string{
		"of a client that says goodbye": string(rawclient.Connect{Level: 5, ID: "c", User: "c"}.Bytes()) + "\xe0\x00",
		"of nobody yet":                 "\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, func(o *broker.Options) {
				o.Listeners[0].Kind, o.FlushTimeout = broker.WebSocket, 50*time.Millisecond
				o.Listeners[0].Limits.Connect = time.Hour
			})
			nc, err := net.Dial("tcp", h.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			_, _ = fmt.Fprint(nc, upgradeRequest("mqtt"))
			r := bufio.NewReader(nc)
			if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("%+v %v", resp, err)
			}
			// A binary frame of 60,000 bytes under a mask of zeros, of which the first come.
			part := make([]byte, 1000)
			copy(part, mqtt)
			_, _ = nc.Write(append([]byte{0x82, 0xfe, 0xea, 0x60, 0, 0, 0, 0}, part...))
			_ = nc.SetReadDeadline(time.Now().Add(rawclient.Wait))
			if _, err := io.Copy(io.Discard, r); err != nil {
				t.Errorf("the connection stays: %v", err)
			}
		})
	}
}

// upgradeRequest asks for a WebSocket, with those subprotocols if there are any.
func upgradeRequest(subprotocols string) string {
	line := ""
	if subprotocols != "" {
		line = "Sec-WebSocket-Protocol: " + subprotocols + "\r\n"
	}
	return "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" + line + "\r\n"
}

// A client that does not offer the subprotocol mqtt is refused by the status of the handshake, as its
// library can tell it, and no WebSocket comes to be. Of several the client may offer, mqtt is chosen.
func TestWebSocketSubprotocol(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *broker.Options) { o.Listeners[0].Kind = broker.WebSocket })
	for offer, want := range map[string]int{
		"": 400, "mqttv3.1": 400, "amqp, mqtts": 400,
		"mqtt": 101, "mqttv3.1, mqtt": 101,
	} {
		nc, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprint(nc, upgradeRequest(offer))
		_ = nc.SetReadDeadline(time.Now().Add(rawclient.Wait))
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatalf("%q: %v", offer, err)
		}
		if resp.StatusCode != want || want == 101 && resp.Header.Get("Sec-WebSocket-Protocol") != "mqtt" {
			t.Errorf("%q: %d %v", offer, resp.StatusCode, resp.Header)
		}
		_ = nc.Close()
	}
}
