package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// An endpoint is where and as whom a client connects.
type endpoint struct {
	addr     string // host:port of the gateway's TLS listener
	tls      *tls.Config
	clientID string
	username string
	password string
	clean    bool
}

// received is one message that a client got.
type received struct {
	topic   string
	payload []byte
	at      time.Time
}

// A client is a real MQTT client: what a device maker's SDK would be.
type client struct {
	mq   mqtt.Client
	lost chan error

	mu   sync.Mutex
	got  []received
	more chan struct{} // replaced on each arrival
}

var errRefused = errors.New("refused")

// connect dials once; a refusal is an error that wraps errRefused.
func connect(ctx context.Context, e endpoint) (*client, error) {
	c := &client{lost: make(chan error, 1), more: make(chan struct{})}
	o := mqtt.NewClientOptions().AddBroker("ssl://" + e.addr).SetClientID(e.clientID).
		SetUsername(e.username).SetPassword(e.password).SetTLSConfig(e.tls).
		SetProtocolVersion(4).SetCleanSession(e.clean).SetAutoReconnect(false).SetConnectRetry(false).
		SetConnectTimeout(10 * time.Second).SetKeepAlive(30 * time.Second).SetOrderMatters(true).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) {
			select {
			case c.lost <- err:
			default:
			}
		}).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { c.arrived(m) })
	c.mq = mqtt.NewClient(o)
	t := c.mq.Connect()
	select {
	case <-t.Done():
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := t.Error(); err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	return c, nil
}

func (c *client) arrived(m mqtt.Message) {
	c.mu.Lock()
	c.got = append(c.got, received{m.Topic(), append([]byte(nil), m.Payload()...), time.Now()})
	close(c.more)
	c.more = make(chan struct{})
	c.mu.Unlock()
}

// publish waits for the acknowledgement of a QoS 1 publish.
func (c *client) publish(ctx context.Context, topic string, payload []byte) error {
	t := c.mq.Publish(topic, 1, false, payload)
	select {
	case <-t.Done():
		return t.Error()
	case err := <-c.lost:
		c.lost <- err
		return fmt.Errorf("connection lost: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// subscribe returns the granted QoS; 0x80 is a refusal.
func (c *client) subscribe(ctx context.Context, filter string) error {
	t := c.mq.Subscribe(filter, 1, nil)
	select {
	case <-t.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	if s, ok := t.(*mqtt.SubscribeToken); ok {
		if code, known := s.Result()[filter]; known && code >= 0x80 {
			return fmt.Errorf("%w: SUBACK 0x%02x", errRefused, code)
		}
	}
	return t.Error()
}

// await returns the first message, past or to come, for which want is true.
func (c *client) await(ctx context.Context, want func(received) bool) (received, error) {
	next := 0
	for {
		c.mu.Lock()
		for ; next < len(c.got); next++ {
			if want(c.got[next]) {
				defer c.mu.Unlock()
				return c.got[next], nil
			}
		}
		more := c.more
		c.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return received{}, fmt.Errorf("nothing came: %w", ctx.Err())
		}
	}
}

// count is how many messages so far satisfy want.
func (c *client) count(want func(received) bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, m := range c.got {
		if want(m) {
			n++
		}
	}
	return n
}

// payloads are those of the messages so far, in their order.
func (c *client) payloads() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]string, len(c.got))
	for i := range c.got {
		list[i] = string(c.got[i].payload)
	}
	return list
}

// disconnected waits until the broker has ended the connection.
func (c *client) disconnected(ctx context.Context) error {
	select {
	case err := <-c.lost:
		c.lost <- err
		return nil
	case <-ctx.Done():
		return errors.New("still connected")
	}
}

func (c *client) close() {
	if c != nil && c.mq.IsConnected() {
		c.mq.Disconnect(50)
	}
}

// A stream publishes at a steady rate and remembers what was acknowledged.
type stream struct {
	acked  atomic.Int64
	failed atomic.Int64
	mu     sync.Mutex
	ids    []string
}

func (s *stream) add(id string) {
	s.acked.Add(1)
	s.mu.Lock()
	s.ids = append(s.ids, id)
	s.mu.Unlock()
}

// acknowledged is a copy of the ids acknowledged so far.
func (s *stream) acknowledged() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.ids...)
}
