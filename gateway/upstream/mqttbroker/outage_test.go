package mqttbroker

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/upstream"
)

// memory is a Storage that answers in order on one goroutine, as the real one does.
type memory struct {
	mu    sync.Mutex
	kept  map[uint64]message.StoredOutgoing
	queue chan func()
}

func newMemory() *memory {
	return &memory{kept: map[uint64]message.StoredOutgoing{}, queue: make(chan func(), 1<<20)}
}

func (s *memory) do(f func(), done func(error)) {
	s.queue <- func() {
		s.mu.Lock()
		f()
		s.mu.Unlock()
		if done != nil {
			done(nil)
		}
	}
}

func (s *memory) Append(q message.StoredOutgoing, done func(error)) {
	s.do(func() { s.kept[q.Seq] = q }, done)
}

func (s *memory) Remove(_ message.StreamID, seqs []uint64, done func(error)) {
	s.do(func() {
		for _, n := range seqs {
			delete(s.kept, n)
		}
	}, done)
}

func (s *memory) Read(_ message.StreamID, seq uint64) (message.StoredOutgoing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, ok := s.kept[seq]
	if !ok {
		return q, fmt.Errorf("no record %d", seq)
	}
	return q, nil
}

func (s *memory) Next(stream message.StreamID, after, upTo uint64, count int, _ int64) (list []message.StoredOutgoing, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for seq := after + 1; seq <= upTo && len(list) < count; seq++ {
		if q, ok := s.kept[seq]; ok && q.Stream == stream {
			list = append(list, q)
		}
	}
	return list, nil
}

func (s *memory) Streams(func(message.StoredStream) error) error { return nil }

// TestBrokerStopsMidStream: nothing that was acknowledged to a device is missing upstream, and each device's order holds.
func TestBrokerStopsMidStream(t *testing.T) {
	b := newRealBroker(t)
	r := &reader{got: map[string][]string{}}
	l, err := New(options(b))
	if err != nil {
		t.Fatal(err)
	}
	store := newMemory()
	box, bad := upstream.New(upstream.Options{Storage: store, Connector: l, Routes: options(b).Routes, Memory: 4096, Window: 32})
	if bad != nil {
		t.Fatal(bad)
	}
	if err := box.Open(); err != nil {
		t.Fatal(err)
	}
	stopStore := make(chan struct{})
	storeDone := make(chan struct{})
	go func() {
		defer close(storeDone)
		for {
			select {
			case f := <-store.queue:
				f()
			case <-stopStore:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stopStore); <-storeDone })
	run(t, func(ctx context.Context) error { return r.run(ctx, b.port) })
	run(t, l.Run)
	run(t, box.Run)

	var mu sync.Mutex
	acked := map[string][]int{}
	offer := func(n int) {
		device := fmt.Sprintf("d%d", n%5)
		m := &message.Message{Topic: "t/" + device, Payload: fmt.Appendf(nil, "%s %d", device, n), QoS: 1, Accepted: time.Now(),
			Publisher: &principal.Principal{Kind: principal.Device, Key: "device:" + device}, Via: message.Route{Device: device}}
		if !box.Offer(m, nil, func(err error) {
			if err == nil {
				mu.Lock()
				acked[device] = append(acked[device], n)
				mu.Unlock()
			}
		}) {
			t.Error("no route")
		}
	}
	const each = 1500
	for round := range 3 {
		eventually(t, "link up", func() bool { return l.Status().Up })
		for n := range each {
			offer(round*each + n)
			if n == each/2 {
				b.end()
			}
		}
		b.start()
	}
	eventually(t, "the outbox is empty", func() bool { return box.Stats().Messages == 0 })
	mu.Lock()
	defer mu.Unlock()
	total := 0
	for _, list := range acked {
		total += len(list)
	}
	if total != 3*each {
		t.Errorf("%d acknowledged of %d", total, 3*each)
	}
	var missing int
	var disorder string
	eventually(t, "everything acknowledged arrived", func() bool {
		missing, disorder = r.check(acked)
		return missing == 0
	})
	if disorder != "" {
		t.Error(disorder)
	}
}
