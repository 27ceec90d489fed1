// Package hub is a development IoT Hub: MQTT 3.1.1 over TLS with IoT Hub's
// topics and rules (docs/spec/device-update.md 5), enough to be the far end of
// a gateway on one machine. It is no broker: nothing that one identity
// publishes is ever delivered to another.
//
// Everything lives in memory and ends with the process; telemetry is kept up
// to Options.KeepTelemetry messages, counts are exact. All methods are safe
// for concurrent use. What one identity is sent, it is sent in the order in
// which it happened; a connection that does not read is closed, it never makes
// others wait. New starts nothing; Run owns every goroutine and returns when
// all have ended.
package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math"
	"net"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/gatehouse/gatehouse/device/update/manifest/manifesttest"
)

// ID names a device, or a module of one.
type ID struct{ Device, Module string }

// String is the MQTT client id of the identity.
func (id ID) String() string {
	if id.Module == "" {
		return id.Device
	}
	return id.Device + "/" + id.Module
}

// Identity is how a device or module proves itself. What is empty proves nothing.
type Identity struct {
	Keys        [][]byte       // SAS: primary and secondary, decoded
	Thumbprints [][32]byte     // SHA-256 of self-signed certificates
	CA          *x509.CertPool // vouches for a certificate whose CN is the device id
}

// Options of a hub.
type Options struct {
	// Host is the hub's name as devices spell it in user names and SAS tokens.
	Host string
	// Listen opens the MQTT listener when Run starts; the hub adds TLS.
	Listen func() (net.Listener, error)
	// TLS carries the server certificate; client certificates are asked for
	// and judged against the identity.
	TLS *tls.Config
	// Lookup says whether an identity exists, is enabled, and how it proves
	// itself. It is called at every CONNECT and must not block.
	Lookup func(ID) (Identity, bool)
	// Signer signs the updates of Deploy; nil: only ready-made ones.
	Signer *manifesttest.Authority
	// KeepTelemetry bounds the telemetry messages kept for reading; 0: 100,000.
	KeepTelemetry int
	Log           *slog.Logger     // nil: discarded
	Now           func() time.Time // nil: time.Now
}

// The refusals of the hub's own API.
var (
	ErrUnknown      = errors.New("no such device or module")
	ErrNotConnected = errors.New("not connected")
	ErrTimeout      = errors.New("no answer in time")
	ErrInvalid      = errors.New("invalid")
)

// Hub is the development IoT Hub.
type Hub struct {
	o   Options
	log *slog.Logger

	ready chan struct{} // closed when the listener is open
	addr  net.Addr      // set before ready is closed

	mu      sync.Mutex
	entries map[ID]*entry // every identity that was ever used; guarded by mu
	tele    telemetry     // guarded by mu
	nextRID uint64        // guarded by mu
}

// New prepares a hub; nothing runs yet.
func New(o Options) *Hub {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.KeepTelemetry == 0 {
		o.KeepTelemetry = 100_000
	}
	h := &Hub{o: o, log: o.Log, ready: make(chan struct{}), entries: map[ID]*entry{}}
	h.tele.init(o.KeepTelemetry)
	return h
}

// Ready is closed once the listener is open; Addr is valid from then on.
func (h *Hub) Ready() <-chan struct{} { return h.ready }

// Addr is the address of the MQTT listener.
func (h *Hub) Addr() net.Addr { return h.addr }

// Run serves until ctx ends or the listener cannot be opened. It may be called once.
func (h *Hub) Run(ctx context.Context) error {
	ln, err := h.o.Listen()
	if err != nil {
		return err
	}
	c := mqtt.NewDefaultServerCapabilities()
	c.MaximumPacketSize = 256<<10 + 4096 // device-to-cloud: 256 KB (docs/spec/device-update.md 5.4)
	c.MaximumQos = 1
	c.MinimumProtocolVersion = 4
	c.MaximumClientWritesPending = 16 // small, because the server's queue is not used: conn writes
	c.TopicAliasMaximum = 0
	c.RetainAvailable = 0
	server := mqtt.New(&mqtt.Options{
		Capabilities:           c,
		SysTopicResendInterval: math.MaxInt32,
		// Its log carries whole packets, payloads and passwords included.
		Logger: slog.New(slog.DiscardHandler),
	})
	if err := server.AddHook(&hook{hub: h, server: server}, nil); err != nil {
		_ = ln.Close()
		return err
	}
	l := newListener(ln, h.o.TLS, h.log)
	if err := server.AddListener(l); err != nil {
		_ = ln.Close()
		return err
	}
	if err := server.Serve(); err != nil {
		_ = ln.Close()
		return err
	}
	h.addr = ln.Addr()
	close(h.ready)
	h.log.Info("development IoT Hub listens", "addr", h.addr.String(), "host", h.o.Host)
	<-ctx.Done()
	// Connections first: the server's own Close waits for their goroutines.
	l.stop()
	_ = server.Close()
	return nil
}

// entry is the state of one identity; guarded by Hub.mu.
type entry struct {
	desired, reported properties
	conn              *conn
	subs              map[string]byte // filter -> QoS; survives a reconnect without clean session
	c2d               []c2d
	deployment        *Deployment // the last one created by Deploy, for Retry
	methods           map[string]chan methodResult
}

// entryOf is the state of an identity, made at first use. Called with mu held.
func (h *Hub) entryOf(id ID) *entry {
	e := h.entries[id]
	if e == nil {
		e = &entry{desired: emptyProperties(), reported: emptyProperties(), subs: map[string]byte{}, methods: map[string]chan methodResult{}}
		h.entries[id] = e
	}
	return e
}

// known is entryOf for the service side: only for identities that exist.
func (h *Hub) known(id ID) error {
	if _, ok := h.o.Lookup(id); !ok {
		return ErrUnknown
	}
	return nil
}

// Connected tells whether an identity has a live connection.
func (h *Hub) Connected(id ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.entries[id]
	return e != nil && e.conn != nil
}

// Drop closes the connection of an identity, as an operator or a network
// would; false when there is none.
func (h *Hub) Drop(id ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.entries[id]
	if e == nil || e.conn == nil {
		return false
	}
	e.conn.close()
	return true
}
