package broker

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/broker/outbuf"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// conn is one connection: one goroutine that reads, and a writer while there
// is something to write. What has no comment belongs to the reading goroutine.
type conn struct {
	b       *Broker
	l       *listener
	sock    *socket
	rd      *frame.Reader
	out     *outbuf.Buffer
	library libraryConn
	cl      *mqtt.Client
	log     *slog.Logger

	level  byte
	remote string
	since  time.Time
	hello  frame.Connect // what CONNECT said; its password and will are taken out
	sess   *session.Session
	proof  atomic.Pointer[proof]
	acks   acks
	parted sync.Once            // what becomes of the will is decided
	here   *principal.Principal // who Presence was told of

	alive     time.Duration // keep alive, 0: none
	last      time.Time     // when the last whole frame was done with
	deadline  time.Time     // the read deadline that is set
	disarmed  bool          // the deadline of CONNECT is gone
	aliases   []string
	lastTopic string
	expiresAt *timer // credential expiry

	mu    sync.Mutex // guards the rest
	over  bool
	ended chan struct{}
	cause cause
	will  *message.StoredWill // what it leaves; immutable once the session is open
}

// proof is who it is and what it may; replaced as a whole by re-authentication.
type proof struct {
	who    *principal.Principal
	rights session.Rights
}

// cause is why a connection ended.
type cause struct {
	code     byte
	reason   string
	keepWill bool
}

func newConn(l *listener, s *socket) *conn {
	b := l.b
	c := &conn{b: b, l: l, sock: s, since: time.Now(), ended: make(chan struct{}), remote: s.RemoteAddr().String(), log: b.o.Log}
	c.library.c = c
	c.acks.c = c
	c.out = outbuf.New(s, outbuf.Config{Limit: b.o.Buffer, Reserve: b.o.Buffer / 2, Write: b.o.WriteTimeout, Stall: b.o.Stall,
		Drained: c.drained, Writers: &b.conns, Wrote: func(n int) { b.count.bytesOut.Add(uint64(n)) }})
	c.rd = frame.NewReader(uncorking{c}, l.Limits.ConnectPacket)
	return c
}

// uncorking is where frames come from: before it blocks, what they caused leaves.
type uncorking struct{ c *conn }

func (u uncorking) Read(p []byte) (int, error) {
	u.c.out.Uncork()
	n, err := u.c.sock.Read(p)
	u.c.b.count.bytesIn.Add(uint64(n))
	return n, err
}

// drained runs on the writer's goroutine: what waited in the session goes on.
func (c *conn) drained() {
	if p := c.proof.Load(); p != nil && c.sess != nil {
		c.sess.Pump()
	}
}

// serve is the life of a connection. Teardown is its deferred end, also after a panic (B24, B31).
func (c *conn) serve() {
	c.b.enter(c)
	defer c.teardown()
	defer func() {
		if r := recover(); r != nil {
			c.b.panicked("connection", r)
			c.end(cause{code: message.ImplementationSpecificError, reason: "internal error", keepWill: true})
		}
	}()
	if !c.connect() {
		return
	}
	c.loop()
}

// end closes the connection, from any goroutine, without waiting: what is
// written already is flushed in the background, within a bound. Only the first
// cause counts.
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
	if c.proof.Load() != nil && c.level >= 5 && why.code >= 0x80 { // the proof is what publishes the rest to other goroutines
		reason := why.reason
		if c.hello.RequestProblem == 0 {
			reason = ""
		}
		last = frame.AppendDisconnect(nil, why.code, reason)
		if max := c.hello.MaximumPacket; max > 0 && len(last) > int(max) {
			last = nil
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
	_ = c.sock.Abort()
	c.b.leave(c)
	c.log.Debug("connection ended", "remote", c.remote, "client", c.hello.ClientID, "reason", why.reason)
}

// panicked makes a panic loud without ending the process.
func (b *Broker) panicked(where string, r any) {
	b.count.panics.Add(1)
	b.o.Log.Error("panic", "where", where, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
}

func (b *Broker) guard(where string, cleanup func() error) {
	if r := recover(); r != nil {
		b.panicked(where, r)
		_ = cleanup()
	}
}
