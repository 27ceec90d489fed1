package store

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// outgoing is the message of that number in a stream of its own device.
func outgoing(device string, seq uint64) message.StoredOutgoing {
	m := testMessage(seq, fmt.Sprint(device, " ", seq))
	m.Via.Device = device
	return message.StoredOutgoing{
		Stream:  message.StreamOf(m, "r"),
		Seq:     seq,
		Size:    message.OutgoingSize(m, "up"),
		Route:   "r",
		Topic:   "up",
		Message: m,
	}
}

func payloads(list []message.StoredOutgoing) (out []string) {
	for _, q := range list {
		out = append(out, string(q.Message.Payload))
	}
	return out
}

// The next messages of a stream are read in order, from any number on, up to any
// other, and what is summed up is what is there: also after a start.
func TestOutboxStreams(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	sizes := map[message.StreamID]int64{}
	for seq := uint64(1); seq <= 300; seq++ {
		q := outgoing(fmt.Sprint("d", seq%3), seq)
		sizes[q.Stream] += q.Size
		wait(t, func(d func(error)) { s.Outbox().Append(q, d) })
	}
	d0 := outgoing("d0", 0).Stream
	check := func() {
		t.Helper()
		list, err := s.Outbox().Next(d0, 30, 39, 100, 1<<20)
		if diff := cmp.Diff([]string{"d0 33", "d0 36", "d0 39"}, payloads(list)); err != nil || diff != "" {
			t.Errorf("a range: %v, %s", err, diff)
		}
		list, err = s.Outbox().Next(d0, 30, 1000, 2, 1<<20)
		if diff := cmp.Diff([]string{"d0 33", "d0 36"}, payloads(list)); err != nil || diff != "" {
			t.Errorf("a count: %v, %s", err, diff)
		}
		list, err = s.Outbox().Next(d0, 30, 1000, 100, outgoing("d0", 33).Size+1)
		if diff := cmp.Diff([]string{"d0 33", "d0 36"}, payloads(list)); err != nil || diff != "" {
			t.Errorf("bytes: %v, %s", err, diff)
		}
		n := 0
		err = s.Outbox().Streams(func(q message.StoredStream) error {
			if n++; q.Count != 100 || q.Bytes != sizes[q.ID] || q.Last < 298 {
				t.Errorf("summed up: %+v, of %d bytes", q, sizes[q.ID])
			}
			return nil
		})
		if n != 3 || err != nil {
			t.Errorf("%d streams, %v", n, err)
		}
	}
	check()
	stop()
	s, _ = open(t, dir, testOptions())
	check()
	wait(t, func(d func(error)) { s.Outbox().Remove(d0, []uint64{3, 4, 300}, d) }) // 4 is another stream's
	err := s.Outbox().Streams(func(q message.StoredStream) error {
		if q.ID == d0 && (q.Count != 98 || q.Last != 297) || q.ID != d0 && q.Count != 100 {
			t.Errorf("after a removal: %+v", q)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A message is parked or in its stream, never both and never neither.
func TestParkedIsOutOfItsStream(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	q := outgoing("d", 7)
	wait(t, func(d func(error)) { s.Outbox().Append(q, d) })
	p := message.StoredParked{StoredOutgoing: q, At: testTime, Reason: "upstream hung up on it"}
	wait(t, func(d func(error)) { s.Outbox().Park(p, d) })
	stop()
	s, _ = open(t, dir, testOptions())
	parked := func() (list []message.StoredParked) {
		t.Helper()
		if err := s.Outbox().Parked(func(p message.StoredParked) error { list = append(list, p); return nil }); err != nil {
			t.Fatal(err)
		}
		return list
	}
	stored := func() (list []message.StoredOutgoing) {
		t.Helper()
		if err := s.Outbox().Load(func(q message.StoredOutgoing) error { list = append(list, q); return nil }); err != nil {
			t.Fatal(err)
		}
		return list
	}
	if diff := cmp.Diff([]message.StoredParked{p}, parked(), whereverSubjectsHold); diff != "" || len(stored()) > 0 {
		t.Errorf("%d in the stream, parked: %s", len(stored()), diff)
	}
	again := q
	again.Seq = 9
	wait(t, func(d func(error)) { s.Outbox().Unpark(7, again, d) })
	if diff := cmp.Diff([]message.StoredOutgoing{again}, stored(), whereverSubjectsHold); diff != "" || len(parked()) > 0 {
		t.Errorf("%d parked, in the stream: %s", len(parked()), diff)
	}
	p.Seq = 9
	wait(t, func(d func(error)) { s.Outbox().Park(p, d) })
	wait(t, func(d func(error)) { s.Outbox().Purge([]uint64{9}, d) })
	if len(parked())+len(stored()) > 0 {
		t.Error("purged, and still there")
	}
}
