package hall

import "net/netip"

// crowd are the guests of known addresses, or those of all others.
type crowd[O any] struct {
	guests   int
	networks map[netip.Prefix]*network[O]
	queue    queue[*network[O]]
	atStep   [steps]queue[*Guest[O]] // oldest first
}

// network has a guest at least, but while one enters.
type network[O any] struct {
	crowd  *crowd[O]
	prefix netip.Prefix
	open   bool // an address of it is known: each counts for itself
	guests int
	byAddr map[netip.Addr]*host[O]
	hosts  queue[*host[O]]
	place  int // in crowd.queue
}

// host is one address.
type host[O any] struct {
	net    *network[O]
	addr   netip.Addr
	guests queue[*Guest[O]] // which of them has shown least for longest first
	place  int              // in net.hosts
}

func newCrowd[O any]() *crowd[O] {
	c := &crowd[O]{networks: map[netip.Prefix]*network[O]{}}
	c.queue.before = func(a, b *network[O]) bool { return a.before(b) }
	c.queue.place = func(n *network[O]) *int { return &n.place }
	for i := range c.atStep {
		c.atStep[i].before = func(a, b *Guest[O]) bool { return a.order < b.order }
		c.atStep[i].place = func(g *Guest[O]) *int { return &g.inStep }
	}
	return c
}

// before tells whether a guest of n goes before one of m: n holds more places.
func (n *network[O]) before(m *network[O]) bool {
	if a, b := n.weight(), m.weight(); a != b {
		return a > b
	}
	return n.worst().before(m.worst())
}

// weight is how many places count against a network.
func (n *network[O]) weight() int {
	if n.open {
		return n.hosts.items[0].guests.Len()
	}
	return n.guests
}

func (n *network[O]) worst() *Guest[O] { return n.hosts.items[0].worst() }

// of lists the addresses of n that Holder counts as that one.
func (n *network[O]) of(holder netip.Addr) []*host[O] {
	if holder.Is6() {
		return append([]*host[O](nil), n.hosts.items...)
	}
	if one := n.byAddr[holder]; one != nil {
		return []*host[O]{one}
	}
	return nil
}

func (n *network[O]) holding() Holding {
	if first := n.hosts.items[0]; n.open || n.hosts.Len() == 1 {
		p, _ := first.addr.WithZone("").Prefix(first.addr.BitLen())
		return Holding{Of: p, Guests: first.guests.Len()}
	}
	return Holding{Of: n.prefix, Guests: n.guests}
}

func (o *host[O]) before(p *host[O]) bool {
	if a, b := o.guests.Len(), p.guests.Len(); a != b {
		return a > b
	}
	return o.worst().before(p.worst())
}

func (o *host[O]) worst() *Guest[O] { return o.guests.items[0] }

// before tells whether g has shown less than other, or as much and came earlier.
func (g *Guest[O]) before(other *Guest[O]) bool {
	if g.step != other.step {
		return g.step < other.step
	}
	return g.order < other.order
}

// hostOf is the address a in c. A new one is in no queue before it has a guest.
func (c *crowd[O]) hostOf(a netip.Addr, h *history) *host[O] {
	prefix := networkOf(a)
	n := c.networks[prefix]
	if n == nil {
		n = &network[O]{crowd: c, prefix: prefix, open: h.knows(prefix), byAddr: map[netip.Addr]*host[O]{}}
		n.hosts.before = func(a, b *host[O]) bool { return a.before(b) }
		n.hosts.place = func(o *host[O]) *int { return &o.place }
		c.networks[prefix] = n
	}
	o := n.byAddr[a]
	if o == nil {
		o = &host[O]{net: n, addr: a}
		o.guests.before = func(a, b *Guest[O]) bool { return a.before(b) }
		o.guests.place = func(g *Guest[O]) *int { return &g.inHost }
		n.byAddr[a] = o
	}
	return o
}

func (c *crowd[O]) add(o *host[O], g *Guest[O]) {
	n := o.net
	g.host = o
	c.atStep[g.step].add(g)
	o.guests.add(g)
	c.guests++
	n.guests++
	if o.guests.Len() == 1 {
		n.hosts.add(o)
	} else {
		n.hosts.moved(o)
	}
	if n.guests == 1 {
		c.queue.add(n)
	} else {
		c.queue.moved(n)
	}
}

// remove takes g out, with its address and network if it is their last guest.
func (c *crowd[O]) remove(g *Guest[O]) {
	o, n := g.host, g.host.net
	c.atStep[g.step].remove(g)
	c.guests--
	n.guests--
	switch {
	case n.guests == 0: // before the queues below are empty: they are what it is compared by
		c.queue.remove(n)
		delete(c.networks, n.prefix)
	case o.guests.Len() == 1:
		n.hosts.remove(o)
		delete(n.byAddr, o.addr)
		c.queue.moved(n)
	default:
		o.guests.remove(g)
		n.hosts.moved(o)
		c.queue.moved(n)
	}
}

func (c *crowd[O]) show(g *Guest[O], s Step) {
	c.atStep[g.step].remove(g)
	g.step = s
	c.atStep[s].add(g)
	g.host.guests.moved(g)
	g.host.net.hosts.moved(g.host)
	c.queue.moved(g.host.net)
}
