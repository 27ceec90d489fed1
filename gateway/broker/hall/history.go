package hall

import (
	"container/list"
	"net/netip"
)

// history is which addresses are known: those whose clients have proved themselves. It forgets
// the one whose client did so longest ago when there are too many.
type history struct {
	most     int
	latest   *list.List // of netip.Addr, the latest proof first
	by       map[netip.Addr]*list.Element
	networks map[netip.Prefix]int // known addresses in each, none of them 0
}

func newHistory(most int) *history {
	return &history{most: most, latest: list.New(), by: map[netip.Addr]*list.Element{}, networks: map[netip.Prefix]int{}}
}

func (h *history) has(a netip.Addr) bool { return h.by[a] != nil }

// knows tells whether an address of the network is known.
func (h *history) knows(p netip.Prefix) bool { return h.networks[p] > 0 }

// remember notes a proof. fresh: the address was not known; forgotten, if valid, no longer is.
func (h *history) remember(a netip.Addr) (fresh bool, forgotten netip.Addr) {
	if e := h.by[a]; e != nil {
		h.latest.MoveToFront(e)
		return false, netip.Addr{}
	}
	if h.most <= 0 {
		return false, netip.Addr{}
	}
	h.by[a] = h.latest.PushFront(a)
	h.networks[networkOf(a)]++
	if h.latest.Len() <= h.most {
		return true, netip.Addr{}
	}
	forgotten, _ = h.latest.Remove(h.latest.Back()).(netip.Addr)
	delete(h.by, forgotten)
	p := networkOf(forgotten)
	if h.networks[p]--; h.networks[p] == 0 {
		delete(h.networks, p)
	}
	return true, forgotten
}
