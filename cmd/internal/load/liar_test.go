package load_test

import (
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/load"
	"github.com/gatehouse/gatehouse/gateway/broker/frame"
)

// liar is a broker of one publisher and one subscriber that does with message
// number n what fate says: how often it is delivered, and when.
type liar struct {
	level byte
	fate  func(n int) (ack byte, deliver []int) // numbers to deliver now, instead of n
	close int                                   // close the publisher's connection at this number; 0: never

	mu     sync.Mutex
	sub    net.Conn // guarded by mu
	frames [][]byte // what was published; guarded by mu
}

func (b *liar) start(t *testing.T) load.Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { defer c.Close(); b.serve(c) })
		}
	})
	return load.Target{Network: "tcp", Address: l.Addr().String(), Level: b.level, Timeout: time.Minute, KeepAlive: time.Minute}
}

func (b *liar) serve(c net.Conn) {
	for r := frame.NewReader(c, 1<<20); ; {
		f, err := r.Next()
		if err != nil {
			return
		}
		var answer []byte
		switch f.Type() {
		case frame.CONNECT:
			answer = []byte{0x20, 2, 0, 0}
			if b.level == 5 {
				answer = []byte{0x20, 3, 0, 0, 0}
			}
		case frame.SUBSCRIBE:
			b.mu.Lock()
			b.sub = c
			b.mu.Unlock()
			answer = []byte{0x90, 3, f.Body[0], f.Body[1], 1}
			if b.level == 5 {
				answer = []byte{0x90, 4, f.Body[0], f.Body[1], 0, 1}
			}
		case frame.PUBLISH:
			if answer = b.published(f); answer == nil {
				return
			}
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

func (b *liar) published(f frame.Frame) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.frames)
	b.frames = append(b.frames, append([]byte{}, f.Raw...))
	if b.close > 0 && n == b.close {
		return nil
	}
	code, deliver := b.fate(n)
	for _, i := range deliver {
		_, _ = b.sub.Write(b.frames[i])
	}
	topic := int(binary.BigEndian.Uint16(f.Body))
	id := binary.BigEndian.Uint16(f.Body[2+topic:])
	return frame.AppendAck(nil, frame.PUBACK, id, code, b.level)
}

func one(target load.Target) *load.Exchange {
	return &load.Exchange{
		Target:       target,
		Publishers:   []load.Client{{ID: "p"}},
		Subscribers:  []load.Client{{ID: "s"}},
		Topic:        func(int, load.Client) string { return "bench/p" },
		Filter:       "bench/+",
		QoS:          1,
		SubscribeQoS: 1,
		Payload:      load.StampSize,
		Window:       5,
		Count:        20,
		Drain:        200 * time.Millisecond,
	}
}

// TestALyingBrokerIsFoundOut: what a broker loses, repeats, turns round or refuses is
// counted for what it is.
func TestALyingBrokerIsFoundOut(t *testing.T) {
	cases := map[string]struct {
		level byte
		fate  func(n int) (byte, []int)
		want  load.Result
	}{
		"honest": {4, func(n int) (byte, []int) { return 0, []int{n} }, load.Result{Acknowledged: 20, Received: 20}},
		"loses 3": {
			4, func(n int) (byte, []int) { return 0, without(n, 3) },
			load.Result{Acknowledged: 20, Received: 19, Lost: 1, LostAcknowledged: 1},
		},
		"loses last": {
			4, func(n int) (byte, []int) { return 0, without(n, 19) },
			load.Result{Acknowledged: 20, Received: 19, Lost: 1, LostAcknowledged: 1},
		},
		"loses all": {4, func(int) (byte, []int) { return 0, nil }, load.Result{Acknowledged: 20, Lost: 20, LostAcknowledged: 20}},
		"repeats 5": {4, func(n int) (byte, []int) {
			if n == 5 {
				return 0, []int{5, 5}
			}
			return 0, []int{n}
		}, load.Result{Acknowledged: 20, Received: 21, Duplicated: 1}},
		"turns 7 and 8 round": {4, func(n int) (byte, []int) {
			switch n {
			case 7:
				return 0, nil
			case 8:
				return 0, []int{8, 7}
			}
			return 0, []int{n}
		}, load.Result{Acknowledged: 20, Received: 20, Reordered: 1}},
		"refuses 4, and does not deliver it": {5, func(n int) (byte, []int) {
			if n == 4 {
				return 0x97, nil
			}
			return 0, []int{n}
		}, load.Result{Acknowledged: 19, Refused: 1, Received: 19, Lost: 1}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			x := one((&liar{level: c.level, fate: c.fate}).start(t))
			got, err := x.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c.want.Sent, c.want.Expected = 20, 20
			check(t, got, &c.want)
			if got.Whole() != (c.want.LostAcknowledged == 0) {
				t.Errorf("whole: %v", got.Whole())
			}
		})
	}
}

func without(n, lost int) []int {
	if n == lost {
		return nil
	}
	return []int{n}
}

// TestAClosedPublisherIsCounted: its messages without an answer are lost, and not lost although acknowledged.
func TestAClosedPublisherIsCounted(t *testing.T) {
	b := &liar{level: 4, close: 10, fate: func(n int) (byte, []int) { return 0, []int{n} }}
	got, err := one(b.start(t)).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Closed != 1 || len(got.Reasons) != 1 || got.Received != 10 || got.Acknowledged != 10 ||
		got.LostAcknowledged != 0 || got.Sent != got.Acknowledged+got.Unacknowledged {
		t.Errorf("%+v", got)
	}
}

func check(t *testing.T, got, want *load.Result) {
	t.Helper()
	type account struct{ sent, acked, refused, without, expected, received, lost, acklost, dup, order, foreign, stray, closed int64 }
	of := func(r *load.Result) account {
		return account{r.Sent, r.Acknowledged, r.Refused, r.Unacknowledged, r.Expected, r.Received, r.Lost, r.LostAcknowledged,
			r.Duplicated, r.Reordered, r.Foreign, r.Stray, int64(r.Closed)}
	}
	if of(got) != of(want) {
		t.Errorf("got  %+v\nwant %+v\n%v", of(got), of(want), got.Reasons)
	}
}
