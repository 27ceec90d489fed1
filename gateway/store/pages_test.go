package store

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// A page of a queue is read by numbers: what is not there is left out, what is damaged
// has no message, and the neighbours of the queue are never read.
func TestReadQueue(t *testing.T) {
	s, stop := open(t, t.TempDir(), testOptions())
	defer stop()
	v := s.Vault()
	for seq := uint64(1); seq <= 300; seq++ {
		for _, session := range []string{"a", "b", "c"} {
			m := testMessage(seq, fmt.Sprint(session, seq))
			v.Enqueue(session, message.StoredDelivery{Seq: seq, Message: m, QoS: 1}, nil)
		}
	}
	v.Dequeue("b", []uint64{4, 200}, nil)
	broken := queueKey(nsQueue, "b", 6)
	wait(t, func(d func(error)) { s.commit.submit(submission{ops: []op{{put, broken, []byte("?")}}, done: d}) })
	read := func(seqs ...uint64) (got []string) {
		t.Helper()
		list, err := v.ReadQueue("b", seqs)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range list {
			if q.Message == nil {
				got = append(got, fmt.Sprint(q.Seq, " ?"))
				continue
			}
			got = append(got, fmt.Sprint(q.Seq, " ", string(q.Message.Payload)))
		}
		return got
	}
	if got, want := read(1, 2, 3, 4, 5, 6, 7), []string{"1 b1", "2 b2", "3 b3", "5 b5", "6 ?", "7 b7"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	want := []string{"150 b150", "201 b201", "299 b299", "300 b300"}
	if got := read(0, 4, 150, 200, 201, 299, 300, 301, 1<<60); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := read(); got != nil {
		t.Errorf("%q", got)
	}
}

// BenchmarkReadQueue reads pages of 64 deliveries of 100 bytes.
func BenchmarkReadQueue(b *testing.B) {
	s, stop := open(b, b.TempDir(), testOptions())
	defer stop()
	v := s.Vault()
	const n = 64 * 100
	for seq := range uint64(n) {
		v.Enqueue("a", message.StoredDelivery{Seq: seq + 1, Message: testMessage(seq, fmt.Sprintf("%0100d", seq)), QoS: 1}, nil)
	}
	wait(b, func(d func(error)) { v.Dequeue("a", nil, d) })
	next := uint64(0)
	for b.Loop() {
		seqs := make([]uint64, 64)
		for i := range seqs {
			seqs[i] = next + uint64(i) + 1
		}
		next = (next + 64) % n
		if list, err := v.ReadQueue("a", seqs); err != nil || len(list) != 64 {
			b.Fatal(len(list), err)
		}
	}
}
