package upstream

import (
	"context"
	"errors"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Storage keeps the outbox on disk. Functions passed as done run after the
// sync, in the order of the calls of Append and Remove, on another goroutine.
type Storage interface {
	// Append stores m under seq, which is new and higher than all before. m is not changed until done.
	Append(seq uint64, route, topic string, m *message.Message, done func(error))
	// Remove forgets messages; an empty list only keeps its place in the order of done.
	Remove(seqs []uint64, done func(error))
	// Read returns one stored message.
	Read(seq uint64) (route, topic string, m *message.Message, err error)
	// Load yields everything stored in order of seq; size is what a record occupies in bytes.
	Load(yield func(seq uint64, route, topic string, size int, m *message.Message) error) error
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
