package watch

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// A client flaps from flapConnects connections within flapWindow on, and does so until fewer than half
// as many come in a window.
const (
	flapWindow   = time.Minute
	flapConnects = 10
	// maxClients bounds the clients that are remembered. The one that connected longest ago is forgotten.
	maxClients = 4096
)

// Connects counts how often each client connects. A client is a principal with its client id, because
// many programs may connect as one service. Safe for concurrent use.
type Connects struct {
	mu      sync.Mutex
	clients map[client]*arrivals // guarded by mu, with what it points to
}

type client struct{ principal, id string }

// arrivals are the connections of a client in this window and in the one before.
type arrivals struct {
	window    int64 // the number of this window, counted from the epoch
	now, past int
	flapping  bool
}

func newConnects() *Connects { return &Connects{clients: map[client]*arrivals{}} }

// Connected notes n connections of a client at a time.
func (c *Connects) Connected(at time.Time, principal, id string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := client{principal, id}
	a := c.clients[key]
	if a == nil {
		if len(c.clients) >= maxClients {
			c.forget(at)
		}
		a = &arrivals{}
		c.clients[key] = a
	}
	a.move(at)
	a.now += n
	a.flapping = a.flapping || a.rate(at) >= flapConnects
}

// Record notes the audit record of an allowed CONNECT.
func (c *Connects) Record(r *message.AuditRecord) {
	c.Connected(time.Now(), r.Principal, r.ClientID, int(max(r.Count, 1)))
}

// move makes the window of a time the current one.
func (a *arrivals) move(at time.Time) {
	w := at.UnixNano() / int64(flapWindow)
	switch w - a.window {
	case 0:
		return
	case 1:
		a.past = a.now
	default:
		a.past = 0
	}
	a.window, a.now = w, 0
}

// rate is the number of connections in the flapWindow that ends at a time, as far as the counts of two
// windows tell: those of the one before count by the part of it that is within reach.
func (a *arrivals) rate(at time.Time) float64 {
	gone := float64(at.UnixNano()%int64(flapWindow)) / float64(flapWindow)
	return float64(a.now) + float64(a.past)*(1-gone)
}

// forget removes the clients that did not connect lately and, where that is not a quarter of all, others
// that do not flap: looking at all of them for each new one would be slow. c.mu is held.
func (c *Connects) forget(at time.Time) {
	for key, a := range c.clients {
		a.move(at)
		if a.now+a.past == 0 {
			delete(c.clients, key)
		}
	}
	for key, a := range c.clients {
		if len(c.clients) < maxClients*3/4 {
			return
		}
		if !a.flapping {
			delete(c.clients, key)
		}
	}
	if len(c.clients) >= maxClients {
		clear(c.clients)
	}
}

// flap is a client that flaps.
type flap struct {
	client
	rate int
}

func (f flap) String() string {
	return fmt.Sprintf("client %q of %s (%d times in the last minute)", f.id, f.principal, f.rate)
}

// flapping lists the clients that flap, by name.
func (c *Connects) flapping(at time.Time) (list []flap) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, a := range c.clients {
		if !a.flapping {
			continue
		}
		a.move(at)
		rate := a.rate(at)
		if a.flapping = rate >= flapConnects/2; a.flapping {
			list = append(list, flap{key, int(rate)})
		}
	}
	slices.SortFunc(list, func(x, y flap) int {
		if by := strings.Compare(x.principal, y.principal); by != 0 {
			return by
		}
		return strings.Compare(x.id, y.id)
	})
	return list
}
