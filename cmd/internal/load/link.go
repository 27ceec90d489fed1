package load

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
)

const (
	maxFrame = 16 << 20
	batch    = 32 << 10 // bytes that the writer gathers before it writes
)

// maker is the part of a client that the writer asks.
type maker interface {
	// produce appends publishes to buf while it has capacity for them. wait is
	// when to ask again: 0 at once, below 0 not before the link is woken.
	produce(buf []byte) (out []byte, wait time.Duration)
}

// taker is the part of a client that the reader tells.
type taker interface {
	// take handles one frame, which is valid until it returns.
	take(f frame.Frame) error
	// pause is called when every frame that has arrived was taken.
	pause()
}

// link is one connection after its CONNACK.
type link struct {
	conn           net.Conn
	in             *frame.Reader
	level          byte
	receiveMaximum int
	keepAlive      time.Duration
	wake           chan struct{} // holds at most one call to the writer
	gone           chan struct{} // closed when the connection has ended

	mu  sync.Mutex // guards what follows
	out []byte     // what the reader leaves for the writer
	err error      // why it ended; errLeft: we did it
}

// errLeft ends a connection that we close ourselves.
var errLeft = errors.New("closed here")

func newLink(conn net.Conn, level byte, keepAlive time.Duration) *link {
	return &link{
		conn:      conn,
		in:        frame.NewReader(conn, maxFrame),
		level:     level,
		keepAlive: keepAlive,
		wake:      make(chan struct{}, 1),
		gone:      make(chan struct{}),
	}
}

// run starts both goroutines; done is called once both have ended.
func (l *link) run(m maker, t taker, done func()) {
	var both sync.WaitGroup
	both.Go(func() { l.end(l.read(t)) })
	both.Go(func() { l.end(l.write(m)) })
	go func() { both.Wait(); done() }()
}

// end closes the connection for the first of its reasons.
func (l *link) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.err = err
	close(l.gone)
	_ = l.conn.Close()
}

// leave says goodbye and closes.
func (l *link) leave() {
	_ = l.conn.SetWriteDeadline(time.Now().Add(time.Second))
	l.mu.Lock()
	if l.err == nil {
		_, _ = l.conn.Write(bye) // a writer in the middle of its write goes first: net.Conn writes are whole
	}
	l.mu.Unlock()
	l.end(errLeft)
}

// reason is why it ended; nil: it has not, or we ended it.
func (l *link) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(l.err, errLeft) {
		return nil
	}
	return l.err
}

// put leaves bytes for the writer and wakes it.
func (l *link) put(b []byte) {
	l.mu.Lock()
	l.out = append(l.out, b...)
	l.mu.Unlock()
	l.call()
}

// call wakes the writer.
func (l *link) call() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *link) read(t taker) error {
	for {
		f, err := l.in.Next()
		if err != nil {
			return err
		}
		if f.Type() == frame.DISCONNECT {
			code := byte(0)
			if len(f.Body) > 0 {
				code = f.Body[0]
			}
			return fmt.Errorf("the broker disconnects: %s", codeName(code, 5))
		}
		if err := t.take(f); err != nil {
			return err
		}
		if !l.in.Buffered() {
			t.pause()
		}
	}
}

func (l *link) write(m maker) error {
	var spare []byte
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	written := time.Now()
	for {
		l.mu.Lock()
		buf := l.out
		l.out = spare[:0]
		l.mu.Unlock()
		buf, wait := m.produce(buf)
		spare = buf
		if len(buf) > 0 {
			if _, err := l.conn.Write(buf); err != nil {
				return err
			}
			written = time.Now()
			continue
		}
		if wait == 0 {
			continue
		}
		ping := time.Until(written.Add(l.keepAlive / 2))
		if l.keepAlive == 0 {
			ping = time.Hour
		}
		if ping <= 0 {
			l.put([]byte{frame.PINGREQ << 4, 0})
			continue
		}
		if wait < 0 || wait > ping {
			wait = ping
		}
		timer.Reset(wait)
		select {
		case <-l.wake:
		case <-timer.C:
		case <-l.gone:
			return errLeft // the reader's reason came first
		}
	}
}
