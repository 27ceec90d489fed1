package broker

import (
	"container/list"
	"math"
	"net/netip"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/hall"
)

// addresses counts the connections of each remote address, by what hall.Holder returns, and at
// which rate they come. An address without connections is forgotten when its bucket is full again.
// The mu of its admission guards it.
type addresses struct {
	rate   float64 // tokens a second
	by     map[netip.Addr]*address
	unused *list.List // of *address without connections, the longest unused first
}

// address counts the connections of one address.
type address struct {
	holder  netip.Addr
	open    int
	waiting int
	tokens  float64 // token bucket: how many new connections it may make now
	last    time.Time
	unused  *list.Element // its place in addresses.unused, or nil
}

func newAddresses(rate float64) addresses {
	return addresses{rate: rate, by: map[netip.Addr]*address{}, unused: list.New()}
}

// full is how many tokens a bucket holds.
func (s *addresses) full() float64 { return max(1, s.rate) }

// at finds an address at the time of a newcomer; nil for one that is not valid, as that of a unix socket.
func (s *addresses) at(a netip.Addr, now time.Time) *address {
	if !a.IsValid() {
		return nil
	}
	s.forget(now)
	holder := hall.Holder(a)
	e := s.by[holder]
	if e == nil {
		e = &address{holder: holder, tokens: s.full(), last: now}
		s.by[holder] = e
		e.unused = s.unused.PushBack(e)
	}
	e.tokens = min(s.full(), e.tokens+now.Sub(e.last).Seconds()*s.rate)
	e.last = now
	if e.unused != nil {
		s.unused.MoveToBack(e.unused)
	}
	return e
}

// forget drops two addresses at most, so that it keeps up with newcomers and none of them waits for all.
func (s *addresses) forget(now time.Time) {
	filled := time.Duration(math.Ceil(s.full() / s.rate * float64(time.Second)))
	for range 2 {
		first := s.unused.Front()
		if first == nil {
			return
		}
		e, _ := first.Value.(*address)
		if now.Sub(e.last) < filled {
			return
		}
		s.unused.Remove(first)
		delete(s.by, e.holder)
	}
}

// mayCome tells whether the rate lets an address make a connection.
func (e *address) mayCome() bool { return e == nil || e.tokens >= 1 }

// opened counts a connection; e may be nil.
func (s *addresses) opened(e *address) {
	if e == nil {
		return
	}
	e.open++
	s.used(e)
}

func (s *addresses) closed(a netip.Addr) {
	if e := s.by[hall.Holder(a)]; e != nil {
		e.open--
		s.used(e)
	}
}

// waiting is how many connections of an address wait for a contested session.
func (s *addresses) waiting(a netip.Addr) int {
	if e := s.by[hall.Holder(a)]; e != nil {
		return e.waiting
	}
	return 0
}

func (s *addresses) wait(a netip.Addr, n int) {
	if e := s.by[hall.Holder(a)]; e != nil {
		e.waiting += n
		s.used(e)
	}
}

// used notes whether e has connections.
func (s *addresses) used(e *address) {
	busy := e.open > 0 || e.waiting > 0
	switch {
	case busy && e.unused != nil:
		s.unused.Remove(e.unused)
		e.unused = nil
	case !busy && e.unused == nil:
		e.unused = s.unused.PushBack(e)
	}
}
