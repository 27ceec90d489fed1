package main

import (
	"crypto/tls"
	"fmt"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
)

// tortured is a device that publishes numbers, ten at a time, and sends again
// what was not acknowledged, over a new connection, until it is.
type tortured struct {
	id     string
	topic  string
	client func() paho.Client

	sent, acked int // the last number of each
	again       int // how many times a number was sent again
}

func newTortured(t *testing.T, g *e2e.Gateway, id string) *tortured {
	t.Helper()
	sensor := id + "-temperature"
	if id == "ups-1" {
		sensor = id + "-load"
	}
	cert, ok := house.Certificate(id)
	if !ok {
		t.Fatalf("%s has no certificate", id)
	}
	config := &tls.Config{
		RootCAs:      house.Pool,
		Certificates: []tls.Certificate{cert},
		ServerName:   "localhost",
		MinVersion:   tls.VersionTLS12,
	}
	return &tortured{id: id, topic: site.Telemetry(id, sensor), client: func() paho.Client {
		o := paho.NewClientOptions().AddBroker(fmt.Sprintf("ssl://127.0.0.1:%d", g.MQTT)).SetTLSConfig(config)
		o.SetClientID(id).SetUsername(site.Username(id)).SetProtocolVersion(4).SetAutoReconnect(false)
		return paho.NewClient(o.SetConnectTimeout(5 * time.Second).SetOrderMatters(false))
	}}
}

func (d *tortured) payload(n int) string { return fmt.Sprintf("%s#%d", d.id, n) }

// run publishes until stop is closed and everything sent is acknowledged. It
// gives up when that takes longer than anything may.
func (d *tortured) run(stop <-chan struct{}) {
	var late <-chan time.Time
	for !d.connection(stop) {
		select {
		case <-late:
			return
		default:
		}
		select {
		case <-stop:
			if late == nil {
				late = time.After(e2e.Patience)
			}
		default:
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// connection publishes over one connection. It is the last one if all is acknowledged and stop is closed.
func (d *tortured) connection(stop <-chan struct{}) (last bool) {
	c := d.client()
	if token := c.Connect(); !token.WaitTimeout(5*time.Second) || token.Error() != nil {
		return false
	}
	defer c.Disconnect(0)
	for {
		if d.sent == d.acked {
			select {
			case <-stop:
				return true
			default:
			}
		}
		if !d.window(c, d.sent == d.acked) {
			return false
		}
	}
}

// window sends ten new numbers, or those again that were not acknowledged, and waits for the acknowledgements.
func (d *tortured) window(c paho.Client, fresh bool) bool {
	if fresh {
		d.sent += 10
	} else {
		d.again += d.sent - d.acked
	}
	var tokens []paho.Token
	for n := d.acked + 1; n <= d.sent; n++ {
		tokens = append(tokens, c.Publish(d.topic, 1, false, d.payload(n)))
	}
	for _, token := range tokens {
		if !token.WaitTimeout(5*time.Second) || token.Error() != nil {
			return false
		}
		d.acked++
	}
	return true
}
