package broker_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
)

// B20, B13: a receiver that stops reading costs publishers at most 100 ms in
// all; QoS 0 is then dropped and counted, and others are served meanwhile.
func TestB20SlowReceiverQoS0(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		timeless(t, func(t *testing.T) { slowReceiver(t, level) })
	})
}

func slowReceiver(t *testing.T, level byte) {
	h := startInMemory(t)
	slow, fast := h.client(level, "slow"), h.client(level, "fast")
	slow.Subscribe(1, "a", 0)
	fast.Subscribe(1, "b", 0)
	pub := h.client(level, "pub")
	body := strings.Repeat("x", 16<<10)
	began := time.Now()
	for h.Stats().Dropped["slow-receiver-qos0"] == 0 {
		pub.Publish("a", body, 0, 0, 0)
	}
	if d := time.Since(began); d != 100*time.Millisecond {
		t.Errorf("publishers were held for %v", d)
	}
	began = time.Now()
	for range 50 { // the stall goes on: nobody waits again
		pub.Publish("a", body, 0, 0, 0)
	}
	pub.Publish("b", "through", 0, 0, 0)
	fast.ExpectPublish()
	if d := time.Since(began); d != 0 {
		t.Errorf("publishers were held again for %v", d)
	}
	// Administration and take-over do not wait for it either.
	began = time.Now()
	again := h.connect(rawclient.Connect{Level: level, ID: "slow", User: "slow"})
	again.ExpectSilence()
	if n := h.Disconnect("user:slow", 0x98, "x"); n != 1 {
		t.Errorf("%d", n)
	}
	if d := time.Since(began); d != 0 {
		t.Errorf("took %v", d)
	}
}

// B20, B13, B21: for a receiver that stops and reads again, nothing of QoS 1
// and 2 is lost, and all is in order; its own acks have had reserved capacity.
func TestB20SlowReceiverQoS12(t *testing.T) {
	t.Parallel()
	matrix(t, func(t *testing.T, level, qos byte) {
		if qos == 0 {
			t.Skip("QoS 0 may be dropped")
		}
		h := start(t, func(o *broker.Options) { o.Inflight = 400 })
		slow, pub := h.client(level, "slow"), h.client(level, "pub")
		slow.Subscribe(1, "a", qos)
		body := strings.Repeat("x", 8<<10)
		const n = 600
		for i := range uint16(n) {
			pub.Publish("a", fmt.Sprintf("%d %s", i, body), qos, i+1, 0)
			finish(pub, qos, i+1)
		}
		slow.Publish("own", "x", 1, 9, 0)
		open, acked := 0, false
		for got := 0; got < n || open > 0; {
			p, err := slow.Next(rawclient.Wait)
			if err != nil {
				t.Fatalf("after %d: %v", got, err)
			}
			switch p.Type() {
			case 4:
				acked = true
			case 6:
				slow.Put(append([]byte{0x70, 2}, p.Body[:2]...)...)
				open--
			case 3:
				d := rawclient.Parse(level, p)
				if want := fmt.Sprintf("%d ", got); !strings.HasPrefix(d.Payload, want) {
					t.Fatalf("got %.10s, want %s", d.Payload, want)
				}
				got++
				slow.Ack(3+d.QoS, d.ID)
				if d.QoS == 2 {
					open++
				}
			}
		}
		if !acked {
			t.Error("its own publish was not acknowledged")
		}
	})
}

// B19: clients that send a receive maximum, and traffic in both directions,
// hang nothing; the receive maximum holds all the time.
func TestB19ReceiveMaximum(t *testing.T) {
	t.Parallel()
	h := start(t)
	const clients, each = 4, 400
	var subs, pubs []*rawclient.Client
	for i := range clients {
		id := fmt.Sprint("s", i)
		s := h.connect(rawclient.Connect{Level: 5, ID: id, User: id, Props: []byte{33, 0, 3}})
		s.Subscribe(1, "t/#", byte(1+i%2))
		subs = append(subs, s)
		id = fmt.Sprint("p", i)
		pubs = append(pubs, h.connect(rawclient.Connect{Level: 5, ID: id, User: id, Props: []byte{33, 0, 3}}))
	}
	var wg sync.WaitGroup
	for i, p := range pubs {
		wg.Go(func() {
			for id := range uint16(each) {
				p.Publish(fmt.Sprint("t/", i), fmt.Sprint(id), 1+byte(id%2), id+1, 0)
				finish(p, 1+byte(id%2), id+1)
			}
		})
	}
	for _, s := range subs {
		wg.Go(func() {
			open := map[uint16]bool{}
			next := map[string]int{}
			for got := 0; got < clients*each || len(open) > 0; {
				p, err := s.Next(2 * rawclient.Wait)
				if err != nil {
					t.Errorf("after %d: %v", got, err)
					return
				}
				if p.Type() == 6 {
					id := uint16(p.Body[0])<<8 | uint16(p.Body[1])
					delete(open, id)
					s.Ack(7, id)
					continue
				}
				d := rawclient.Parse(5, p)
				if fmt.Sprint(next[d.Topic]) != d.Payload {
					t.Errorf("%s: got %s, want %d", d.Topic, d.Payload, next[d.Topic])
					return
				}
				next[d.Topic]++
				got++
				if open[d.ID] = true; len(open) > 3 {
					t.Errorf("%d at once", len(open))
				}
				if d.QoS == 1 {
					delete(open, d.ID)
				}
				s.Ack(3+d.QoS, d.ID)
			}
		})
	}
	wg.Wait()
}

// The client's own limits hold on what the plane sends: a message larger than
// its maximum packet size is not sent, and the next one is.
func TestClientLimits(t *testing.T) {
	t.Parallel()
	h := start(t)
	s := h.connect(rawclient.Connect{Level: 5, ID: "s", User: "s", Props: []byte{39, 0, 0, 0, 64, 23, 0}})
	s.Subscribe(1, "a", 1)
	pub := h.client(5, "pub")
	for i, size := range []int{100, 10} {
		pub.Publish("a", strings.Repeat("x", size), 1, uint16(i+1), 0)
		finish(pub, 1, uint16(i+1))
	}
	d := s.ExpectPublish()
	if len(d.Payload) != 10 {
		t.Errorf("got %d bytes", len(d.Payload))
	}
	take(s, d)
	s.Put(rawclient.Frame(0x82, []byte{0, 0, 0}, rawclient.Text("a"), []byte{0})...)
	if seen := s.ExpectClosed(); len(seen) != 1 || len(seen[0].Body) != 1 {
		t.Errorf("problem information was sent: %v", seen)
	}
}

// The receive maximum of the broker: an MQTT 5 client that exceeds it is
// disconnected with 0x93, a 3.1.1 client is not read until there is capacity.
func TestReceiveMaximumOfTheBroker(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		box := &outbox{held: true}
		h := start(t, func(o *broker.Options) { o.Outbox, o.ReceiveMaximum = box, 5 })
		c := h.client(level, "c")
		for id := range uint16(6) {
			c.Publish("a", "x", 1, id+1, 0)
		}
		if level == 5 {
			if seen := c.ExpectClosed(); len(seen) != 1 || seen[0].Body[0] != 0x93 {
				t.Errorf("seen %v", seen)
			}
			box.release(nil)
			return
		}
		h.until("five are taken", func() bool { return box.len() == 5 })
		box.release(nil)
		for range 5 {
			c.ExpectType(4)
		}
		h.until("the sixth is read", func() bool { return box.len() == 6 })
		box.release(nil)
		c.ExpectType(4)
	})
}
