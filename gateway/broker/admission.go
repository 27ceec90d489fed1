package broker

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/sync/backoff"
)

// admission accepts the connections of one listener. It goes on after a failed accept
// (docs/spec/broker-boundary.md B23), and limits what connections that are not authenticated
// yet can take up (B8). It is a net.Listener, so that every kind of listener uses it in the
// same way.
type admission struct {
	net.Listener
	b    *Broker
	name string
	lim  Limits
	unix bool
	ctx  context.Context

	mu      sync.Mutex              // guards the fields below
	open    int                     // how many connections are open
	pending int                     // connections that are not authenticated yet
	waiting int                     // connections that are authenticated, and wait for a contested session
	byAddr  map[netip.Addr]*address // by what holder returns
	sweep   time.Time               // when forget last ran
}

// address counts the connections of one remote address; the mu of its admission
// guards it.
type address struct {
	open    int
	pending int
	waiting int
	tokens  float64 // token bucket: how many new connections it may make now
	last    time.Time
}

// admitted is a connection that admission accepted. When it is closed, it no longer counts.
type admitted struct {
	net.Conn
	door   *admission
	addr   netip.Addr
	mu     sync.Mutex // guards known and closed
	known  bool       // the client is authenticated
	closed bool
}

// Accept returns the next connection that is within the limits. It returns an error only when
// the listener is closed.
func (a *admission) Accept() (net.Conn, error) {
	back := backoff.Backoff{Min: a.lim.AcceptRetryAfter, Max: max(a.lim.AcceptRetryAfter, time.Second)}
	for {
		nc, err := a.Listener.Accept()
		if err != nil {
			if a.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil, net.ErrClosed
			}
			a.b.count.acceptErrors.Add(1)
			pause := back.Next()
			a.b.o.Log.Error("accept failed; trying again", "listener", a.name, "err", err, "pause", pause)
			select {
			case <-a.ctx.Done():
				return nil, net.ErrClosed
			case <-time.After(pause):
			}
			continue
		}
		back.Reset()
		if c := a.admit(nc); c != nil {
			a.b.count.accepted.Add(1)
			return c, nil
		}
		a.b.count.refusedEarly.Add(1)
		_ = nc.Close()
	}
}

func (a *admission) admit(nc net.Conn) *admitted {
	addr := holder(addrPort(nc.RemoteAddr()).Addr())
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open >= a.lim.MaxConnections || a.pending >= a.lim.Pending {
		return nil
	}
	if !a.unix && addr.IsValid() {
		now := time.Now()
		a.forget(now)
		e := a.byAddr[addr]
		if e == nil {
			e = &address{tokens: a.lim.RatePerAddress, last: now}
			a.byAddr[addr] = e
		}
		e.tokens = min(max(1, a.lim.RatePerAddress), e.tokens+now.Sub(e.last).Seconds()*a.lim.RatePerAddress)
		e.last = now
		if e.open >= a.lim.PerAddress || e.pending >= a.lim.PendingAddress || e.tokens < 1 {
			return nil
		}
		e.tokens--
		e.open++
		e.pending++
	}
	a.open++
	a.pending++
	a.b.count.pending.Add(1)
	return &admitted{Conn: nc, door: a, addr: addr}
}

// forget drops addresses without connections whose bucket is full again.
func (a *admission) forget(now time.Time) {
	if now.Sub(a.sweep) < 10*time.Second {
		return
	}
	a.sweep = now
	for addr, e := range a.byAddr {
		if e.open == 0 && e.waiting == 0 && now.Sub(e.last) > time.Second {
			delete(a.byAddr, addr)
		}
	}
}

// proved is called when the client is authenticated. The connection then no longer counts as
// pending.
func (c *admitted) proved() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known || c.closed {
		return
	}
	c.known = true
	c.door.leave(0, 1, c.addr)
}

// wait is proved for a connection that waits for a contested session from now on, until waited is
// called; false: as many wait as may, in all or of that address.
func (c *admitted) wait() bool {
	c.proved()
	a := c.door
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.byAddr[c.addr]
	if a.waiting >= a.lim.Waiting || e != nil && e.waiting >= a.lim.WaitingAddress {
		return false
	}
	a.count(1, e)
	return true
}

// waited ends what wait began.
func (c *admitted) waited() {
	a := c.door
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count(-1, a.byAddr[c.addr])
}

// count adds n to the connections that wait, of which e, if not nil, is the address; mu is held.
func (a *admission) count(n int, e *address) {
	a.waiting += n
	a.b.count.waiting.Add(int64(n))
	if e != nil {
		e.waiting += n
	}
}

func (c *admitted) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		pending := 1
		if c.known {
			pending = 0
		}
		c.door.leave(1, pending, c.addr)
	}
	c.mu.Unlock()
	return c.Conn.Close()
}

func (a *admission) leave(open, pending int, addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open -= open
	a.pending -= pending
	a.b.count.pending.Add(-int64(pending))
	if e := a.byAddr[addr]; e != nil {
		e.open -= open
		e.pending -= pending
	}
}

// holder is the address under which a is counted. For IPv6 it is the /64 prefix, because a host
// usually can use every address of its prefix.
func holder(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	p, _ := a.Prefix(64)
	return p.Addr()
}

// addrPort is the remote address; invalid for a unix socket.
func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	if a == nil {
		return netip.AddrPort{}
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
