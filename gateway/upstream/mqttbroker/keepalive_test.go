package mqttbroker

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/gatehouse/gatehouse/gateway/principal"
)

// The keep alive of the options is the one that the broker is told.
func TestKeepAliveIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan uint16, 1)
		l, err := New(Options{
			URL:       "mqtt://broker",
			ClientID:  "gw",
			KeepAlive: 97 * time.Second,
			Principal: &principal.Principal{Kind: principal.Upstream},
			Log:       slog.New(slog.DiscardHandler),
			Dial: func(context.Context, string, string) (net.Conn, error) {
				here, there := net.Pipe()
				go func() {
					defer func() { _ = there.Close() }()
					if p, err := packets.ReadPacket(there); err == nil {
						select {
						case told <- p.(*packets.ConnectPacket).Keepalive:
						default:
						}
					}
				}()
				return here, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		if got := <-told; got != 97 {
			t.Errorf("the broker was told %d s, want 97", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // the library's own goroutines
	})
}
