package upstream

import (
	"context"
	"errors"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Storage keeps the outbox on disk. Functions passed as done run after the
// sync, in the order of the calls of Append and Remove, on another goroutine.
type Storage interface {
	// Append stores q, whose Seq is higher than that of all before. Nobody changes q until done runs.
	Append(q message.StoredOutgoing, done func(error))
	// Remove deletes messages of a stream. With an empty list it only runs done, in its place in the order.
	// Without done it may become durable later: a power cut then has the messages sent again.
	Remove(stream message.StreamID, seqs []uint64, done func(error))
	// Read returns one stored message.
	Read(stream message.StreamID, seq uint64) (message.StoredOutgoing, error)
	// Next returns the first stored messages of a stream whose Seq is above after and
	// at most upTo, in order: at most count of them, and no further one once their
	// sizes add up to bytes or more. A message whose record is damaged has a nil Message.
	Next(stream message.StreamID, after, upTo uint64, count int, bytes int64) ([]message.StoredOutgoing, error)
	// Streams yields every stream in which something is stored.
	Streams(yield func(message.StoredStream) error) error
}

// Connector makes connections upstream.
type Connector interface {
	// Lane names the connection that carries the messages of a device; device is ""
	// for messages that concern none. Lane must not block, because it is called with
	// Outbox.mu held. It is asked again before each connection.
	Lane(device string) string
	// Connect waits until the lane has a connection over which an end-to-end
	// probe came back. It retries by itself and returns an error only when ctx
	// ends or the lane can never be connected as things are.
	Connect(ctx context.Context, lane string) (Conn, error)
}

// Conn is one connection. It is used by one goroutine.
type Conn interface {
	// Send sends m. If it returns nil, acked is called exactly once: with nil when
	// upstream has acknowledged m, with an error when the connection has ended before.
	// ErrUnsendable means that m can never be sent over such a link.
	Send(topic string, m *message.Message, acked func(error)) error
	// Done is closed when the connection is lost.
	Done() <-chan struct{}
	// Release says that nothing more will be sent for now. broken tells that upstream
	// does not acknowledge what it was sent: the connection must end.
	Release(broken bool)
}

// ErrUnsendable is the error of a message that upstream can never take: it is
// dropped and counted, because trying again would end each connection.
var ErrUnsendable = errors.New("upstream can never take this message")
