// Package mqttbroker links the gateway to any MQTT 3.1.1 broker: one
// connection, topics mapped both ways.
//
// A connection counts as up only after an end-to-end probe: a random message
// published to the probe topic came back through the broker. The probe is
// repeated; one that does not return ends the connection. To a bridge a broker
// sends nothing back, so there the probe is a QoS 1 message that the broker
// must acknowledge.
//
// Order: what goes up keeps the order of Send; what comes down is handed to
// Receive in order of arrival, and acknowledged to the broker after Receive's
// done. Failure: every failure ends the connection, and Run opens the next one
// after a full-jitter pause. Nothing here ever blocks the gateway's start.
package mqttbroker

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic/mapping"
	"github.com/gatehouse/gatehouse/gateway/upstream"
	"github.com/gatehouse/gatehouse/gateway/upstream/mqttconn"
)

// Receive publishes a message from upstream in the gateway, decided like any publish.
// It is acknowledged to the broker after done(nil), and after an error that is final
// (message.Final) or says that a receiver's queue is full (message.QuotaExceeded).
// After any other error the broker keeps it, and sends it again.
type Receive func(m *message.Message, done func(error))

// Options of New.
type Options struct {
	URL                string // mqtt://host:port, mqtts://host:port, ws://host:port/path or wss://host:port/path
	ClientID, Username string
	// Password is asked before each connection, so that it can be renewed. Nil: none.
	Password func() (string, error)
	TLS      *tls.Config // for mqtts and wss; nil: the system's roots and the URL's host
	// Files gives TLS anew before each connection, from files that may be renewed, or absent for a while:
	// with an error no connection is made, and Files is asked again after a moment. Nil: TLS is used.
	Files func() (*tls.Config, error)
	// KeepAlive is the interval of MQTT's keep-alive; 0: 30 s.
	KeepAlive time.Duration
	// Dial opens the TCP connection. Nil: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Down are the topics taken from upstream: the first rule that takes a
	// message gives its topic here. What no rule takes is not taken in.
	Down    []mapping.Rule
	Receive Receive
	// Principal is the publisher of messages from upstream; its Kind must be
	// principal.Upstream.
	Principal *principal.Principal
	// Routes are the outbox's, for the loop check.
	Routes []upstream.Route
	// ProbeTopic is where the probe goes; "" is gatehouse/{client id}/probe.
	ProbeTopic string
	// ProbeEvery is how often the probe is repeated; 0: one minute.
	ProbeEvery time.Duration
	// Bridge says to the broker that this is a bridge, by a bit of CONNECT that
	// mosquitto and others know and MQTT 3.1.1 does not. Such a broker sends
	// nothing back that came from here, and leaves the RETAIN flag on what it
	// sends, so that what is retained there is kept and deleted here. One that
	// does not know the bit refuses the connection.
	Bridge    bool
	MaxPacket int
	Log       *slog.Logger
}

// Status of the link.
type Status struct {
	Up        bool
	Since     time.Time // of Up
	LastError string
	Connects  uint64
	Received  uint64            // messages from upstream handed on
	Ignored   map[string]uint64 // messages from upstream not taken, by reason
}

// Link is the link; it implements upstream.Connector.
type Link struct {
	opt Options
	at  endpoint
	tls *tls.Config // of the connection that is made; set by connect, before it dials

	mu     sync.Mutex
	conn   *mqttconn.Conn // guarded by mu; nil while down
	change chan struct{}  // guarded by mu; closed when conn changes
	status Status         // guarded by mu

	probing chan struct{} // holds a value during a round trip, because there is one channel for its answer
	probe   chan string   // nonces of probes that came back
}

// New checks the options and starts nothing.
func New(o Options) (*Link, error) {
	at, err := parse(o.URL)
	if err != nil {
		return nil, err
	}
	if o.ClientID == "" {
		return nil, errors.New("upstream client id: missing; it names this gateway's session at the broker")
	}
	if o.Principal == nil || o.Principal.Kind != principal.Upstream {
		return nil, errors.New("upstream principal: missing; messages from upstream are published as one")
	}
	if o.ProbeTopic == "" {
		o.ProbeTopic = "gatehouse/" + o.ClientID + "/probe"
	}
	if o.ProbeEvery <= 0 {
		o.ProbeEvery = time.Minute
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if err := checkTopics(o); err != nil {
		return nil, err
	}
	l := &Link{opt: o, at: at, change: make(chan struct{}), probing: make(chan struct{}, 1), probe: make(chan string, 4)}
	l.status.Ignored = map[string]uint64{}
	return l, nil
}

// Run keeps the link connected until ctx ends.
func (l *Link) Run(ctx context.Context) error {
	back := upstream.NewBackoff()
	for ctx.Err() == nil {
		conn, err := l.connect(ctx)
		if err == nil {
			up := time.Now()
			err = l.hold(ctx, conn)
			if time.Since(up) >= upstream.Lasting {
				back.Reset()
			}
		}
		if ctx.Err() != nil || err == nil {
			break
		}
		if l.failed(err) {
			l.opt.Log.Warn("the link upstream is down", "address", l.at.address, "err", err)
		}
		upstream.Pause(ctx, &back, err)
	}
	return nil //nolint:nilerr // the end of ctx is how Run ends
}

func (l *Link) connect(ctx context.Context) (*mqttconn.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := l.ready(); err != nil {
		return nil, err
	}
	password := ""
	if l.opt.Password != nil {
		var err error
		if password, err = l.opt.Password(); err != nil {
			return nil, fmt.Errorf("password: %w", err)
		}
	}
	conn, err := mqttconn.Connect(ctx, mqttconn.Options{
		Dial:      l.dial,
		ClientID:  l.opt.ClientID,
		Username:  l.opt.Username,
		Password:  password,
		Bridge:    l.opt.Bridge,
		KeepAlive: l.opt.KeepAlive,
		MaxPacket: l.opt.MaxPacket,
		OnMessage: l.arrived,
	})
	if err != nil {
		if l.opt.Bridge && errors.Is(err, packets.ErrorRefusedBadProtocolVersion) {
			err = fmt.Errorf("%w: this broker does not know bridges; set upstream.mqtt.bridge: off", err)
		}
		return nil, err
	}
	if err := l.prove(ctx, conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// ready reads what TLS needs.
func (l *Link) ready() error {
	if !l.at.secure {
		return nil
	}
	given := l.opt.TLS
	if l.opt.Files != nil {
		var err error
		if given, err = l.opt.Files(); err != nil {
			return &upstream.Unready{Err: err}
		}
	}
	l.tls = l.at.tls(given)
	return nil
}

// failed notes why there is no connection. It tells whether that is worth a line in the log: files that
// cannot be used are looked at every few seconds.
func (l *Link) failed(err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	same := l.status.LastError == err.Error()
	l.status.LastError = err.Error()
	return !same || !errors.As(err, new(*upstream.Unready))
}

// prove probes a new connection and then subscribes. The probe comes first: until it
// has returned, it is not known that messages pass through the broker.
func (l *Link) prove(ctx context.Context, conn *mqttconn.Conn) error {
	if !l.opt.Bridge {
		codes, err := conn.Subscribe(ctx, l.opt.ProbeTopic)
		if err == nil && codes[0] > 1 {
			err = fmt.Errorf("the broker refuses the probe topic %s", l.opt.ProbeTopic)
		}
		if err != nil {
			return err
		}
	}
	if err := l.roundTrip(ctx, conn); err != nil {
		return err
	}
	wanted := subscriptions(l.opt.Down)
	codes, err := conn.SubscribeAll(ctx, wanted)
	if err != nil {
		return err
	}
	for i, c := range codes {
		if c > 1 {
			l.opt.Log.Warn("the broker refuses a subscription", "filter", wanted[i].Filter)
		}
	}
	return nil
}

// Echo publishes a probe over the connection that there is, and returns how long it took to come back
// (with Bridge: to be acknowledged). It makes no connection.
func (l *Link) Echo(ctx context.Context) (time.Duration, error) {
	l.mu.Lock()
	conn, last := l.conn, l.status.LastError
	l.mu.Unlock()
	if conn == nil {
		return 0, fmt.Errorf("the link upstream is down: %s", cmp.Or(last, "it has not connected yet"))
	}
	began := time.Now()
	err := l.roundTrip(ctx, conn)
	return time.Since(began), err
}

// roundTrip publishes a probe and waits for it.
func (l *Link) roundTrip(ctx context.Context, conn *mqttconn.Conn) error {
	select {
	case l.probing <- struct{}{}:
		defer func() { <-l.probing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	var b [16]byte
	_, _ = rand.Read(b[:])
	nonce := hex.EncodeToString(b[:])
	if l.opt.Bridge {
		return l.acknowledged(ctx, conn, nonce)
	}
	if err := conn.Publish(l.opt.ProbeTopic, 0, false, []byte(nonce), nil); err != nil {
		return err
	}
	for {
		select {
		case got := <-l.probe:
			if got == nonce {
				return nil
			}
		case <-conn.Done():
			return conn.Err()
		case <-ctx.Done():
			return errors.New("the probe did not come back: connected, but not end to end")
		}
	}
}

// acknowledged publishes a probe at QoS 1 and waits for the broker's PUBACK.
func (l *Link) acknowledged(ctx context.Context, conn *mqttconn.Conn, nonce string) error {
	acked := make(chan error, 1)
	if err := conn.Publish(l.opt.ProbeTopic, 1, false, []byte(nonce), func(err error) { acked <- err }); err != nil {
		return err
	}
	select {
	case err := <-acked:
		return err
	case <-conn.Done():
		return conn.Err()
	case <-ctx.Done():
		return errors.New("the probe was not acknowledged: connected, but not end to end")
	}
}

// hold makes conn the link's connection and probes it until it ends.
func (l *Link) hold(ctx context.Context, conn *mqttconn.Conn) error {
	l.set(conn)
	defer func() {
		l.set(nil)
		conn.Close()
	}()
	tick := time.NewTicker(l.opt.ProbeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-conn.Done():
			return conn.Err()
		case <-tick.C:
			if err := l.roundTrip(ctx, conn); err != nil {
				return err
			}
		}
	}
}

func (l *Link) set(conn *mqttconn.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
	l.status.Up, l.status.Since = conn != nil, time.Now()
	if conn != nil {
		l.status.Connects++
		l.status.LastError = ""
	}
	close(l.change)
	l.change = make(chan struct{})
}

// Status is a copy of the link's state.
func (l *Link) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.status
	s.Ignored = map[string]uint64{}
	for k, v := range l.status.Ignored {
		s.Ignored[k] = v
	}
	return s
}
