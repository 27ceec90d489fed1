package broker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// Everything at once: connects, take-overs, subscriptions, publishes of every
// QoS, lost connections, revocations, deletions. Afterwards nothing is left:
// no session, no subscription, no queued byte, no pending connection.
func TestChaos(t *testing.T) {
	t.Parallel()
	v := newMemory(t)
	h := start(t, func(o *broker.Options) {
		o.Vault = whole(v)
		o.QueueMessages, o.Inflight = 20, 3
		o.FlushTimeout, o.RefuseHold = 50*time.Millisecond, 50*time.Millisecond
		o.Contest.Wait = 5 * time.Millisecond // so that sessions are still taken over
		o.Listeners[0].Limits.RatePerAddress = 1e6
		o.Listeners[0].OnDeniedPublish = broker.Ignore
	})
	h.policy.change(func(p *policy) { p.publish["*"] = []string{"t/#"} })
	stop := time.Now().Add(1500 * time.Millisecond)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 7))
			for time.Now().Before(stop) {
				chaos(h.addr, r)
			}
		})
	}
	wg.Go(func() {
		r := rand.New(rand.NewPCG(99, 7))
		for time.Now().Before(stop) {
			user := fmt.Sprint("user:u", r.IntN(4))
			h.policy.change(func(p *policy) {
				p.read[user] = [][]string{nil, {"t/1"}, {"#"}}[r.IntN(3)]
				p.banned[user] = r.IntN(8) == 0
			})
			if _, err := h.Recheck(context.Background(), only(user)); err != nil {
				t.Error(err)
			}
			switch r.IntN(20) {
			case 0:
				h.Forget(named(user))
			case 1:
				h.Disconnect(user, message.AdministrativeAction, "chaos")
			}
			time.Sleep(time.Millisecond)
		}
	})
	wg.Wait()
	h.until("all connections are gone", func() bool { st := h.Stats(); return st.Connections == 0 && st.Pending == 0 })
	for i := range 4 {
		h.Forget(named(fmt.Sprint("user:u", i)))
	}
	// A will, or what a member of a share has left, may still be on its way to sessions that have ended.
	h.until("nothing is left", func() bool {
		st := h.Stats()
		return st.Sessions == 0 && st.Subscriptions == 0 && st.QueuedBytes == 0 && st.Retained == 0
	})
	h.until("the vault is empty", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		n := len(v.sessions) + len(v.retained)
		for _, q := range v.queues {
			n += len(q)
		}
		return n == 0
	})
}

// chaos is one connection of one of four users; it ignores every error.
func chaos(addr string, r *rand.Rand) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(time.Second))
	user := fmt.Sprint("u", r.IntN(4))
	o := kept(byte(4+r.IntN(2)), user)
	o.ID, o.Keep = fmt.Sprint("c", r.IntN(3)), r.IntN(3) > 0
	if r.IntN(3) == 0 {
		o.Will = &rawclient.Will{Topic: "t/will", Payload: "x", QoS: byte(r.IntN(3))}
	}
	_, _ = nc.Write(o.Bytes())
	go func() { // reads, and acknowledges most
		c := &rawclient.Client{Conn: nc, Level: o.Level}
		for {
			p, err := c.Next(time.Second)
			if err != nil {
				return
			}
			switch p.Type() {
			case 3:
				if d := rawclient.Parse(o.Level, p); d.QoS > 0 {
					_, _ = nc.Write([]byte{(3 + d.QoS) << 4, 2, byte(d.ID >> 8), byte(d.ID)})
				}
			case 5:
				_, _ = nc.Write(append([]byte{0x62, 2}, p.Body[:2]...))
			case 6:
				_, _ = nc.Write(append([]byte{0x70, 2}, p.Body[:2]...))
			}
		}
	}()
	for range r.IntN(40) {
		name := fmt.Sprint("t/", r.IntN(3))
		switch r.IntN(6) {
		case 0:
			filter := []string{name, "t/+", "#", "$share/g/t/+"}[r.IntN(4)]
			_, _ = nc.Write(rawclient.Frame(0x82, []byte{0, 9}, rawclient.Props(o.Level), rawclient.Text(filter), []byte{byte(r.IntN(3))}))
		case 1:
			_, _ = nc.Write(rawclient.Frame(0xa2, []byte{0, 8}, rawclient.Props(o.Level), rawclient.Text(name)))
		default:
			qos := byte(r.IntN(3))
			_, _ = nc.Write(rawclient.PublishFrame(o.Level, name, "payload", qos, uint16(1+r.IntN(100)), byte(r.IntN(8)/7)))
		}
	}
	if r.IntN(3) == 0 {
		_, _ = nc.Write([]byte{0xe0, 0})
	}
	time.Sleep(time.Duration(r.IntN(3)) * time.Millisecond)
}

// Class 9: a client that sends requests and never reads the answers is not read any more
// when the answers fill its reserve for control frames, and its connection is closed.
func TestNeverReads(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t, func(o *broker.Options) { o.WriteTimeout = 300 * time.Millisecond })
		c := h.client(level, "c")
		pings := make([]byte, 64<<10)
		for i := range pings {
			pings[i] = []byte{0xc0, 0}[i%2]
		}
		_ = c.SetWriteDeadline(time.Now().Add(4 * rawclient.Wait))
		for {
			if _, err := c.Write(pings); err != nil {
				break
			}
		}
		h.until("it is closed", func() bool { return h.Stats().Connections == 0 })
	})
}

// A filtered listener accepts wider filters, and each delivery is decided.
func TestFilteredListener(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t, func(o *broker.Options) { o.Listeners[0].Filtered = true })
		h.policy.read["user:s"] = []string{"ok"}
		s, pub := h.client(level, "s"), h.client(level, "pub")
		if code := s.Subscribe(1, "#", 0); code != 0 {
			t.Fatalf("SUBACK %#x", code)
		}
		if code := s.Subscribe(2, "$iothub/twin/res/#", 0); code < 0x80 {
			t.Error("a private filter was granted")
		}
		if code := s.Subscribe(3, "secret", 0); code < 0x80 {
			t.Error("a filter that is refused for good was granted")
		}
		send := func() {
			pub.Publish("secret", "x", 1, 1, 1)
			finish(pub, 1, 1)
			pub.Publish("ok", "y", 1, 2, 0)
			finish(pub, 1, 2)
			if d := s.ExpectPublish(); d.Topic != "ok" {
				t.Errorf("got %+v", d)
			}
			s.ExpectSilence()
		}
		send()
		if r := h.recheck(everyone); r.Suspended != 0 {
			t.Errorf("%+v", r)
		}
		send()
	})
}
