package session

import (
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Access opens the rights of a principal: once for each connection, for each
// session that is loaded, and for each publisher of a stored message.
type Access interface {
	// Open is cheap and never fails: a principal without rights gets Rights
	// that deny everything.
	Open(p *principal.Principal) Rights
}

// Rights answers for one principal, always by the present policy. It is safe for
// concurrent use, and never blocks or does I/O, because it is asked with a
// Session.mu held.
type Rights interface {
	Connect() message.Verdict
	// Publish fills in Verdict.Route when it allows.
	Publish(topic string, m *message.Message) message.Verdict
	Will(topic string) message.Verdict
	// Subscribe gets the filter as the client wrote it, $share included.
	Subscribe(filter string) message.Verdict
	// Deliver tells whether this principal may receive m now.
	Deliver(m *message.Message) bool
}

// Sessions stores what must survive a restart of sessions, except their queues.
//
// Here and in Queues, every done may be nil. It runs when the operation is durable
// or has failed, in the order in which operations were submitted to either, on a
// goroutine of the store or before the method returns: both are one store, so that
// a session is never durable without what was queued for it before.
type Sessions interface {
	LoadSessions(yield func(message.StoredSession) error) error
	SaveSession(r message.StoredSession, done func(error)) // without InboundQoS2
	DeleteSession(key string, done func(error))            // with its queue and InboundQoS2
	Receive(session string, id uint16, done func(error))   // adds to InboundQoS2
	Release(session string, id uint16, done func(error))   // removes from it
}

// Queues stores what waits for the clients of sessions.
type Queues interface {
	LoadQueue(session string, yield func(message.StoredDelivery) error) error // in order of Seq
	Enqueue(session string, q message.StoredDelivery, done func(error))
	Update(session string, q message.StoredDelivery, done func(error)) // PacketID and Released of an existing Seq
	Dequeue(session string, seqs []uint64, done func(error))
}

// Pages reads in queues that Queues stores, at any time. It does not block for longer
// than a disk takes.
type Pages interface {
	// ReadQueue reads the deliveries of these numbers, which rise. What is not there is
	// left out; what cannot be read has no Message.
	ReadQueue(session string, seqs []uint64) ([]message.StoredDelivery, error)
}

// Auditor keeps records of decisions. It must not block.
type Auditor interface {
	Audit(message.AuditRecord)
}
