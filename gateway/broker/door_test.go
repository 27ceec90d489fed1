package broker_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// from is a connection of that address, which has sent nothing.
func (h *house) from(addr string) *rawclient.Client {
	h.t.Helper()
	nc, err := h.pipe.dialFrom(addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = nc.Close() })
	synctest.Wait() // it is in before the next one comes
	return &rawclient.Client{T: h.t, Conn: nc}
}

// enters is a client of that address which must get in.
func (h *house) enters(addr, id string) *rawclient.Client {
	h.t.Helper()
	c := h.from(addr)
	if p := c.Connect(rawclient.Connect{Level: 5, ID: id, User: id}); p.Body[1] != 0 {
		h.t.Fatalf("%s: %s", id, p)
	}
	return c
}

func (h *house) turnedAway(want string) {
	h.t.Helper()
	if got := fmt.Sprint(h.Stats().TurnedAway); got != "map["+want+"]" {
		h.t.Errorf("turned away: %s, want %s", got, want)
	}
}

// places is a change of options.
func places(n int) func(*broker.Options) {
	return func(o *broker.Options) { o.Listeners[0].Limits.Pending = n }
}

// B8: a silent crowd of four addresses, each of which may hold a quarter of all places, locks nobody out.
func TestB8SilentCrowdOfFourAddresses(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T) {
		h := startInMemory(t, places(64))
		for i := range 4 * 20 {
			h.from(fmt.Sprintf("10.%d.0.1", i%4))
		}
		for i := range 12 {
			h.enters(fmt.Sprintf("10.9.0.%d", i), fmt.Sprint("device ", i))
		}
		if n := h.Stats().Pending; n != 63 { // each device took a place, and left it when it had proved itself
			t.Errorf("%d are pending", n)
		}
	})
}

// B8: nor does one that comes all the time, from a thousand addresses, while the good client takes its time.
func TestB8CrowdThatKeepsComing(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T) {
		h := startInMemory(t, places(256))
		comes := func(n int) {
			for i := range n {
				h.from(fmt.Sprintf("10.2.%d.%d", i/200, i%200))
				time.Sleep(time.Millisecond)
			}
		}
		comes(300)
		good := h.from("10.9.0.1")
		comes(1000)
		if p := good.Connect(rawclient.Connect{Level: 5, ID: "good", User: "good"}); p.Body[1] != 0 {
			t.Errorf("refused: %s", p)
		}
		h.enters("10.9.0.1", "again")
	})
}

// B8: silent connections of one address do not lock out a client behind the same address.
func TestB8CrowdBehindOneAddress(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T) {
		h := startInMemory(t, places(64))
		first := h.from("10.1.0.1")
		other := h.from("10.2.0.1")
		for range 16 {
			h.from("10.1.0.1")
		}
		first.ExpectClosed()
		h.turnedAway("address-hall-full:1")
		h.enters("10.1.0.1", "neighbour")
		other.Connect(rawclient.Connect{Level: 5, ID: "other", User: "other"})
	})
}

// A connection that is not authenticated makes room where a limit of connections in all is reached.
func TestB8SilenceHoldsNoOtherPlace(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(*broker.Limits){
		"address-full":  func(l *broker.Limits) { l.PerAddress = 3 },
		"listener-full": func(l *broker.Limits) { l.MaxConnections = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeless(t, func(t *testing.T) {
				h := startInMemory(t, func(o *broker.Options) { limit(&o.Listeners[0].Limits) })
				h.enters("10.1.0.1", "a")
				h.enters("10.1.0.1", "b")
				silent := h.from("10.1.0.1")
				c := h.enters("10.1.0.1", "c")
				silent.ExpectClosed()
				h.from("10.1.0.1").ExpectClosed() // nobody is silent now
				h.turnedAway(name + ":2")
				if n := h.Stats().RefusedEarly; n != 1 {
					t.Errorf("%d were refused", n)
				}
				c.ExpectSilence()
			})
		})
	}
}

// The steps that count are those that the connection really does: TLS done, and CONNECT whole.
func TestB8StepsOfAConnection(t *testing.T) {
	t.Parallel()
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		timeless(t, func(t *testing.T) {
			h := startInMemory(t, places(2), func(o *broker.Options) { o.Listeners[0].TLS = serverTLS(t) })
			raw := h.from("10.1.0.1")
			secured := tls.Client(raw, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the server's identity is not the point here
			if err := secured.Handshake(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			half := h.from("10.2.0.1")
			half.Hex("1603010200") // the head of a ClientHello
			h.from("10.3.0.1")
			half.ExpectClosed()
			c := &rawclient.Client{T: t, Conn: secured}
			if p := c.Connect(rawclient.Connect{Level: 5, ID: "c", User: "c"}); p.Body[1] != 0 {
				t.Errorf("refused: %s", p)
			}
		})
	})
	t.Run("CONNECT", func(t *testing.T) {
		t.Parallel()
		timeless(t, func(t *testing.T) {
			slow := &slowNames{may: make(chan struct{})}
			h := startInMemory(t, places(2), func(o *broker.Options) {
				slow.names, _ = o.Authenticator.(*names)
				o.Authenticator = slow
			})
			whole := h.from("10.1.0.1")
			whole.Level = 5
			whole.Put(rawclient.Connect{Level: 5, ID: "c", User: "c"}.Bytes()...)
			half := h.from("10.2.0.1")
			half.Hex("1020")
			h.from("10.3.0.1")
			half.ExpectClosed()
			close(slow.may)
			whole.ExpectType(2)
		})
	})
}

// slowNames takes its time.
type slowNames struct {
	*names
	may chan struct{}
}

func (s *slowNames) Authenticate(ctx context.Context, c *principal.Credentials) (*principal.Principal, error) {
	<-s.may
	return s.names.Authenticate(ctx, c)
}

// Addresses whose clients have connected before keep half of the places.
func TestB8KnownAddressesKeepHalf(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T) {
		h := startInMemory(t, places(8))
		for i := range 4 {
			_ = h.enters(fmt.Sprintf("10.9.0.%d", i), fmt.Sprint(i)).Close()
		}
		var back []*rawclient.Client
		for i := range 4 {
			back = append(back, h.from(fmt.Sprintf("10.9.0.%d", i)))
		}
		for i := range 100 {
			h.from(fmt.Sprintf("10.%d.0.1", 10+i))
			time.Sleep(50 * time.Millisecond)
		}
		for i, c := range back {
			if p := c.Connect(rawclient.Connect{Level: 5, ID: fmt.Sprint(i), User: fmt.Sprint(i)}); p.Body[1] != 0 {
				t.Errorf("%d: %s", i, p)
			}
		}
	})
}

// Crowded is told while connections are closed to make room, by whom, and when that has ended.
func TestCrowdIsTold(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T) {
		told := make(chan []broker.Crowd, 100)
		h := startInMemory(t, places(4), func(o *broker.Options) { o.Crowded = func(list []broker.Crowd) { told <- list } })
		for range 4 {
			h.from("10.1.0.1")
		}
		if len(told) != 0 {
			t.Error("told before anybody had to go")
		}
		h.from("10.1.0.2")
		c := (<-told)[0]
		if c.Closed != 1 || c.Pending != 4 || c.Places != 4 || !strings.Contains(c.String(), "most by 10.1.0.0/24 (4)") &&
			!strings.Contains(c.String(), "most by 10.1.0.1 (3)") {
			t.Errorf("told %s", c)
		}
		began := time.Now()
		last := c
		for list := range told {
			if len(list) == 0 {
				break
			}
			last = list[0]
		}
		if d := time.Since(began); d < 29*time.Second || d > 31*time.Second || last.Closed != 1 {
			t.Errorf("over after %s: %s", d, last)
		}
	})
}

// A first byte that cannot be that of a CONNECT ends the connection at once, before the rest of
// what it announces.
func TestFirstByteOfAStranger(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T) {
		h := startInMemory(t)
		for first := range 256 {
			if first == 0x10 {
				continue
			}
			began := time.Now()
			c := h.from("10.1.0.1")
			c.Put(byte(first))
			c.ExpectClosed()
			if d := time.Since(began); d > time.Second { // FlushTimeout, because the client does not hang up
				t.Errorf("%#x: took %s", first, d)
			}
		}
		h.turnedAway("not-connect:255")
		began := time.Now()
		c := h.from("10.1.0.1")
		c.Put(0x10)
		c.ExpectClosed()
		if d := time.Since(began); d < 10*time.Second {
			t.Errorf("half a CONNECT: took %s", d)
		}
	})
}

// F: a CONNECT of Limits.ConnectPacket bytes is taken, and a longer one refused before it has come.
func TestB7ConnectPacket(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *broker.Options) { o.Listeners[0].Limits.ConnectPacket = 1024 })
	of := func(size int) []byte {
		b := rawclient.Connect{Level: 5, ID: "c", User: "u"}.Bytes()
		for n := size - len(b); len(b) != size; n-- {
			b = rawclient.Connect{Level: 5, ID: "c", User: "u" + strings.Repeat("x", n)}.Bytes()
		}
		return b
	}
	fits := h.dial()
	fits.Put(of(1024)...)
	if p := fits.ExpectType(2); p.Body[1] != 0 {
		t.Errorf("1024 bytes: %s", p)
	}
	larger := h.dial()
	larger.Put(of(1025)[:200]...)
	if seen := larger.ExpectClosed(); len(seen) != 1 || !bytes.HasPrefix(seen[0].Body, []byte{0, 0x95}) {
		t.Errorf("1025 bytes: %v", seen)
	}
}

// Two addresses of one IPv6 /64 count as one, and those of another do not.
func TestB8OneIPv6Network(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T) {
		h := startInMemory(t, func(o *broker.Options) { o.Listeners[0].Limits.PerAddress = 2 })
		h.enters("2001:db8::1", "a")
		h.enters("2001:db8::ffff:1", "b")
		h.from("2001:db8:0:0:8000::1").ExpectClosed()
		h.turnedAway("address-full:1")
		h.enters("2001:db8:0:1::1", "c")
		h.enters("10.0.0.1", "d")
		h.enters("10.0.0.2", "e")
		h.enters("10.0.0.3", "f")
	})
}

// Whoever comes, proves itself, makes room and leaves at once is counted right: in the end all places
// are free, and there is not one too many.
func TestB8DoorCountsInTheRush(t *testing.T) {
	t.Parallel()
	const most = 12
	h := start(t, func(o *broker.Options) {
		l := &o.Listeners[0].Limits
		l.Pending, l.PendingAddress, l.MaxConnections, l.RatePerAddress = 8, 6, most, 1e6
	})
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for n := range 25 {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(i%2), byte(1+i%5))}}
				nc, err := d.DialContext(t.Context(), "tcp", h.addr)
				if err != nil { // it was closed before it was ours
					continue
				}
				switch n % 3 {
				case 0:
					_, _ = nc.Write(rawclient.Connect{Level: 5, ID: fmt.Sprint(i), User: "u"}.Bytes())
					_ = nc.SetReadDeadline(time.Now().Add(rawclient.Wait))
					_, _ = nc.Read(make([]byte, 1))
				case 1:
					_, _ = nc.Write([]byte{0x10})
				default:
					_, _ = nc.Write([]byte("GET"))
				}
				_ = nc.Close()
			}
		})
	}
	all.Wait()
	h.until("all have left", func() bool { s := h.Stats(); return s.Pending == 0 && s.Connections == 0 })
	for i := range most {
		h.client(5, fmt.Sprint("last ", i))
	}
	more := h.dial()
	more.ExpectClosed()
	if n := h.Stats().Pending; n != 0 {
		t.Errorf("%d are pending", n)
	}
}
