package broker_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
)

// B7: an announced length costs nothing, and the limit before CONNECT is smaller.
func TestB7AnnouncedLength(t *testing.T) {
	t.Parallel()
	h := start(t)
	c := h.dial()
	c.Hex("1080808064") // CONNECT of 200 MiB
	if seen := c.ExpectClosed(); len(seen) != 1 || seen[0].Body[1] != 0x95 {
		t.Errorf("before CONNECT: %v", seen)
	}
	levels(t, func(t *testing.T, level byte) {
		c := h.client(level, "big")
		c.Hex("30ffffff7f")
		if seen := c.ExpectClosed(); level == 5 && (len(seen) != 1 || seen[0].Body[0] != 0x95) {
			t.Errorf("after CONNECT: %v", seen)
		}
	})
}

// B8: a connection that never sends CONNECT is closed, and only a bounded number of them may be open.
func TestB8Deadlines(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T) {
		h := startInMemory(t)
		began := time.Now()
		silent, slow, good := h.dial(), h.dial(), h.client(5, "good")
		slow.Hex("1020")
		for range 3 {
			time.Sleep(3 * time.Second) // a byte now and then renews nothing
			slow.Put(0)
		}
		silent.ExpectClosed()
		slow.ExpectClosed()
		if d := time.Since(began); d < 10*time.Second || d > 11*time.Second { // to send CONNECT, and to read what is said then
			t.Errorf("took %v", d)
		}
		good.ExpectSilence()
		synctest.Wait()
		if n := h.Stats().Pending; n != 0 {
			t.Errorf("%d pending", n)
		}
	})
}

func TestB8TLSHandshakeDeadline(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *broker.Options) {
		o.Listeners[0].Limits.Handshake = 100 * time.Millisecond
		o.Listeners[0].TLS = serverTLS(t)
	})
	c := h.dial()
	c.Hex("160301")
	_ = c.SetReadDeadline(time.Now().Add(rawclient.Wait))
	if _, err := c.Read(make([]byte, 64)); err == nil || errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("read: %v", err)
	}
	h.until("it is gone", func() bool { return h.Stats().Pending == 0 })
}

func TestB8Caps(t *testing.T) {
	t.Parallel()
	refused := func(t *testing.T, h *house) {
		t.Helper()
		c := h.dial()
		_ = c.SetReadDeadline(time.Now().Add(rawclient.Wait))
		if n, err := c.Read(make([]byte, 1)); err == nil || n > 0 {
			t.Error("let in")
		}
		if h.Stats().RefusedEarly == 0 {
			t.Error("not counted")
		}
	}
	t.Run("pending", func(t *testing.T) {
		t.Parallel()
		h := start(t, func(o *broker.Options) { o.Listeners[0].Limits.Pending = 2 })
		a, b := h.dial(), h.dial()
		h.until("two wait", func() bool { return h.Stats().Pending == 2 })
		c := h.dial() // for which the one that was silent for longest is closed
		a.ExpectClosed()
		if n := h.Stats().Pending; n != 2 {
			t.Errorf("%d are pending", n)
		}
		for i, c := range []*rawclient.Client{b, c} {
			c.Connect(rawclient.Connect{Level: 5, ID: fmt.Sprint(i), User: "u"})
		}
		h.until("nobody waits", func() bool { return h.Stats().Pending == 0 })
	})
	t.Run("per address", func(t *testing.T) {
		t.Parallel()
		h := start(t, func(o *broker.Options) { o.Listeners[0].Limits.PerAddress = 2 })
		h.client(5, "a")
		b := h.client(5, "b")
		refused(t, h)
		_ = b.Close()
		h.until("b is gone", func() bool { return h.Stats().Connections == 1 })
		h.client(5, "c")
	})
	t.Run("rate", func(t *testing.T) {
		t.Parallel()
		timeless(t, func(t *testing.T) {
			h := startInMemory(t, func(o *broker.Options) { o.Listeners[0].Limits.RatePerAddress = 3 })
			for range 3 {
				h.dial()
			}
			synctest.Wait()
			if n := h.Stats().Accepted; n != 3 {
				t.Errorf("%d are in", n)
			}
			refused(t, h)
			time.Sleep(time.Second) // three more
			h.client(5, "later").ExpectSilence()
		})
	})
}

// B9: keep alive in full width.
func TestB9KeepAlive(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		for alive, effective := range map[uint16]time.Duration{0: 0, 1: 1, 43691: 43691, 65535: 65535} {
			t.Run(fmt.Sprint(alive), func(t *testing.T) {
				t.Parallel()
				timeless(t, func(t *testing.T) { keepAlive(t, level, alive, effective*time.Second) })
			})
		}
	})
}

// keepAlive connects with a keep alive and checks when the silent client is closed: after
// one and a half times the one that counts, which the server of an MQTT 5 client may set.
func keepAlive(t *testing.T, level byte, alive uint16, counts time.Duration) {
	h := startInMemory(t)
	c := h.dial()
	p := c.Connect(rawclient.Connect{Level: level, ID: "k", User: "k", KeepAlive: alive})
	capped := bytes.Contains(p.Body, []byte{19, 1200 >> 8, 1200 & 0xff})
	if want := level == 5 && alive != 1; capped != want {
		t.Errorf("server keep alive %v, want %v: %s", capped, want, p)
	}
	if capped {
		counts = 1200 * time.Second
	}
	if counts > 1200*time.Second || counts == 0 {
		time.Sleep(1200 * time.Second) // what does not fit into 16 bits is closed long before
		c.ExpectSilence()
		return
	}
	rounds := 4
	if capped {
		rounds = 1 // an hour of the housekeeping's ticks costs a second
	}
	for range rounds { // renewed by every frame
		time.Sleep(counts + counts/4)
		c.ExpectSilence()
	}
	began := time.Now()
	var seen []rawclient.Packet
	for {
		p, err := c.Next(2*counts + time.Second)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the connection stays open")
		}
		if err != nil {
			break
		}
		seen = append(seen, p)
	}
	if d, due := time.Since(began), counts+counts/2; d < due || d > due+time.Second { // FlushTimeout, because the client does not hang up
		t.Errorf("closed after %v, want %v", d, due)
	}
	if level == 5 && (len(seen) != 1 || seen[0].Body[0] != 0x8d) {
		t.Errorf("seen %v", seen)
	}
}

// B23: a failed accept does not make the listener deaf.
func TestB23AcceptErrors(t *testing.T) {
	t.Parallel()
	var flaky *flakyListener
	h := start(t, func(o *broker.Options) {
		flaky = &flakyListener{Listener: o.Listeners[0].Listener}
		flaky.failures.Store(5)
		o.Listeners[0].Listener = flaky
	})
	h.client(5, "a").ExpectSilence()
	if n := h.Stats().AcceptErrors; n != 5 {
		t.Errorf("%d errors counted", n)
	}
	if !strings.Contains(h.log.String(), "accept failed") {
		t.Error("silent")
	}
}

type flakyListener struct {
	net.Listener
	failures atomic.Int32
}

func (l *flakyListener) Accept() (net.Conn, error) {
	if l.failures.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// B28: depth and length are limited before any tree is touched.
func TestB28DeepTopics(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t, func(o *broker.Options) { o.Listeners[0].OnDeniedPublish = broker.Ignore })
		c := h.client(level, "c")
		deep := strings.Repeat("a/", 32000)
		began := time.Now()
		want := map[byte]byte{4: 0x80, 5: 0x8f}[level]
		for _, f := range []string{deep, strings.Repeat("x", 65535), "a/" + strings.Repeat("/", 64)} {
			if code := c.Subscribe(1, f, 0); code != want {
				t.Errorf("SUBSCRIBE: %#x", code)
			}
		}
		c.Publish(deep, "x", 1, 2, 1)
		if p := c.ExpectType(4); level == 5 && p.Body[2] != 0x90 {
			t.Errorf("PUBLISH: %s", p)
		}
		if d := time.Since(began); d > 30*time.Second { // the square of such a length takes longer on any machine
			t.Errorf("took %v", d)
		}
		if st := h.Stats(); st.Retained != 0 || st.Subscriptions != 0 {
			t.Errorf("kept: %+v", st)
		}
	})
}

// B31, B33, joints: refused connections leave nothing behind, and each of
// them gets its CONNACK although more input is waiting unread.
func TestB31B33Refusals(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *broker.Options) {
		o.Listeners[0].Limits.RatePerAddress = 1e6
		o.Listeners[0].Limits.Pending = 1000
		o.Listeners[0].Limits.Connect, o.FlushTimeout = rawclient.Wait, rawclient.Wait // what is to arrive may take as long
	})
	got := 0
	for i := range 300 {
		c := h.dial()
		b := rawclient.Connect{Level: 5, ID: fmt.Sprint(i), User: "x", Password: "wrong"}.Bytes()
		c.Put(append(b, bytes.Repeat([]byte{0xc0, 0}, 2000)...)...)
		if p, err := c.Next(rawclient.Wait); err == nil && p.Type() == 2 && p.Body[1] == 0x86 {
			got++
		}
		_ = c.Close()
	}
	if got != 300 {
		t.Errorf("%d of 300 refusals arrived", got)
	}
	for i := range 200 { // a CONNACK that may not be written: maximum packet size 1
		c := h.dial()
		id := fmt.Sprint("small", i)
		c.Put(rawclient.Connect{Level: 5, ID: id, User: id, Props: []byte{39, 0, 0, 0, 1}}.Bytes()...)
		if seen := c.ExpectClosed(); len(seen) != 0 {
			t.Fatalf("seen %v", seen)
		}
		_ = c.Close()
	}
	h.until("all are gone", func() bool { st := h.Stats(); return st.Connections == 0 && st.Pending == 0 && st.Sessions == 0 })
	lib := h.Library()
	if n := lib.Clients.Len(); n != 0 {
		t.Errorf("the library holds %d clients", n)
	}
}

// B25, B26, B32 and the joints: a flood of connects and traffic leaves the
// library's maps empty, and its housekeeping rare.
func TestLibraryStaysEmpty(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *broker.Options) {
		o.Listeners[0].Limits.RatePerAddress = 1e6
		o.Listeners[0].Limits.PerAddress = 1e6
	})
	for i := range 300 {
		c := h.client(byte(4+i%2), fmt.Sprint("c", i))
		// A topic of its own: a live message may legally come before its SUBACK.
		c.Subscribe(1, fmt.Sprintf("t/%d/#", i), 1)
		c.Publish(fmt.Sprintf("t/%d/x", i), "retained", 1, 1, 1)
		if i%3 == 0 {
			_ = c.Close()
		}
	}
	lib := h.Library()
	if lib.Clients.Len() != 0 || len(lib.Topics.Subscribers("t/299/x").Subscriptions) != 0 || len(lib.Topics.Messages("t/#")) != 0 {
		t.Error("the library's maps are not empty")
	}
	caps := lib.Options.Capabilities
	if lib.Options.SysTopicResendInterval < 60 || lib.Options.InlineClient || caps.MaximumMessageExpiryInterval != 0 ||
		caps.MaximumPacketSize == 0 || caps.MaximumClientWritesPending > 1 {
		t.Errorf("embedded with %+v", caps)
	}
}

// B24: a panic ends its connection, loudly, and nothing else.
func TestB24Panic(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		h.panics = 1
		other := h.client(level, "other")
		c := h.dial()
		c.Put(rawclient.Connect{Level: level, ID: "c", User: "c", Password: "panic"}.Bytes()...)
		c.ExpectClosed()
		other.ExpectSilence()
		h.until("counted", func() bool { return h.Stats().Panics == 1 })
		if !strings.Contains(h.log.String(), "panic") {
			t.Error("silent")
		}
		h.until("cleaned up", func() bool { st := h.Stats(); return st.Connections == 1 && st.Pending == 0 })
	})
}

// B24: so does one in the TLS handshake, which runs on a goroutine of its own.
func TestB24PanicInHandshake(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *broker.Options) {
		c := serverTLS(t)
		c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { panic("certificates") }
		o.Listeners[0].TLS = c
	})
	h.panics = 1
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := tls.Client(nc, &tls.Config{InsecureSkipVerify: true}).Handshake(); err == nil {
		t.Error("the handshake went on")
	}
	h.until("counted and cleaned up", func() bool { st := h.Stats(); return st.Panics == 1 && st.Connections == 0 && st.Pending == 0 })
}

// B16: payloads and credentials never reach a log.
func TestB16NothingSecretIsLogged(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		h.policy.publish["user:u"] = []string{"ok"}
		c := h.connect(rawclient.Connect{
			Level:    level,
			ID:       "u",
			User:     "u",
			Password: "s3cret-password",
			Will:     &rawclient.Will{Topic: "ok", Payload: "s3cret-will"},
		})
		c.Publish("ok", "s3cret-payload", 1, 1, 1)
		c.ExpectType(4)
		c.Publish("denied", "s3cret-payload", 1, 2, 0)
		_, _ = c.Next(rawclient.Wait)
		b := h.client(level, "b")
		b.Put(rawclient.Frame(0x82, []byte("s3cret-garbage"))...)
		b.ExpectClosed()
		h.stop()
		text := h.log.String() + fmt.Sprint(h.trail.records)
		if strings.Contains(text, "s3cret") {
			t.Errorf("logged:\n%s", text)
		}
	})
}

// One principal has its share of the sessions, at most MaxSessions, and at least one.
func TestShareOfSessions(t *testing.T) {
	for _, tc := range []struct {
		max, per int
		share    float64
		want     int
	}{
		{65536, 256, 0.125, 256},
		{800, 256, 0.125, 100},
		{4, 256, 0.125, 1},
		{100, 256, 1, 100},
	} {
		if n := broker.ShareOfSessions(tc.max, tc.share, tc.per); n != tc.want {
			t.Errorf("%+v: %d", tc, n)
		}
	}
}
