// Package hall chooses which connection makes room when more wait than may whose client has not
// proved who it is. If newcomers were refused instead, whoever opens connections and stays silent
// would lock everybody out.
//
// Worst is the choice. It goes by these rules, the first of which outranks the others:
//
//  1. Addresses whose clients have proved themselves before (known ones) keep Config.Reserved
//     places: while they have no more, a connection of another address goes.
//  2. It is a connection of the network that holds most places, and in it of the address that
//     holds most. A network is a /24 of IPv4 and a /64 of IPv6. It counts as a whole only while no
//     address in it is known: after that each of its addresses counts for itself, so that one
//     infected machine does not cost its neighbours their places.
//  3. Of that address, the connection goes that has shown least, and of those the one that came
//     first. Only complete steps count (Step), because a byte now and then costs nothing. Where
//     several networks hold most, the same order decides between them.
//  4. A connection younger than Config.Young does not go while one at the same step, or at a later
//     one, is older than that. The oldest at the first such step goes instead, whoever it is of:
//     silence costs its place, also after a TLS handshake, which costs a crowd little; and many
//     clients that return at once from one network do not fight each other for theirs.
//
// A newcomer is never chosen itself: it comes in after the choice. So somebody can always enter.
//
// A method costs the logarithm of the number of guests. Only when an address becomes known, or is
// forgotten, that is paid for each of its guests. A Hall is not safe for concurrent use: the caller
// holds a lock.
package hall

import (
	"net/netip"
	"time"
)

// Step is what a connection has shown.
type Step uint8

// The steps in order. Silent is a connection of which nothing has come that is complete.
const (
	Silent     Step = iota
	Secured         // its TLS handshake is done
	Introduced      // its CONNECT is whole
	steps
)

// Config of a Hall. It has no defaults.
type Config struct {
	Reserved   int           // places that known addresses keep
	Remembered int           // known addresses; the one whose client proved itself longest ago is forgotten first
	Young      time.Duration // see the fourth rule
}

// Guest is a connection in the hall. O is whose connection it is for the caller.
type Guest[O any] struct {
	Owner O

	step  Step
	since time.Time
	order uint64 // rises with each guest
	host  *host[O]

	inHost, inStep int // places in host.guests and crowd.atStep
}

// Hall holds the guests. New makes one.
type Hall[O any] struct {
	c         Config
	strangers *crowd[O]
	known     *crowd[O]
	history   *history
	entered   uint64
}

// New makes an empty hall.
func New[O any](c Config) *Hall[O] {
	return &Hall[O]{c: c, strangers: newCrowd[O](), known: newCrowd[O](), history: newHistory(c.Remembered)}
}

// Len is how many guests there are.
func (h *Hall[O]) Len() int { return h.strangers.guests + h.known.guests }

// Held is how many guests are of an address, as Holder counts addresses.
func (h *Hall[O]) Held(a netip.Addr) int {
	n := h.crowdOf(a).networks[networkOf(a)]
	if n == nil {
		return 0
	}
	if a.Is6() {
		return n.guests
	}
	if of := n.byAddr[a]; of != nil {
		return of.guests.Len()
	}
	return 0
}

// Enter takes in a connection of an address. An address that is not valid, as that of a unix
// socket, is one like others, but never becomes known.
func (h *Hall[O]) Enter(a netip.Addr, now time.Time, owner O) *Guest[O] {
	h.entered++
	g := &Guest[O]{Owner: owner, since: now, order: h.entered}
	c := h.crowdOf(a)
	c.add(c.hostOf(a, h.history), g)
	return g
}

// Show notes that a guest has completed a step. Steps do not go back.
func (h *Hall[O]) Show(g *Guest[O], s Step) {
	if s > g.step {
		g.host.net.crowd.show(g, s)
	}
}

// Leave takes a guest out, because its connection has ended or makes room.
func (h *Hall[O]) Leave(g *Guest[O]) { g.host.net.crowd.remove(g) }

// Prove takes a guest out because its client has proved who it is, and makes its address known.
func (h *Hall[O]) Prove(g *Guest[O]) {
	a := g.host.addr
	h.Leave(g)
	if !a.IsValid() {
		return
	}
	fresh, forgotten := h.history.remember(Holder(a))
	if fresh {
		h.change(Holder(a), h.strangers, h.known)
	}
	if forgotten.IsValid() {
		h.change(forgotten, h.known, h.strangers)
	}
}

// change moves the guests of an address that has become known, or was forgotten.
func (h *Hall[O]) change(holder netip.Addr, from, to *crowd[O]) {
	prefix := networkOf(holder)
	if n := from.networks[prefix]; n != nil {
		for _, old := range n.of(holder) {
			into := to.hostOf(old.addr, h.history)
			for _, g := range append([]*Guest[O](nil), old.guests.items...) {
				from.remove(g)
				to.add(into, g)
			}
		}
	}
	if n := h.strangers.networks[prefix]; n != nil {
		n.open = h.history.knows(prefix)
		h.strangers.queue.moved(n)
	}
}

// Worst is the guest that makes room for a newcomer from an address by the rules of the package; nil
// if nobody is there.
func (h *Hall[O]) Worst(newcomer netip.Addr, now time.Time) *Guest[O] {
	known := h.known.guests
	if h.history.has(Holder(newcomer)) {
		known++
	}
	among := []*crowd[O]{h.strangers, h.known}
	if known <= h.c.Reserved && h.strangers.guests > 0 {
		among = among[:1]
	}
	var worst *network[O]
	for _, c := range among {
		if n, ok := c.queue.top(); ok && (worst == nil || n.before(worst)) {
			worst = n
		}
	}
	if worst == nil {
		return nil
	}
	g := worst.worst()
	if now.Sub(g.since) >= h.c.Young {
		return g
	}
	for step := g.step; step < steps; step++ {
		found := g
		for _, c := range among {
			old, ok := c.atStep[step].top()
			if ok && old.order < found.order && now.Sub(old.since) >= h.c.Young {
				found = old
			}
		}
		if found != g {
			return found
		}
	}
	return g
}

// WorstOf is the guest that makes room when an address, as Holder counts addresses, has as many as it may: of
// those the one that the second and third rule choose. nil: it has none.
func (h *Hall[O]) WorstOf(a netip.Addr) *Guest[O] {
	n := h.crowdOf(a).networks[networkOf(a)]
	if n == nil {
		return nil
	}
	if a.Is6() {
		return n.worst()
	}
	if of := n.byAddr[a]; of != nil {
		return of.worst()
	}
	return nil
}

// Holding is a network or address and how many guests it has.
type Holding struct {
	Of     netip.Prefix // of one address, if it counts for itself or is the only one of its network
	Guests int
}

// Most lists who holds most, at most so many. Of a network whose addresses count for
// themselves only the one that holds most is looked at.
func (h *Hall[O]) Most(count int) []Holding {
	var list []Holding
	a, b := h.strangers.queue.first(count), h.known.queue.first(count)
	for len(list) < count && len(a)+len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && a[0].before(b[0]) {
			list, a = append(list, a[0].holding()), a[1:]
		} else {
			list, b = append(list, b[0].holding()), b[1:]
		}
	}
	return list
}

func (h *Hall[O]) crowdOf(a netip.Addr) *crowd[O] {
	if h.history.has(Holder(a)) {
		return h.known
	}
	return h.strangers
}

// Holder is the address under which a is counted. For IPv6 it is the /64 prefix, because a host
// usually can use every address of its prefix.
func Holder(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	return networkOf(a).Addr()
}

// networkOf is the /24 or /64 of an address; not valid for one that is not.
func networkOf(a netip.Addr) netip.Prefix {
	bits := 24
	if a.Is6() {
		bits = 64
	}
	p, _ := a.WithZone("").Prefix(bits)
	return p
}
