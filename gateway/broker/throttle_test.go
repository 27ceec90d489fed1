package broker_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// peer is a client that publishes with a window and, on the same connection,
// acknowledges what it receives, as the clients of devices do.
type peer struct {
	*rawclient.Client
	window   chan struct{} // one place for each unacknowledged publish
	want     int           // deliveries that end the reader
	acks     int           // acknowledgements that end the reader
	received []string
	err      error
}

func newPeer(c *rawclient.Client, want, acks int) *peer {
	return &peer{Client: c, window: make(chan struct{}, 20), want: want, acks: acks}
}

// read handles packets until all deliveries and acknowledgements are here.
func (p *peer) read() {
	for len(p.received) < p.want || p.acks > 0 {
		packet, err := p.Next(rawclient.Wait)
		if err != nil {
			p.err = fmt.Errorf("after %d of %d deliveries, %d acknowledgements to come: %w", len(p.received), p.want, p.acks, err)
			return
		}
		switch packet.Type() {
		case 3:
			d := rawclient.Parse(p.Level, packet)
			p.received = append(p.received, d.Payload)
			p.Ack(4, d.ID)
		case 4:
			if len(packet.Body) > 2 && packet.Body[2] >= 0x80 {
				p.err = fmt.Errorf("refused: %s", packet)
				return
			}
			p.acks--
			<-p.window
		}
	}
}

// publish sends n numbered messages of QoS 1, as many at once as the window takes.
func (p *peer) publish(topic string, n int) {
	for i := range n {
		p.window <- struct{}{}
		p.Publish(topic, fmt.Sprint(p.Name(), " ", i), 1, uint16(i%1000+1), 0)
	}
}

// Name is what the payloads of p begin with.
func (p *peer) Name() string { return fmt.Sprintf("%p", p) }

// together runs every part and waits for all.
func together(parts ...func()) {
	var all sync.WaitGroup
	for _, part := range parts {
		all.Go(part)
	}
	all.Wait()
}

// Publishers that together are faster than a receiver that reads are slowed down: it
// misses nothing, in the order of each, and none of them is closed or refused.
func TestReaderSlowsItsPublishers(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		const publishers, each = 5, 600
		h := start(t, func(o *broker.Options) { o.QueueMessages, o.Inflight, o.HoldUp = 64, 8, time.Minute })
		sub := newPeer(h.client(level, "sub"), publishers*each, 0)
		sub.Subscribe(1, "t/#", 1)
		parts := []func(){sub.read}
		var pubs []*peer
		for i := range publishers {
			p := newPeer(h.client(level, fmt.Sprint("pub", i)), 0, each)
			pubs = append(pubs, p)
			parts = append(parts, p.read, func() { p.publish("t/a", each) })
		}
		together(parts...)
		if sub.err != nil {
			t.Fatal(sub.err)
		}
		next := map[string]int{}
		for _, text := range sub.received {
			var name string
			var n int
			if _, err := fmt.Sscan(text, &name, &n); err != nil || n != next[name] {
				t.Fatalf("got %q, want number %d of that publisher", text, next[name])
			}
			next[name]++
		}
		for _, p := range pubs {
			if p.err != nil || next[p.Name()] != each {
				t.Errorf("%v; %d of %d delivered", p.err, next[p.Name()], each)
			}
		}
		if st := h.Stats(); len(st.Dropped) != 0 {
			t.Errorf("dropped %v", st.Dropped)
		}
	})
}

// A receiver that never acknowledges holds its publishers up once, for its budget; then it loses
// its own messages, and they go on.
func TestStoppedReaderSilencesNobody(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		const limit, sent = 16, 200
		h := start(t, func(o *broker.Options) {
			o.QueueMessages, o.Inflight, o.HoldUp, o.HoldUpWindow = limit, 4, 200*time.Millisecond, time.Hour
		})
		stopped := h.connect(kept(level, "stopped"))
		stopped.Subscribe(1, "t/#", 1)
		pub := newPeer(h.client(level, "pub"), 0, sent)
		together(pub.read, func() { pub.publish("t/a", sent) })
		if pub.err != nil {
			t.Fatal(pub.err)
		}
		if st := h.Stats(); st.Dropped["session-overflow-oldest"] != sent-limit {
			t.Errorf("dropped %v, want %d", st.Dropped, sent-limit)
		}
	})
}

// Clients that publish to each other in a ring, each faster than the next one acknowledges,
// do not wait for each other: everything arrives, and nobody is disconnected.
func TestRing(t *testing.T) {
	t.Parallel()
	for _, size := range []int{2, 3} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			const each = 1500
			h := start(t, func(o *broker.Options) { o.QueueMessages, o.Inflight, o.HoldUp = 64, 4, time.Minute })
			var ring []*peer
			for i := range size {
				p := newPeer(h.client(5, fmt.Sprint("c", i)), each, each)
				p.Subscribe(1, fmt.Sprint("to/", i), 1)
				ring = append(ring, p)
			}
			var parts []func()
			for i, p := range ring {
				parts = append(parts, p.read, func() { p.publish(fmt.Sprint("to/", (i+1)%size), each) })
			}
			together(parts...)
			for i, p := range ring {
				if p.err != nil {
					t.Errorf("client %d: %v", i, p.err)
				}
			}
			if st := h.Stats(); len(st.Dropped) != 0 {
				t.Errorf("dropped %v", st.Dropped)
			}
		})
	}
}

// A receiver that has been too slow for too long and whose session ends with its connection would
// never learn what it lost: it is disconnected, and told why.
func TestStalledCleanSessionIsEnded(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		const sent = 200
		h := start(t, func(o *broker.Options) {
			o.QueueMessages, o.Inflight, o.HoldUp, o.HoldUpWindow = 16, 4, 200*time.Millisecond, time.Hour
		})
		stalled := h.client(level, "stalled")
		stalled.Subscribe(1, "t/#", 1)
		pub := newPeer(h.client(level, "pub"), 0, sent)
		together(pub.read, func() { pub.publish("t/a", sent) })
		if pub.err != nil {
			t.Fatal(pub.err)
		}
		seen := stalled.ExpectClosed()
		if last := seen[len(seen)-1]; level == 5 && (last.Type() != 14 || last.Body[0] != message.QuotaExceeded) {
			t.Errorf("seen %v", last)
		}
		h.until("its session has ended", func() bool { return h.Stats().Sessions == 1 })
		if !h.trail.has("overflow", "session-ended") {
			t.Error("not audited")
		}
		if st := h.Stats(); st.Dropped["session-overflow-newest"] != 1 || st.Dropped["session-overflow-oldest"] != 0 {
			t.Errorf("dropped %v", st.Dropped)
		}
	})
}

// Whoever publishes more at once than may wait for its acknowledgement is read on, as MQTT 3.1.1
// does not tell it how much that is: its own acknowledgements and PINGREQs are handled.
func TestReadOnWhileTheWindowIsFull(t *testing.T) {
	t.Parallel()
	box, h := waitingBox(t, func(o *broker.Options) { o.ReceiveMaximum = 4 })
	pub := h.connect(kept(4, "pub"))
	for id := range uint16(100) {
		pub.Publish("a", fmt.Sprint(id), 1, id+1, 0)
	}
	pub.Hex("c000")
	pub.Expect("d0:")
	if n := box.withheld(); n != 4 {
		t.Errorf("%d were carried", n)
	}
	for id := range uint16(100) {
		h.until("the next one waits", func() bool { return box.withheld() > 0 })
		box.first()
		pub.Expect(fmt.Sprintf("40:%04x", id+1))
	}
	for i, payload := range box.payloads() {
		if payload != fmt.Sprint(i) {
			t.Fatalf("%d. is %s", i, payload)
		}
	}
}

// An end of the connection takes what waits behind the window with it: the client sends it again.
func TestBehindTheWindowAtTheEnd(t *testing.T) {
	t.Parallel()
	box, h := waitingBox(t, func(o *broker.Options) { o.ReceiveMaximum = 4 })
	pub := h.connect(kept(4, "pub"))
	for id := range uint16(10) {
		pub.Publish("a", fmt.Sprint(id), 1, id+1, 0)
	}
	pub.Hex("c000")
	pub.Expect("d0:")
	h.offline(pub)
	h.until("nothing is carried any more", func() bool { return box.len()+box.withheld() == 10 })
	box.empty()
	if got := box.payloads(); len(got) != 0 {
		t.Errorf("upstream has %v", got)
	}
}

// A share slows its publishers when no member reads as fast as they publish, and only then.
func TestShareSlowsItsPublishers(t *testing.T) {
	t.Parallel()
	for _, stopped := range []bool{false, true} {
		t.Run(fmt.Sprint("one member has stopped: ", stopped), func(t *testing.T) {
			t.Parallel()
			const publishers, each = 4, 500
			h := start(t, func(o *broker.Options) { o.QueueMessages, o.Inflight, o.HoldUp = 64, 8, time.Minute })
			if stopped {
				h.connect(kept(5, "stopped")).Subscribe(1, "$share/g/t/#", 1)
			}
			sub := newPeer(h.client(5, "sub"), publishers*each, 0)
			want := publishers * each
			if stopped {
				want -= 64 // that wait for the other
			}
			sub.want = want
			sub.Subscribe(1, "$share/g/t/#", 1)
			parts := []func(){sub.read}
			var pubs []*peer
			for i := range publishers {
				p := newPeer(h.client(5, fmt.Sprint("pub", i)), 0, each)
				pubs = append(pubs, p)
				parts = append(parts, p.read, func() { p.publish("t/a", each) })
			}
			together(parts...)
			for _, p := range append(pubs, sub) {
				if p.err != nil {
					t.Error(p.err)
				}
			}
			if st := h.Stats(); len(st.Dropped) != 0 {
				t.Errorf("dropped %v", st.Dropped)
			}
		})
	}
}
