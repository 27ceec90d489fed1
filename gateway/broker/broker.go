package broker

import (
	"context"
	"errors"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Broker carries MQTT.
type Broker struct {
	o Options
}

// ErrOptions is what New returns for options that cannot work.
var ErrOptions = errors.New("broker: bad options")

// New makes a broker; it does no I/O and starts nothing.
func New(o Options) (*Broker, error) { return &Broker{o: o.withDefaults()}, nil }

// Run loads what survived, serves the listeners until ctx ends, and closes everything.
func (b *Broker) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Publish carries a message of the gateway itself or of an upstream link; m.Publisher is set.
func (b *Broker) Publish(m *message.Message, done func(error)) {}

// Send delivers m privately to the connected sessions of that principal that
// hold a matching private subscription; it returns how many.
func (b *Broker) Send(principalKey string, m *message.Message) int { return 0 }

// SendSession is Send to one session, by the key that Services got.
func (b *Broker) SendSession(session string, m *message.Message) bool { return false }

// Recheck decides everything again of the sessions and publishers that match.
func (b *Broker) Recheck(ctx context.Context, match func(*principal.Principal) bool) (Report, error) {
	return Report{}, nil
}

// Disconnect closes the connections of a principal; it returns how many.
func (b *Broker) Disconnect(principalKey string, code byte, reason string) int { return 0 }

// Forget deletes every session, will, queued and retained message of a deleted principal.
func (b *Broker) Forget(principalKey string) int { return 0 }

// Ready is closed once the listeners are served.
func (b *Broker) Ready() <-chan struct{} { return nil }

// Ping does a round trip through the message plane, for the watchdog.
func (b *Broker) Ping(ctx context.Context) error { return nil }

// Sessions lists them in order of their key.
func (b *Broker) Sessions() []SessionInfo { return nil }

// Stats returns the counters.
func (b *Broker) Stats() Stats { return Stats{} }
