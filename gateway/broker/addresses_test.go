package broker

import (
	"net/netip"
	"testing"
	"time"
)

// An address that no connection is left of is remembered until its bucket is full, and forgotten by
// and by: no newcomer pays for all of them, and their number is bounded by the rate of newcomers.
func TestAddressesAreForgotten(t *testing.T) {
	s := newAddresses(2)
	now := time.Unix(1000, 0)
	for i := range 100_000 {
		now = now.Add(time.Millisecond)
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		s.opened(s.at(a, now))
		s.closed(a)
	}
	if n := len(s.by); n > 1100 {
		t.Errorf("%d addresses are kept, want those of the last second", n)
	}
	if len(s.by) != s.unused.Len() {
		t.Errorf("%d of %d are unused", s.unused.Len(), len(s.by))
	}
}

// One that has connections, or waits, stays; and the rate goes on counting while it is remembered.
func TestAddressesInUseStay(t *testing.T) {
	s := newAddresses(0.5)
	now := time.Unix(1000, 0)
	in := netip.MustParseAddr("10.0.0.1")
	e := s.at(in, now)
	e.tokens--
	s.opened(e)
	s.wait(in, 1)
	s.closed(in)
	other := netip.MustParseAddr("10.0.0.2")
	now = now.Add(time.Hour)
	s.at(other, now).tokens--
	if s.waiting(in) != 1 {
		t.Error("the address whose connection waits is forgotten")
	}
	s.wait(in, -1)
	now = now.Add(time.Second)
	if s.at(other, now).mayCome() {
		t.Error("half a token is one")
	}
	now = now.Add(time.Second)
	if !s.at(other, now).mayCome() {
		t.Error("after two seconds it has no token")
	}
	if len(s.by) != 1 {
		t.Errorf("%d addresses, want the one that came last", len(s.by))
	}
}
