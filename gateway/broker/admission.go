package broker

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/hall"
	"github.com/gatehouse/gatehouse/sync/backoff"
)

// admission accepts the connections of one listener. It goes on after a failed accept
// (docs/spec/broker-boundary.md B23), and limits what connections that are not authenticated
// yet can take up (B8): when there are too many of them, the one that package hall chooses makes
// room for the newcomer. It is a net.Listener, so that every kind of listener uses it in the same way.
type admission struct {
	net.Listener
	b    *Broker
	name string
	lim  Limits
	unix bool
	ctx  context.Context

	mu        sync.Mutex // guards the fields below
	open      int        // how many connections are open
	waiting   int        // connections that are authenticated, and wait for a contested session
	hall      *hall.Hall[*admitted]
	addresses addresses
	crowd     crowd
}

// admitted is a connection that admission accepted. When it is closed, or another one gets its
// place, it no longer counts.
type admitted struct {
	net.Conn
	door  *admission
	addr  netip.Addr
	guest *hall.Guest[*admitted] // nil once the client is authenticated, or out; guarded by door.mu
	out   bool                   // it does not count any more; guarded by door.mu
}

func newAdmission(ctx context.Context, b *Broker, l Listener) *admission {
	return &admission{
		Listener:  l.Listener,
		b:         b,
		name:      l.Name,
		lim:       l.Limits,
		unix:      l.Kind == Unix,
		ctx:       ctx,
		hall:      hall.New[*admitted](hall.Config{Reserved: l.Limits.Pending / 2, Remembered: l.Limits.KnownAddresses, Young: young}),
		addresses: newAddresses(l.Limits.RatePerAddress),
	}
}

// young is how old a connection is before it makes room for others while older ones do not: long
// enough for a handshake and a CONNECT on a slow link.
const young = 2 * time.Second

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
		c, removed, why := a.admit(nc)
		if why != "" {
			a.b.count.turnedAway.add(why)
		}
		if removed != nil {
			reset(removed.Conn)
		}
		if c != nil {
			a.b.count.accepted.Add(1)
			return c, nil
		}
		a.b.count.refusedEarly.Add(1)
		_ = nc.Close()
	}
}

// Why a connection is refused before its client is authenticated, or closed to make room for a
// newcomer (Stats.TurnedAway).
const (
	hallFull        = "hall-full"         // Limits.Pending: one makes room
	addressHallFull = "address-hall-full" // Limits.PendingAddress: one of the same address makes room
	addressFull     = "address-full"      // Limits.PerAddress: one of it makes room, or if all are authenticated the newcomer is refused
	listenerFull    = "listener-full"     // Limits.MaxConnections: likewise
	addressRate     = "address-rate"      // Limits.RatePerAddress: the newcomer is refused
	notConnect      = "not-connect"       // the first byte cannot be that of a CONNECT
)

// admit lets a connection in, at the cost of another one if need be. c is nil if it is
// refused; why tells what limit cost it, or the one that is removed, its place.
func (a *admission) admit(nc net.Conn) (c, removed *admitted, why string) {
	addr := addrPort(nc.RemoteAddr()).Addr()
	if a.unix {
		addr = netip.Addr{}
	}
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.addresses.at(addr, now)
	if !e.mayCome() {
		return nil, nil, addressRate
	}
	var last *hall.Guest[*admitted]
	switch {
	case e != nil && e.open >= a.lim.PerAddress:
		if last, why = a.hall.WorstOf(addr), addressFull; last == nil {
			return nil, nil, why
		}
	case e != nil && a.hall.Held(addr) >= a.lim.PendingAddress:
		last, why = a.hall.WorstOf(addr), addressHallFull
	case a.open >= a.lim.MaxConnections:
		if last, why = a.hall.Worst(addr, now), listenerFull; last == nil {
			return nil, nil, why
		}
	case a.hall.Len() >= a.lim.Pending:
		last, why = a.hall.Worst(addr, now), hallFull
	}
	if last != nil {
		removed = last.Owner
		a.leave(removed)
		a.tellCrowd(now)
	}
	if e != nil {
		e.tokens--
	}
	a.open++
	a.addresses.opened(e)
	a.b.count.pending.Add(1)
	c = &admitted{Conn: nc, door: a, addr: addr}
	c.guest = a.hall.Enter(addr, now, c)
	return c, removed, why
}

// leave ends the counting of a connection; mu is held.
func (a *admission) leave(c *admitted) {
	if c.out {
		return
	}
	c.out = true
	if c.guest != nil {
		a.hall.Leave(c.guest)
		a.noGuest(c)
	}
	a.open--
	a.addresses.closed(c.addr)
}

// noGuest notes that c has left the hall; mu is held.
func (a *admission) noGuest(c *admitted) {
	c.guest = nil
	a.b.count.pending.Add(-1)
}

// reset closes a connection so that the kernel keeps nothing of it: a silent client does not even
// answer the end of the connection, and a thousand a second would fill the kernel's tables.
func reset(nc net.Conn) {
	if t, ok := nc.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = nc.Close()
}

// showed notes a complete step of a client that is not authenticated yet.
func (c *admitted) showed(s hall.Step) {
	a := c.door
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.guest != nil {
		a.hall.Show(c.guest, s)
	}
}

// proved is called when the client is authenticated. The connection then no longer counts as
// pending, and its address is known from now on.
func (c *admitted) proved() {
	a := c.door
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.guest != nil {
		a.hall.Prove(c.guest)
		a.noGuest(c)
	}
}

// wait is proved for a connection that waits for a contested session from now on, until waited is
// called; false: as many wait as may, in all or of that address.
func (c *admitted) wait() bool {
	c.proved()
	a := c.door
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting >= a.lim.Waiting || a.addresses.waiting(c.addr) >= a.lim.WaitingAddress {
		return false
	}
	a.count(1, c.addr)
	return true
}

// waited ends what wait began.
func (c *admitted) waited() {
	a := c.door
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count(-1, c.addr)
}

// count adds n to the connections of an address that wait; mu is held.
func (a *admission) count(n int, addr netip.Addr) {
	a.waiting += n
	a.b.count.waiting.Add(int64(n))
	a.addresses.wait(addr, n)
}

func (c *admitted) Close() error {
	c.door.mu.Lock()
	c.door.leave(c)
	c.door.mu.Unlock()
	return c.Conn.Close()
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
