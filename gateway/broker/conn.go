package broker

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/broker/outbuf"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// conn is one connection: one goroutine that reads, and a writer while there is
// something to write. The fields above mu belong to the reading goroutine, but for
// those that guard themselves (sock, out, sess, proof, acks, parted). The ones set by
// connect (level, remote, hello, sess) may be read elsewhere once proof is set.
type conn struct {
	b    *Broker
	l    *listener
	sock *socket
	rd   *frame.Reader
	out  *outbuf.Buffer
	log  *slog.Logger

	level  byte
	remote string
	since  time.Time
	hello  frame.Connect // the CONNECT, without its password and will
	sess   *session.Session
	proof  atomic.Pointer[proof] // nil until the client is let in
	acks   acks
	behind behind
	parted sync.Once            // decides what becomes of the will: see farewell
	here   *principal.Principal // whom Presence was told of, or nil

	alive     time.Duration // keep alive; 0: none
	last      time.Time     // when the last whole frame had been handled
	deadline  time.Time     // the read deadline that is set
	disarmed  bool          // the read deadline of CONNECT has been removed
	aliases   []string      // topics by MQTT 5 topic alias; nil until the first one
	lastTopic string        // see intern
	expiresAt *timer        // ends the connection with its credential

	ended chan struct{} // closed when over is set

	mu    sync.Mutex // guards over, cause and will
	over  bool
	cause cause               // of the end, once over is set
	will  *message.StoredWill // immutable once the session is open; nil: there is none, or takeWill has it
}

// proof is who the client is and what it may do. Re-authentication replaces it as
// a whole.
type proof struct {
	who    *principal.Principal
	rights session.Rights
}

// cause is why a connection ended.
type cause struct {
	code     byte // for an MQTT 5 DISCONNECT, if it is an error
	reason   string
	keepWill bool // the will is sent
}

func newConn(l *listener, s *socket) *conn {
	b := l.b
	c := &conn{
		b:      b,
		l:      l,
		sock:   s,
		since:  time.Now(),
		ended:  make(chan struct{}),
		remote: s.RemoteAddr().String(),
		log:    b.o.Log,
	}
	c.acks.c, c.behind.c = c, c
	c.out = outbuf.New(s, outbuf.Config{
		Limit:   b.o.Buffer,
		Reserve: b.o.Buffer / 2,
		Write:   b.o.WriteTimeout,
		Stall:   b.o.Stall,
		Drained: c.drained,
		Writers: &b.conns,
		Wrote:   func(n int) { b.count.bytesOut.Add(uint64(n)) },
	})
	c.rd = frame.NewReader(uncorking{c}, l.Limits.ConnectPacket)
	c.rd.First = frame.CONNECT << 4
	return c
}

// uncorking reads from the socket. Before it may block, it lets what the frames so
// far have caused be written.
type uncorking struct{ c *conn }

func (u uncorking) Read(p []byte) (int, error) {
	u.c.out.Uncork()
	n, err := u.c.sock.Read(p)
	u.c.b.count.bytesIn.Add(uint64(n))
	return n, err
}

// drained sends more of what waits in the session, when the output buffer has capacity
// again. It runs on the writer's goroutine.
func (c *conn) drained() {
	if p := c.proof.Load(); p != nil && c.sess != nil {
		c.sess.Pump()
	}
}

// serve is the life of a connection. Teardown is its deferred end, also after a panic (B24, B31).
func (c *conn) serve() {
	c.b.enter(c)
	defer c.teardown()
	defer c.survive()
	ok := false
	apart(func() {
		defer c.survive()
		ok = c.connect()
	})
	if ok {
		c.loop()
	}
}

// survive is deferred: it turns a panic into the end of the connection (B24).
func (c *conn) survive() {
	if r := recover(); r != nil {
		c.b.panicked("connection", r)
		c.end(cause{code: message.ImplementationSpecificError, reason: "internal error", keepWill: true})
	}
}

// apart runs f on a goroutine of its own, and returns when f has. f must recover its own panics.
//
// It is for what needs much stack and is rare on a connection: its handshake, and the frames that
// the embedded library answers. The Go runtime halves a goroutine's stack only while at most a
// quarter of it is in use. The goroutine that waits for the next frame uses more than that of the
// 8 KiB that a handshake needs, and would keep them as long as the connection lasts.
func apart(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// end closes the connection. Any goroutine may call it, and it does not wait: what
// is in the output buffer is flushed in the background, within FlushTimeout. Only
// the cause of the first call counts.
func (c *conn) end(why cause) {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return
	}
	c.over, c.cause = true, why
	close(c.ended)
	c.mu.Unlock()
	var last []byte
	if c.proof.Load() != nil && c.level >= 5 && why.code >= 0x80 { // level and hello may be read once proof is set
		reason := why.reason
		if c.hello.RequestProblem == 0 {
			reason = ""
		}
		last = frame.AppendDisconnect(nil, why.code, reason)
		if max := int(c.hello.MaximumPacket); max > 0 && len(last) > max {
			last = frame.AppendDisconnect(nil, why.code, "") // OASIS MQTT 5.0, 3.14.2-3
			if len(last) > max {
				last = nil
			}
		}
	}
	c.sock.interrupt()
	c.out.Close(last, c.b.o.FlushTimeout)
}

func (c *conn) isOver() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

func (c *conn) teardown() {
	c.end(cause{reason: "connection lost", keepWill: true})
	c.b.clock.cancel(c.expiresAt)
	c.acks.close()
	c.mu.Lock()
	why := c.cause
	c.mu.Unlock()
	if c.sess != nil {
		c.b.left(c)
	}
	if c.here != nil {
		c.b.o.Presence.Left(c.here)
	}
	<-c.out.Done()
	c.b.store.Closed(c)
	_ = c.sock.Abort()
	c.b.leave(c)
	c.log.Debug("connection ended", "remote", c.remote, "client", c.hello.ClientID, "reason", why.reason)
}

// panicked counts and logs a panic that was recovered (B24).
func (b *Broker) panicked(where string, r any) {
	b.count.panics.Add(1)
	b.o.Log.Error("panic", "where", where, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
}

// guard is deferred: it recovers a panic of a goroutine and calls cleanup.
func (b *Broker) guard(where string, cleanup func() error) {
	if r := recover(); r != nil {
		b.panicked(where, r)
		_ = cleanup()
	}
}
