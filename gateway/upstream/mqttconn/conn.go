// Package mqttconn is one MQTT 3.1.1 connection to something upstream: one
// client object, used once, never reconnected (docs/spec/libraries.md 3.1: after a
// reconnect that library completes tokens of messages that were not delivered,
// and lets new ones overtake old ones).
//
// Order: acknowledgement functions of Publish run in the order of the calls,
// on one goroutine; OnMessage runs in order of arrival, on another.
//
// Failure: whatever upstream sends is checked before the library sees it (see
// guard). Every failure ends the connection: Done is closed, every outstanding
// acknowledgement function has been called with an error or will be. Publish and
// Subscribe do not block on a connection that has ended. The library would block its
// caller for writeTimeout if the connection ends after it has looked at its state;
// therefore it is called on goroutines of its own, and Close does not wait for them.
package mqttconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/sync/semaphore"
)

// Limits of what is taken in from upstream.
const (
	DefaultMaxPacket = 1 << 20
	inboundMessages  = 256     // waiting for OnMessage
	inboundBytes     = 8 << 20 // of them, at least one message
	stallLimit       = 10 * time.Second
)

// writeTimeout is how long the library may write, or wait to hand over, one packet.
const writeTimeout = 20 * time.Second

// ErrClosed is the error after Close; ErrString of a string that MQTT cannot carry.
var (
	ErrClosed = errors.New("the connection was closed")
	ErrString = errors.New("longer than 65535 bytes")
)

// Message is a message from upstream. Ack must be called once it is safe (QoS 1); without, upstream sends it again.
type Message struct {
	Topic    string
	Payload  []byte
	QoS      byte
	Retained bool
	Ack      func()
}

// Options of Connect.
type Options struct {
	// Dial opens the network connection, TLS included.
	Dial                         func(context.Context) (net.Conn, error)
	ClientID, Username, Password string
	CleanSession                 bool
	// Bridge sets the bit by which many brokers know a bridge: they do not send back what came from it.
	Bridge    bool
	KeepAlive time.Duration // 0: 30 s
	// MaxPacket bounds a packet from upstream in bytes; 0: DefaultMaxPacket.
	MaxPacket int
	OnMessage func(Message)
}

// Conn is a connection.
type Conn struct {
	client  mqtt.Client
	guard   *guard
	done    chan struct{}
	out     chan outgoing // for publish
	pending chan token
	inbox   chan Message
	quota   *semaphore.Weighted
	group   sync.WaitGroup

	mu      sync.Mutex
	err     error       // guarded by mu; set before done is closed
	handing func(error) // guarded by mu; the acknowledgement function of the message that publish is handing to the library
	dropped uint64

	subscribe sync.Mutex // one SUBSCRIBE at a time, so that its SUBACK can be checked
}

type outgoing struct {
	topic   string
	qos     byte
	retain  bool
	payload []byte
	acked   func(error)
}

type token struct {
	mqtt.Token
	acked func(error)
}

// Connect dials, sends CONNECT and waits for CONNACK, at most until ctx ends.
func Connect(ctx context.Context, o Options) (*Conn, error) {
	for _, s := range []string{o.ClientID, o.Username, o.Password} {
		if len(s) > 65535 {
			return nil, fmt.Errorf("client id, user name or password: %w", ErrString)
		}
	}
	raw, err := o.Dial(ctx)
	if err != nil {
		return nil, err
	}
	if o.MaxPacket <= 0 {
		o.MaxPacket = DefaultMaxPacket
	}
	c := &Conn{
		guard:   newGuard(raw, o.MaxPacket),
		done:    make(chan struct{}),
		out:     make(chan outgoing),
		pending: make(chan token, 4096),
		inbox:   make(chan Message, inboundMessages),
		quota:   semaphore.NewWeighted(inboundBytes),
	}
	c.client = mqtt.NewClient(c.options(o))
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	connect := c.client.Connect()
	<-connect.Done() // bounded by ctx and by the library's own timeout, both of which close the socket
	if !stop() || connect.Error() != nil {
		c.fail(connect.Error())
		_ = raw.Close()
		c.client.Disconnect(0)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("connect: %w", connect.Error())
	}
	go c.publish()
	c.group.Go(c.await)
	c.group.Go(func() { c.deliver(o.OnMessage) })
	return c, nil
}

func (c *Conn) options(o Options) *mqtt.ClientOptions {
	p := mqtt.NewClientOptions()
	p.Servers = []*url.URL{{Scheme: "tcp", Host: "upstream"}} // never dialled: the connection is given below
	p.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return c.guard, nil })
	p.SetClientID(o.ClientID).SetUsername(o.Username).SetPassword(o.Password).SetCleanSession(o.CleanSession)
	p.SetAutoReconnect(false).SetConnectRetry(false).SetStore(mqtt.NewMemoryStore())
	p.SetAutoAckDisabled(true).SetOrderMatters(true)
	p.SetConnectTimeout(20 * time.Second).SetWriteTimeout(writeTimeout).SetPingTimeout(15 * time.Second)
	p.SetKeepAlive(30 * time.Second)
	if o.KeepAlive > 0 {
		p.SetKeepAlive(o.KeepAlive)
	}
	p.SetProtocolVersion(4)
	if o.Bridge {
		p.SetProtocolVersion(0x84)
	}
	p.SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.fail(err) })
	p.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { c.arrived(m) })
	return p
}

// arrived runs on the library's dispatching goroutine. A flood of QoS 0 is
// dropped and counted; QoS 1 waits a while and then ends the connection,
// unacknowledged, so that upstream keeps it.
func (c *Conn) arrived(m mqtt.Message) {
	size := min(int64(len(m.Payload()))+256, inboundBytes)
	if !c.quota.TryAcquire(size) {
		if m.Qos() == 0 {
			c.drop()
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), stallLimit)
		defer cancel()
		if c.quota.Acquire(ctx, size) != nil {
			c.fail(errors.New("messages from upstream are not taken locally"))
			return
		}
	}
	msg := Message{Topic: m.Topic(), Payload: m.Payload(), QoS: m.Qos(), Retained: m.Retained(), Ack: sync.OnceFunc(m.Ack)}
	select {
	case c.inbox <- msg:
		return
	default:
	}
	if m.Qos() == 0 {
		c.quota.Release(size)
		c.drop()
		return
	}
	t := time.NewTimer(stallLimit)
	defer t.Stop()
	select {
	case c.inbox <- msg:
	case <-c.done:
	case <-t.C:
		c.fail(errors.New("messages from upstream are not taken locally"))
	}
}

func (c *Conn) deliver(f func(Message)) {
	for {
		select {
		case m := <-c.inbox:
			if f != nil {
				f(m)
			}
			c.quota.Release(min(int64(len(m.Payload))+256, inboundBytes))
		case <-c.done:
			return
		}
	}
}

// await completes acknowledgements in the order in which they were asked for.
func (c *Conn) await() {
	for {
		select {
		case t := <-c.pending:
			select {
			case <-t.Done():
			case <-c.done:
			}
			err := c.Err()
			select {
			case <-t.Done():
				err = t.Error()
			default:
			}
			t.acked(err)
			if err != nil {
				c.fail(err)
			}
		case <-c.done:
			for { // complete what was published before the end
				select {
				case t := <-c.pending:
					t.acked(c.Err())
				default:
					if acked := c.hand(nil); acked != nil {
						acked(c.Err())
					}
					return
				}
			}
		}
	}
}

// Publish sends a message at QoS 0 or 1. acked is called exactly once if it returns
// nil. The order of concurrent calls is undefined.
func (c *Conn) Publish(topic string, qos byte, retain bool, payload []byte, acked func(error)) error {
	if len(topic) > 65535 {
		return fmt.Errorf("topic: %w", ErrString)
	}
	select {
	case <-c.done:
		return c.Err()
	default:
	}
	if acked == nil {
		acked = func(error) {}
	}
	select {
	case c.out <- outgoing{topic, min(qos, 1), retain, payload, acked}:
		return nil
	case <-c.done:
		return c.Err()
	}
}

// publish hands to the library what Publish was given, in order.
func (c *Conn) publish() {
	for {
		var o outgoing
		select {
		case o = <-c.out:
		case <-c.done:
			return
		}
		var once sync.Once
		call := func(err error) { once.Do(func() { o.acked(err) }) }
		c.hand(call)
		if err := c.Err(); err != nil {
			call(err) // await may have ended already
			return
		}
		t := c.client.Publish(o.topic, o.qos, o.retain, o.payload)
		select {
		case c.pending <- token{t, call}:
			c.hand(nil)
		case <-c.done:
			return // await has called, or will call, what is in hand
		}
		if err := c.Err(); err != nil {
			call(err) // await may have left already
			return
		}
	}
}

// hand sets c.handing and returns what it was before.
func (c *Conn) hand(acked func(error)) (before func(error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, c.handing = c.handing, acked
	return before
}

// Subscription asks for what matches Filter, with at most QoS (0 or 1).
type Subscription struct {
	Filter string
	QoS    byte
}

// Subscribe subscribes at QoS 1 and returns what was granted (0, 1, or 0x80 refused), filter by filter.
func (c *Conn) Subscribe(ctx context.Context, filters ...string) ([]byte, error) {
	list := make([]Subscription, len(filters))
	for i, f := range filters {
		list[i] = Subscription{f, 1}
	}
	return c.SubscribeAll(ctx, list)
}

// SubscribeAll is Subscribe with a QoS for each filter; no filter may be given twice.
func (c *Conn) SubscribeAll(ctx context.Context, list []Subscription) ([]byte, error) {
	if len(list) == 0 {
		return nil, nil
	}
	c.subscribe.Lock()
	defer c.subscribe.Unlock()
	want := map[string]byte{}
	for _, s := range list {
		if len(s.Filter) > 65535 {
			return nil, fmt.Errorf("filter: %w", ErrString)
		}
		want[s.Filter] = min(s.QoS, 1)
	}
	c.guard.codes.Store(int32(len(want)))
	given := make(chan mqtt.Token, 1)
	go func() { given <- c.client.SubscribeMultiple(want, nil) }()
	var t *mqtt.SubscribeToken
	select {
	case token := <-given:
		var ok bool
		if t, ok = token.(*mqtt.SubscribeToken); !ok {
			return nil, errors.New("subscribe: no token")
		}
	case <-c.done:
		return nil, c.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-t.Done():
	case <-c.done:
		return nil, c.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := t.Error(); err != nil {
		return nil, err
	}
	result := t.Result()
	codes := make([]byte, len(list))
	for i, s := range list {
		code, answered := result[s.Filter]
		if !answered {
			return nil, fmt.Errorf("%w: subscription not answered", ErrHostile)
		}
		codes[i] = code
	}
	return codes, nil
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err is why the connection ended; nil while it lives.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Dropped is how many QoS 0 messages of a flood were not taken.
func (c *Conn) Dropped() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropped
}

func (c *Conn) drop() {
	c.mu.Lock()
	c.dropped++
	c.mu.Unlock()
}

// fail ends the connection; the first reason stays. Safe on any goroutine.
func (c *Conn) fail(err error) {
	if err == nil {
		err = ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.done)
	_ = c.guard.Close()
}

// Close sends DISCONNECT, for which it waits at most a second, and then waits until all
// acknowledgement functions have been called and OnMessage does not run any more. It must
// not be called from an acknowledgement function or OnMessage.
func (c *Conn) Close() {
	_ = c.guard.SetWriteDeadline(time.Now().Add(time.Second))
	if c.Err() == nil {
		c.client.Disconnect(100)
	}
	c.fail(ErrClosed)
	c.client.Disconnect(0)
	c.group.Wait()
}

// Fail ends the connection for a reason found above it: a probe that did not come back.
func (c *Conn) Fail(reason string) { c.fail(errors.New(strings.TrimSpace(reason))) }
