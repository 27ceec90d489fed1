// Package downlink serves the devices behind this gateway from an IoT Hub: it
// holds a session at the hub for each connected device that can have one, and
// brings twins, direct methods and cloud-to-device messages down to them.
// Telemetry goes the other way, through the outbox, over the same sessions
// (Link.Connector).
//
// Nothing that comes down is passed on undecided. A cloud-to-device message is
// published as Options.As and decided like any publish; a direct method is decided as
// the cloud-to-device message that it stands for; twins are decided by Options.Twins.
//
// Handlers run on the connections' readers and never wait. Run ends after the
// methods under way have.
package downlink

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/sas"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/upstream"
	"github.com/gatehouse/gatehouse/gateway/upstream/iothub"
)

// Twins takes what the hub says about a device's twin, and answers direct
// methods. Twin and DesiredPatch do not wait.
type Twins interface {
	// Twin gets the whole twin document after each connect.
	Twin(device string, body []byte)
	// DesiredPatch gets a change of the desired properties.
	DesiredPatch(device string, patch []byte)
	// Method invokes a direct method and returns the device's answer, or an
	// HTTP status of our own making when there is none before ctx ends.
	Method(ctx context.Context, device, name string, payload []byte) (status int, body []byte)
}

// Options of New. All but PerDevice and Log are needed.
type Options struct {
	// Hub says how the hub is reached. Keys, Sign and Handlers are set by New.
	Hub iothub.Options
	// PerDevice gives a device whose symmetric key is known here a session of
	// its own at the hub; otherwise all ride on the gateway's own identity.
	PerDevice bool
	// Topology is the registry in force.
	Topology func() *device.Topology
	// As is the principal by which everything that comes down is decided.
	As *principal.Principal
	// May decides whether As may publish the message.
	May func(m *message.Message) message.Verdict
	// Publish publishes a message, decided like any other. done gets nil or a
	// *message.Refused, on any goroutine.
	Publish func(m *message.Message, done func(error))
	// Twins returns the receiver of twins and methods. It is a function because that
	// receiver is built after this Link, which it needs.
	Twins func() Twins
	// Audit takes the decision about each direct method.
	Audit func(message.AuditRecord)
	Now   func() time.Time
	Log   *slog.Logger
}

// Link is the way down from the hub. It implements the broker's Presence and
// the Upstream of twins. Safe for concurrent use.
type Link struct {
	o   Options
	hub *iothub.Hub

	methods chan struct{}   // one place for each method under way
	working sync.WaitGroup  // methods under way, and devices whose commands are offered again
	ctx     context.Context // of Run; set before the hub's handlers run

	mu       sync.Mutex
	here     map[string]int                   // device → its connections; guarded by mu
	held     map[string]func()                // device → release of its session; guarded by mu
	commands map[string][]iothub.CloudMessage // device → what waits for it, oldest first; guarded by mu
}

// New checks the options and starts nothing.
func New(o Options) (*Link, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Link{
		o:        o,
		methods:  make(chan struct{}, maxMethods),
		ctx:      context.Background(),
		here:     map[string]int{},
		held:     map[string]func(){},
		commands: map[string][]iothub.CloudMessage{},
	}
	o.Hub.Keys = l.key
	o.Hub.Sign = func(hub, dev string, key []byte, expiry time.Time) string {
		return sas.Issue(sas.Device(hub, dev), key, expiry)
	}
	o.Hub.Handlers = iothub.Handlers{
		Twin:    func(dev string, body []byte) { o.Twins().Twin(dev, body) },
		Desired: func(dev string, _ int64, patch []byte) { o.Twins().DesiredPatch(dev, patch) },
		Method:  l.method,
		Cloud:   l.cloud,
	}
	var err error
	l.hub, err = iothub.New(o.Hub)
	return l, err
}

// Connector sends the outbox's messages to the hub, over the same sessions.
func (l *Link) Connector() upstream.Connector { return l.hub }

// key yields the symmetric key of a downstream device, if Options.PerDevice is set.
func (l *Link) key(id string) ([]byte, bool) {
	if !l.o.PerDevice {
		return nil, false
	}
	dev, ok := l.o.Topology().DeviceByHubID(id)
	if !ok || dev.Status != device.Active || dev.Auth.Kind != device.AuthSAS || len(dev.Auth.Primary) == 0 {
		return nil, false
	}
	return dev.Auth.Primary, true
}

// Run keeps the sessions until ctx ends.
func (l *Link) Run(ctx context.Context) error {
	l.ctx = ctx
	defer l.working.Wait()
	return l.hub.Run(ctx)
}

// Arrived implements the broker's Presence.
func (l *Link) Arrived(p *principal.Principal) {
	if p.Kind != principal.Device {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.here[p.DeviceID]++
	l.match(p.DeviceID)
}

// Left implements the broker's Presence.
func (l *Link) Left(p *principal.Principal) {
	if p.Kind != principal.Device {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.here[p.DeviceID]--; l.here[p.DeviceID] > 0 {
		return
	}
	delete(l.here, p.DeviceID)
	l.match(p.DeviceID)
}

// RegistryChanged is to be called after a change of the registry: a connected
// device may have got a key, and a session with it, or lost both.
func (l *Link) RegistryChanged() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.here {
		l.match(id)
	}
}

// match holds a session for the device if it is connected and can have one, and
// releases the one that it has otherwise. It is called with l.mu held.
func (l *Link) match(id string) {
	var session *iothub.Session
	if l.here[id] > 0 {
		session, _ = l.hub.Session(id) // on an error session is nil: the device uses the gateway's own session
	}
	switch release := l.held[id]; {
	case session != nil && release == nil:
		l.held[id] = session.Hold()
	case session == nil && release != nil:
		release()
		delete(l.held, id)
	}
}

// Echo is iothub.Hub.Echo.
func (l *Link) Echo(ctx context.Context) (time.Duration, error) { return l.hub.Echo(ctx) }

// Throttled is iothub.Hub.Throttled.
func (l *Link) Throttled() time.Time { return l.hub.Throttled() }

// Status is "connected" or "connecting", with a detail for operators: how many
// sessions are up, or the last error.
func (l *Link) Status() (state, detail string, since time.Time) {
	s := l.hub.Status()
	if s.GatewayUp {
		return "connected", fmt.Sprintf("%d of %d device sessions up", s.Up, s.Sessions), s.Since
	}
	return "connecting", s.LastError, s.Since
}
