package upstream

import (
	"context"
	"errors"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Storage keeps the outbox on disk. Functions passed as done run after the
// sync, in the order of the calls of Append and Remove, on another goroutine.
type Storage interface {
	// Append stores q, whose number is higher than all before. Nothing of it is changed until done.
	Append(q message.StoredOutgoing, done func(error))
	// Remove forgets messages of a stream; an empty list only keeps its place in the order of done.
	Remove(stream message.StreamID, seqs []uint64, done func(error))
	// Read returns one stored message.
	Read(stream message.StreamID, seq uint64) (message.StoredOutgoing, error)
	// Next returns the first stored messages of a stream with numbers above after
	// and at most upTo, in order: at most count, and none after they have reached so
	// many bytes. One whose record is damaged has no Message.
	Next(stream message.StreamID, after, upTo uint64, count int, bytes int64) ([]message.StoredOutgoing, error)
	// Streams yields every stream in which something is stored.
	Streams(yield func(message.StoredStream) error) error
}

// Connector is the link to what is upstream.
type Connector interface {
	// Lane names the connection that carries the messages of a device ("" as
	// device: of nobody in particular). Quick; asked again before each connection.
	Lane(device string) string
	// Connect waits until the lane has a connection over which an end-to-end
	// probe came back. It retries by itself and returns an error only when ctx
	// ends or the lane can never be connected as things are.
	Connect(ctx context.Context, lane string) (Conn, error)
}

// Conn is one connection. It is used by one goroutine.
type Conn interface {
	// Send hands m over. acked is called exactly once if Send returns nil: with
	// nil when upstream has acknowledged m, with an error when the connection
	// ended before. ErrUnsendable: m can never be sent over such a link.
	Send(topic string, m *message.Message, acked func(error)) error
	// Done is closed when the connection is lost.
	Done() <-chan struct{}
	// Release says that nothing more will be sent for now. broken: upstream
	// takes messages and does not acknowledge them; the connection must end.
	Release(broken bool)
}

// ErrUnsendable is the error of a message that upstream can never take: it is
// dropped and counted, because trying again would end each connection.
var ErrUnsendable = errors.New("upstream can never take this message")
