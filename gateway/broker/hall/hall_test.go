package hall

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// place is a hall with a clock of its own.
type place struct {
	*Hall[string]
	t      *testing.T
	now    time.Time
	guests map[string]*Guest[string]
}

func open(t *testing.T, c Config) *place {
	c.Young = 2 * time.Second
	return &place{New[string](c), t, time.Unix(1000, 0), map[string]*Guest[string]{}}
}

// enter takes in a guest of an address; it comes a millisecond after the one before.
func (p *place) enter(name, addr string) {
	p.now = p.now.Add(time.Millisecond)
	p.guests[name] = p.Enter(netip.MustParseAddr(addr), p.now, name)
}

// proves makes an address known.
func (p *place) proves(addr string) {
	p.enter("proof", addr)
	p.Prove(p.guests["proof"])
}

func (p *place) wait(d time.Duration) { p.now = p.now.Add(d) }

// goes expects that a newcomer of addr would cost that guest its place.
func (p *place) goes(want, addr string) {
	p.t.Helper()
	g := p.Worst(netip.MustParseAddr(addr), p.now)
	if g == nil || g.Owner != want {
		p.t.Errorf("goes: %+v, want %s", g, want)
	}
}

const far = "192.0.2.9" // where a newcomer comes from that has nothing to do with the others

func TestOfTheAddressThatHoldsMost(t *testing.T) {
	p := open(t, Config{})
	p.enter("good", "10.1.0.1")
	p.enter("crowd 1", "10.2.0.1")
	p.enter("crowd 2", "10.2.0.1")
	p.goes("crowd 1", far)
}

func TestWhoHasShownLeast(t *testing.T) {
	p := open(t, Config{})
	p.enter("first", "10.2.0.1")
	p.enter("second", "10.2.0.1")
	p.goes("first", far)
	p.Show(p.guests["first"], Secured)
	p.goes("second", far)
	p.Show(p.guests["second"], Introduced)
	p.goes("first", far)
	p.Show(p.guests["second"], Silent) // steps do not go back
	p.goes("first", far)
}

func TestLeastIsComparedAmongThoseThatHoldAsMuch(t *testing.T) {
	p := open(t, Config{})
	for i := range 5 {
		p.enter(fmt.Sprint(i), fmt.Sprintf("10.%d.0.1", i))
	}
	for i := range 4 {
		p.goes(fmt.Sprint(i), far)
		p.Show(p.guests[fmt.Sprint(i)], Secured)
	}
	p.goes("4", far)
}

func TestNobodyYoungGoesBeforeAnOlderOne(t *testing.T) {
	p := open(t, Config{})
	p.enter("old", "10.1.0.1")
	p.wait(time.Second)
	for i := range 10 {
		p.enter(fmt.Sprint("young ", i), "10.2.0.1")
	}
	p.goes("young 0", far) // nobody is two seconds old
	p.wait(time.Second)
	p.goes("old", far)
	p.Show(p.guests["old"], Secured) // also at a later step
	p.goes("old", far)
	for i := range 10 {
		p.Show(p.guests[fmt.Sprint("young ", i)], Secured)
	}
	p.goes("old", far)
	p.wait(time.Second) // now the many are as old
	p.goes("young 0", far)
}

func TestANetworkCountsUntilOneOfItHasProvedItself(t *testing.T) {
	for name, network := range map[string]string{"/24": "10.2.0.%d", "/64": "2001:db8::%d"} {
		t.Run(name, func(t *testing.T) {
			p := open(t, Config{Remembered: 1})
			p.enter("good 1", "10.1.0.1")
			p.enter("good 2", "10.1.0.1")
			for i := range 5 {
				p.enter(fmt.Sprint("crowd ", i), fmt.Sprintf(network, i+1))
			}
			p.goes("crowd 0", far)
			p.proves(fmt.Sprintf(network, 9))
			p.goes("good 1", far)
			p.proves("198.51.100.1") // the other proof is forgotten
			p.goes("crowd 0", far)
		})
	}
}

func TestAnotherNetworkIsAnother(t *testing.T) {
	for _, pair := range [][2]string{{"10.2.0.1", "10.2.1.1"}, {"2001:db8::1", "2001:db8:0:1::1"}} {
		p := open(t, Config{})
		p.enter("good", "10.1.0.1")
		p.enter("a", pair[0])
		p.enter("b", pair[1])
		p.goes("good", far)
	}
}

func TestWithinANetworkTheBusiestAddress(t *testing.T) {
	p := open(t, Config{})
	p.enter("neighbour", "10.2.0.7")
	p.enter("crowd 1", "10.2.0.1")
	p.enter("crowd 2", "10.2.0.1")
	p.goes("crowd 1", far)
}

func TestKnownAddressesKeepTheirShare(t *testing.T) {
	p := open(t, Config{Reserved: 2, Remembered: 10})
	p.proves("10.1.0.1")
	p.enter("device 1", "10.1.0.1")
	p.enter("device 2", "10.1.0.1")
	p.enter("stranger", "10.2.0.1")
	p.wait(time.Minute)
	p.goes("stranger", far)
	p.goes("device 1", "10.1.0.1") // it would be the third
	p.enter("device 3", "10.1.0.1")
	p.goes("device 1", far)
	p.Leave(p.guests["stranger"])
	p.Leave(p.guests["device 3"])
	p.goes("device 1", far) // no stranger is there
}

func TestAKnownAddressTakesItsGuestsAlong(t *testing.T) {
	for _, network := range []string{"10.1.0.1", "2001:db8::1"} {
		p := open(t, Config{Reserved: 4, Remembered: 1})
		p.enter("stranger", "10.2.0.1")
		for i := range 3 {
			p.enter(fmt.Sprint("device ", i), network)
		}
		p.goes("device 0", far)
		p.proves(network)
		p.goes("stranger", far)
		p.proves("198.51.100.1")
		p.goes("device 0", far)
	}
}

// The address whose client proved itself longest ago is forgotten, not the one that came first.
func TestTheLeastRecentIsForgotten(t *testing.T) {
	p := open(t, Config{Reserved: 9, Remembered: 2})
	for _, a := range []string{"10.1.0.1", "10.2.0.1", "10.1.0.1", "10.3.0.1"} {
		p.proves(a)
	}
	for i, a := range []string{"10.1.0.1", "10.2.0.1", "10.3.0.1"} {
		p.enter(fmt.Sprint(i), a)
	}
	p.goes("1", far)
}

// Addresses that never prove themselves leave nothing behind, and those that do no more
// than Remembered.
func TestBounded(t *testing.T) {
	p := open(t, Config{Remembered: 50})
	for i := range 5000 {
		a := fmt.Sprintf("10.%d.%d.1", i/250, i%250)
		p.enter("x", a)
		if i%2 == 0 {
			p.Leave(p.guests["x"])
		} else {
			p.Prove(p.guests["x"])
		}
	}
	if n := len(p.strangers.networks) + len(p.known.networks) + p.Len(); n != 0 {
		t.Errorf("%d are left", n)
	}
	if len(p.history.by) != 50 || p.history.latest.Len() != 50 || len(p.history.networks) != 50 {
		t.Errorf("%d addresses of %d networks", len(p.history.by), len(p.history.networks))
	}
}

func TestUnixSocketsHaveNoAddress(t *testing.T) {
	p := open(t, Config{Reserved: 1, Remembered: 10})
	var none netip.Addr
	first := p.Enter(none, p.now, "first")
	p.Enter(none, p.now, "second")
	if g := p.Worst(none, p.now); g != first {
		t.Errorf("goes: %+v", g)
	}
	p.Prove(first)
	if p.history.latest.Len() != 0 {
		t.Error("it is known")
	}
}

func TestMost(t *testing.T) {
	p := open(t, Config{Reserved: 1, Remembered: 10})
	p.proves("10.9.0.1")
	for i, a := range []string{
		"10.2.0.1", "10.2.0.2", "10.2.0.2", "10.3.0.1", "10.3.0.1", "10.9.0.2", "10.9.0.1", "10.9.0.1", "10.9.0.1", "10.9.0.1",
	} {
		p.enter(fmt.Sprint(i), a)
	}
	want := "[{10.9.0.1/32 4} {10.2.0.0/24 3} {10.3.0.1/32 2} {10.9.0.2/32 1}]"
	if got := fmt.Sprint(p.Most(9)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := fmt.Sprint(p.Most(2)); got != want[:len("[{10.9.0.1/32 4} {10.2.0.0/24 3}")]+"]" {
		t.Error(got)
	}
}

// BenchmarkFullHall is a newcomer that costs somebody else the place, in halls of two sizes: the
// larger one must not cost in proportion.
func BenchmarkFullHall(b *testing.B) {
	for _, places := range []int{256, 65536} {
		b.Run(fmt.Sprint(places), func(b *testing.B) {
			h, now := New[int](Config{Reserved: places / 2, Remembered: 4096, Young: 2 * time.Second}), time.Unix(1000, 0)
			at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
			for i := range places {
				h.Enter(at(i*31), now, i)
			}
			b.ReportAllocs()
			i := places
			for b.Loop() {
				i++
				a := at(i * 31)
				h.Leave(h.Worst(a, now))
				h.Enter(a, now, i)
			}
		})
	}
}

// Connections that fall silent after their TLS handshake do not cost newcomers theirs.
func TestSilenceAfterTheHandshakeCostsItsPlace(t *testing.T) {
	p := open(t, Config{})
	for i := range 3 {
		name := fmt.Sprint("crowd ", i)
		p.enter(name, fmt.Sprintf("10.%d.0.1", i))
		p.Show(p.guests[name], Secured)
	}
	p.wait(3 * time.Second)
	p.enter("good", "10.9.0.1")
	p.goes("crowd 0", far)
}
