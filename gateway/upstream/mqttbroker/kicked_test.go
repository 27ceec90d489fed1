package mqttbroker

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/gatehouse/gatehouse/gateway/principal"
)

// A broker that takes the connection and ends it at once (somebody else has the same client
// id) is not asked again twice a second for ever.
func TestABrokerThatHangsUpIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dialled atomic.Int32
		var servers sync.WaitGroup
		l, err := New(Options{
			URL:       "mqtt://broker",
			ClientID:  "gw",
			Principal: &principal.Principal{Kind: principal.Upstream},
			Log:       slog.New(slog.DiscardHandler),
			Dial: func(context.Context, string, string) (net.Conn, error) {
				dialled.Add(1)
				here, there := net.Pipe()
				servers.Go(func() { probeOnly(there) })
				return here, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		time.Sleep(time.Hour)
		if s := l.Status(); s.Connects < 30 {
			t.Errorf("connected %d times in an hour", s.Connects)
		}
		if n := dialled.Load(); n > 600 {
			t.Errorf("dialled %d times in an hour", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		servers.Wait()
		time.Sleep(time.Minute) // the library's own goroutines
	})
}

// probeOnly is a broker that answers the probe and then hangs up.
func probeOnly(c net.Conn) {
	defer func() { _ = c.Close() }()
	for {
		p, err := packets.ReadPacket(c)
		if err != nil {
			return
		}
		switch p := p.(type) {
		case *packets.ConnectPacket:
			_ = packets.NewControlPacket(packets.Connack).Write(c)
		case *packets.SubscribePacket:
			ack := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
			ack.MessageID, ack.ReturnCodes = p.MessageID, p.Qoss
			_ = ack.Write(c)
		case *packets.PublishPacket:
			_ = p.Write(c)
			time.Sleep(time.Second)
			return
		}
	}
}
