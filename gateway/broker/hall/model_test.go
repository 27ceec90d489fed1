package hall

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// model is the naive hall: a list, and the rules of the package comment read off one after the
// other. It counts everything anew each time.
type model struct {
	c     Config
	known []netip.Addr // holders, the latest proof last
	in    []*seen
}

type seen struct {
	addr  netip.Addr
	step  Step
	since time.Time
	g     *Guest[int]
}

func (m *model) isKnown(s *seen) bool { return slices.Contains(m.known, Holder(s.addr)) }

// group is what a guest counts with: its network, while no address in it is known.
func (m *model) group(s *seen) string {
	p := networkOf(s.addr)
	if slices.ContainsFunc(m.known, func(k netip.Addr) bool { return networkOf(k) == p }) {
		return fmt.Sprint(s.addr, m.isKnown(s))
	}
	return p.String()
}

func count(in []*seen, is func(*seen) bool) int {
	n := 0
	for _, s := range in {
		if is(s) {
			n++
		}
	}
	return n
}

// most are those of list whose key is the most frequent, and all of them if several are.
func most(list []*seen, key func(*seen) string) []*seen {
	held := map[string]int{}
	for _, s := range list {
		held[key(s)]++
	}
	top := 0
	for _, n := range held {
		top = max(top, n)
	}
	return slices.DeleteFunc(slices.Clone(list), func(s *seen) bool { return held[key(s)] < top })
}

func (m *model) worst(newcomer netip.Addr, now time.Time) *seen {
	among := slices.Clone(m.in)
	known := count(m.in, m.isKnown)
	if slices.Contains(m.known, Holder(newcomer)) {
		known++
	}
	if strangers := slices.DeleteFunc(slices.Clone(m.in), m.isKnown); known <= m.c.Reserved && len(strangers) > 0 {
		among = strangers
	}
	if len(among) == 0 {
		return nil
	}
	g := m.ofMost(among)
	if now.Sub(g.since) < m.c.Young {
		for step := g.step; step < steps; step++ {
			for _, s := range among { // in order of their coming
				if s.step == step && now.Sub(s.since) >= m.c.Young {
					return s
				}
			}
		}
	}
	return g
}

// ofMost is the second and the third rule.
func (m *model) ofMost(among []*seen) *seen {
	var firsts []*seen
	groups := most(among, m.group)
	for _, s := range groups {
		mine := slices.DeleteFunc(slices.Clone(groups), func(o *seen) bool { return m.group(o) != m.group(s) })
		hosts := most(mine, func(s *seen) string { return s.addr.String() })
		firsts = append(firsts, slices.MinFunc(hosts, m.order))
	}
	return slices.MinFunc(firsts, m.order)
}

func (m *model) order(a, b *seen) int {
	return cmp.Or(cmp.Compare(a.step, b.step), cmp.Compare(slices.Index(m.in, a), slices.Index(m.in, b)))
}

func (m *model) prove(s *seen) {
	m.leave(s)
	h := Holder(s.addr)
	m.known = append(slices.DeleteFunc(m.known, func(k netip.Addr) bool { return k == h }), h)
	if len(m.known) > m.c.Remembered {
		m.known = m.known[1:]
	}
}

func (m *model) leave(s *seen) {
	m.in = slices.Delete(m.in, slices.Index(m.in, s), slices.Index(m.in, s)+1)
}

// TestTheNaiveHallChoosesTheSame: random crowds of a few addresses of a few networks, so that every
// rule has its turn in all combinations.
func TestTheNaiveHallChoosesTheSame(t *testing.T) {
	var addrs []netip.Addr
	for _, a := range []string{"10.0.0.%d", "10.0.1.%d", "10.0.2.%d", "2001:db8::%d", "2001:db8:0:1::%d"} {
		for i := range 4 {
			addrs = append(addrs, netip.MustParseAddr(fmt.Sprintf(a, i+1)))
		}
	}
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := Config{Reserved: r.IntN(8), Remembered: 1 + r.IntN(5), Young: 2 * time.Second}
		places := 1 + r.IntN(20)
		h, m, now := New[int](c), &model{c: c}, time.Unix(1000, 0)
		some := addrs[:1+r.IntN(len(addrs))]
		for turn := range 300 {
			now = now.Add(time.Duration(r.IntN(400)) * time.Millisecond)
			a := some[r.IntN(len(some))]
			switch what := r.IntN(10); {
			case what < 6:
				if len(m.in) >= places {
					s, g := m.worst(a, now), h.Worst(a, now)
					if g == nil || s.g != g {
						t.Fatalf("seed %d, turn %d: closes %v, want %v", seed, turn, g, s.addr)
					}
					h.Leave(g)
					m.leave(s)
				}
				m.in = append(m.in, &seen{addr: a, since: now, g: h.Enter(a, now, turn)})
			case len(m.in) == 0:
			case what < 8:
				s := m.in[r.IntN(len(m.in))]
				s.step = max(s.step, Step(r.IntN(int(steps))))
				h.Show(s.g, s.step)
			case what < 9:
				s := m.in[r.IntN(len(m.in))]
				h.Prove(s.g)
				m.prove(s)
			default:
				s := m.in[r.IntN(len(m.in))]
				h.Leave(s.g)
				m.leave(s)
			}
			m.compare(t, h, addrs)
			if t.Failed() {
				t.Fatalf("seed %d, turn %d", seed, turn)
			}
		}
	}
}

func (m *model) compare(t *testing.T, h *Hall[int], addrs []netip.Addr) {
	t.Helper()
	if h.Len() != len(m.in) {
		t.Errorf("%d guests, want %d", h.Len(), len(m.in))
	}
	for _, a := range addrs {
		mine := slices.DeleteFunc(slices.Clone(m.in), func(s *seen) bool { return Holder(s.addr) != Holder(a) })
		if h.Held(a) != len(mine) {
			t.Errorf("%s holds %d, want %d", a, h.Held(a), len(mine))
		}
		g := h.WorstOf(a)
		if (g == nil) != (len(mine) == 0) {
			t.Errorf("%s: its worst is %v", a, g)
			continue
		}
		if g == nil {
			continue
		}
		hosts := most(mine, func(s *seen) string { return s.addr.String() })
		if want := slices.MinFunc(hosts, m.order); want.g != g {
			t.Errorf("%s: its worst is %+v, want %+v", a, g, want.g)
		}
	}
	held := 0
	for _, n := range h.Most(1000) {
		held = max(held, n.Guests)
	}
	if len(m.in) == 0 {
		return
	}
	if top := m.ofMost(m.in); held != count(m.in, func(s *seen) bool { return m.group(s) == m.group(top) }) {
		t.Errorf("whoever holds most holds %d: %v", held, h.Most(3))
	}
}
