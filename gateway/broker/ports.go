package broker

import (
	"context"

	"github.com/gatehouse/gatehouse/gateway/broker/plane"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// The contracts of these stand in package session, which asks most of them.
type (
	// Access opens the rights of a principal.
	Access = session.Access
	// Rights answers for one principal.
	Rights = session.Rights
	// Auditor keeps records of decisions.
	Auditor = session.Auditor
	// Overflow is what a session whose queue is full gives up.
	Overflow = session.Overflow
)

// The policies of Overflow.
const (
	DropOldest = session.DropOldest
	DropNewest = session.DropNewest
	EndSession = session.Disconnect
)

// Vault stores what must survive a restart, with one interface for each kind. A kind
// whose interface is nil is kept in memory only. One store implements them all, and
// completes operations in the order in which they were submitted (session.Sessions).
type Vault struct {
	Sessions session.Sessions
	Queues   session.Queues
	Pages    session.Pages // reads back what Queues stored; nil: queues are also kept in memory
	Retained plane.Retained
	Wills    Wills
}

// Wills stores the wills of connections that are up or whose delay runs. done may be
// nil; for when and where it runs, see session.Sessions.
type Wills interface {
	LoadWills(yield func(message.StoredWill) error) error // in order of ID
	SaveWill(w message.StoredWill, done func(error))
	DeleteWill(id uint64, done func(error))
}

// Authenticator proves who is at the other end.
type Authenticator interface {
	// Authenticate proves c, or refuses it with a *principal.Refusal; any
	// other error refuses as well. It must not block on a network. c and what
	// it points at may not be kept.
	Authenticate(ctx context.Context, c *principal.Credentials) (*principal.Principal, error)
}

// Services answers the publishes that are requests to the gateway itself: those
// whose row of the topic map is handled neither as Fanout, Telemetry nor CloudToDevice.
type Services interface {
	// Handle calls done exactly once, on any goroutine, with the reason code
	// of the acknowledgement. session is the key for Broker.SendSession. It
	// must not hold up the caller, which is the connection's reader.
	Handle(p *principal.Principal, session string, m *message.Message, done func(code byte))
}

// Presence is told when a principal's connection is let in and when it has ended.
// Neither function may wait: the caller is the connection's reader. While one
// connection of a principal takes over from another, both are there; an implementer
// counts them, and the principal is connected while the count is above 0.
type Presence interface {
	// Arrived is called once for each connection that is let in, before anything is received from it.
	Arrived(p *principal.Principal)
	// Left is called once for each connection for which Arrived was, after its end.
	Left(p *principal.Principal)
}

// Outbox stores the messages that go upstream.
type Outbox interface {
	// Offer takes m if a route sends it upstream; false if there is no route, and
	// then done is not called. done(nil) runs once m is durable, done(err) with a
	// *message.Refused if nothing of m is kept. done is nil for QoS 0, which is not
	// acknowledged. If the outbox is full, m is refused when wait is nil, and waits
	// for capacity otherwise. Offer is called in the order in which each publisher
	// published; done runs on another goroutine, and in the same order for the
	// messages that do not wait.
	Offer(m *message.Message, wait *message.Wait, done func(error)) bool
}
