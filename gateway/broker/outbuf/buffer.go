// Package outbuf is the one ordered way out of a connection. Acks and control
// frames, what the embedded library writes and what the message plane
// delivers all go through one Buffer: in the order in which they were
// appended, with one write per wake-up, by a writer that exists only while
// there is something to write.
//
// Bounds. Messages are taken while fewer than Limit bytes are encoded ahead
// (what the writer holds included); acks and control frames beyond that, and
// their sources stop when Overfull. Nothing here ever blocks, except WaitCapacity
// and WaitControl, which say how long.
//
// Revocation. Frames that carry a message keep their place and the message,
// so that Cut can take them out again before the kernel has them. What a write
// in progress holds cannot be cut; Cut names it, to wait for.
//
// Failure. A failed or timed-out write ends the connection: Done is closed
// and everything later is refused. A Buffer is safe for concurrent use. Of the
// callbacks only encode and deny run with Buffer.mu held.
package outbuf

import (
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Conn is what is written to. Close may flush and say goodbye within a bound
// of its own; Abort never waits.
type Conn interface {
	Write([]byte) (int, error)
	SetWriteDeadline(time.Time) error
	Close() error
	Abort() error
}

// Config of a Buffer. The durations must be positive.
type Config struct {
	Limit   int           // bytes of messages encoded ahead
	Reserve int           // bytes beyond Limit for acks and control frames; with more, Overfull is true
	Write   time.Duration // a write without progress for this long ends the connection
	Stall   time.Duration // how long publishers wait in all while the buffer stays full
	// Drained, if set, is called by the writer after a write, if the buffer then has capacity.
	Drained func()
	// Writers counts the running writers, if set.
	Writers *sync.WaitGroup
	// Wrote, if set, counts bytes given to the kernel.
	Wrote func(n int)
}

// Owner is a value of the caller that says which delivery a frame carries. The Buffer
// only returns it, from Cut.
type Owner any

// mark says which bytes of a chunk are a frame that carries a message.
type mark struct {
	from, to int // offsets in chunk.b
	m        *message.Message
	owner    Owner
}

// chunk holds the frames that one write gives to the kernel.
type chunk struct {
	b     []byte
	marks []mark
}

// Buffer is the way out of one connection.
type Buffer struct {
	c   Config
	dst Conn

	mu       sync.Mutex    // guards the fields down to mayAlias
	pending  chunk         // appended, not yet with the writer
	busy     chunk         // with the writer
	writing  chan struct{} // closed when the write in progress is over; nil: there is none
	running  bool          // a writer runs
	corked   bool          // no writer starts until Uncork
	closing  bool          // Close was called: what is pending is flushed
	closed   bool          // nothing is written any more
	freed    chan struct{} // closed when there is capacity again; nil: nobody waits
	stallEnd time.Time     // until when publishers wait for the buffer, which is full; zero: none has waited since it drained
	deadline time.Time     // the write deadline that is set
	aliases  *aliases      // nil before the first message that may get one
	mayAlias uint16        // see AllowAliases

	done chan struct{}
}

// New makes a buffer in front of dst; it starts nothing.
func New(dst Conn, c Config) *Buffer {
	return &Buffer{c: c, dst: dst, done: make(chan struct{})}
}

// Done is closed once the connection is closed and no new writer will start.
func (b *Buffer) Done() <-chan struct{} { return b.done }

// ahead is how many bytes are encoded and not with the kernel yet; b.mu is held.
func (b *Buffer) ahead() int { return len(b.pending.b) + len(b.busy.b) }

// HasCapacity tells whether a message would be taken now.
func (b *Buffer) HasCapacity() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.closed && !b.closing && b.ahead() < b.c.Limit
}

// Message appends a frame that carries m. encode appends it to the bytes that it is given, with its
// topic named as al says, and returns them; it may be called twice. max is the client's maximum
// packet size, or 0.
func (b *Buffer) Message(m *message.Message, owner Owner, max int, encode func(to []byte, al Alias) []byte) Result {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.closing {
		return Closed
	}
	if b.ahead() >= b.c.Limit {
		return Full
	}
	b.ready()
	from := len(b.pending.b)
	al := Alias{}
	if b.mayAlias > 0 {
		al = b.alias(m.Topic)
	}
	b.pending.b = encode(b.pending.b, al)
	if max > 0 && len(b.pending.b)-from > max && al.Number > 0 && !al.Alone { // it may fit without the alias beside the topic
		al = Alias{}
		b.pending.b = encode(b.pending.b[:from], al)
	}
	to := len(b.pending.b)
	if max > 0 && to-from > max {
		b.pending.b = b.pending.b[:from]
		return TooLarge
	}
	if b.aliases != nil {
		b.aliases.took(m.Topic, al)
	}
	b.pending.marks = append(b.pending.marks, mark{from, to, m, owner})
	b.wake()
	return Taken
}

// Result of Message.
type Result uint8

// The results.
const (
	Taken    Result = iota
	Full            // there is no capacity now
	Closed          // the connection has ended
	TooLarge        // the frame is larger than max and was not appended
)

// Control appends an ack or control frame; false: the connection is closed.
func (b *Buffer) Control(frame []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.closing {
		return false
	}
	b.ready()
	b.pending.b = append(b.pending.b, frame...)
	b.wake()
	return true
}

// Overfull tells whether the reserve for control frames is used up, so that
// what causes them must pause.
func (b *Buffer) Overfull() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ahead() > b.c.Limit+b.c.Reserve
}

// Cork starts no writer until Uncork, so that all frames that one batch of input
// causes are sent in one write. A caller of Cork must call Uncork before it waits.
func (b *Buffer) Cork() {
	b.mu.Lock()
	b.corked = true
	b.mu.Unlock()
}

// Uncork starts the writer, if there is something to write.
func (b *Buffer) Uncork() {
	b.mu.Lock()
	if b.corked {
		b.corked = false
		if len(b.pending.b) > 0 {
			b.wake()
		}
	}
	b.mu.Unlock()
}

// ready gives pending its memory, if it has none; b.mu is held.
func (b *Buffer) ready() {
	if b.pending.b == nil {
		b.pending = takeChunk()
	}
}

// wake starts a writer if one is needed and none runs; b.mu is held.
func (b *Buffer) wake() {
	if b.running || b.closed || b.corked && !b.closing {
		return
	}
	b.start()
}

func (b *Buffer) start() {
	b.running = true
	if b.c.Writers != nil {
		b.c.Writers.Go(b.write)
		return
	}
	go b.write()
}

// write is the writer's goroutine. It returns when nothing is pending.
func (b *Buffer) write() {
	for {
		b.mu.Lock()
		if b.closed || len(b.pending.b) == 0 || b.corked && !b.closing {
			b.rest()
			return
		}
		b.busy, b.pending = b.pending, chunk{}
		b.aliases.handed()
		b.writing = make(chan struct{})
		now := time.Now()
		if !b.closing && b.deadline.Sub(now) < b.c.Write*3/4 {
			b.deadline = now.Add(b.c.Write)
			_ = b.dst.SetWriteDeadline(b.deadline)
		}
		out := b.busy.b
		b.mu.Unlock()

		n, err := b.dst.Write(out)
		if b.c.Wrote != nil {
			b.c.Wrote(n)
		}

		b.mu.Lock()
		b.busy.give()
		b.busy = chunk{}
		close(b.writing)
		b.writing = nil
		// With capacity again, publishers that wait go on, and the next stall has the whole of Config.Stall.
		drained := b.ahead() < b.c.Limit
		if drained || err != nil {
			b.stallEnd = time.Time{}
			if b.freed != nil {
				close(b.freed)
				b.freed = nil
			}
		}
		b.mu.Unlock()
		if err != nil {
			b.fail()
			return
		}
		if drained && b.c.Drained != nil {
			b.c.Drained()
		}
	}
}

// rest is called when the writer has nothing to write: the writer ends, and so does the
// connection if it is closing. b.mu is held by the caller, and rest releases it.
func (b *Buffer) rest() {
	if b.closing && !b.closed {
		b.closed = true
		b.mu.Unlock()
		_ = b.dst.Close()
		close(b.done)
		return
	}
	b.running = false
	if len(b.pending.b) == 0 {
		b.pending.give()
		b.pending = chunk{}
	}
	b.mu.Unlock()
}

// fail ends the connection at once.
func (b *Buffer) fail() {
	b.mu.Lock()
	was := b.closed
	b.closed = true
	b.pending.give()
	b.pending = chunk{}
	if b.freed != nil {
		close(b.freed)
		b.freed = nil
	}
	b.mu.Unlock()
	if !was {
		_ = b.dst.Abort()
		close(b.done)
	}
}

// chunks keep their memory only while they are in use: an idle connection
// holds no output buffer.
var chunks = sync.Pool{New: func() any { return &chunk{b: make([]byte, 0, 2048)} }}

func takeChunk() chunk {
	c := chunks.Get().(*chunk)
	return *c
}

func (c chunk) give() {
	if c.b == nil || cap(c.b) > 128<<10 {
		return
	}
	clear(c.marks)
	c.b, c.marks = c.b[:0], c.marks[:0]
	chunks.Put(&c)
}
