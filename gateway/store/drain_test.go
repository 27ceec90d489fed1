package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// drainStreams is how many streams the child of the test below writes.
const drainStreams = 5

// drainChild appends to several streams, removes the oldest of each, and parks
// every hundredth, until it is killed. It says what it is about to remove before it does, and
// what was acknowledged after.
func drainChild(dir string) {
	s, err := Open(dir, smallSegments())
	if err != nil || len(s.Quarantined()) > 0 {
		fmt.Println("failed", err, s.Quarantined())
		os.Exit(3)
	}
	go func() { _ = s.Run(context.Background()) }()
	box, out := s.Outbox(), bufio.NewWriter(os.Stdout)
	say := func(f string, a ...any) {
		_, _ = fmt.Fprintf(out, f, a...)
		_ = out.Flush()
	}
	last := uint64(0)
	_ = box.Load(func(q message.StoredOutgoing) error { last = max(last, q.Seq); return nil })
	_ = box.Parked(func(p message.StoredParked) error { last = max(last, p.Seq); return nil })
	for seq := last + 1000; ; seq += 50 {
		answers := make(chan error, 50)
		for n := seq; n < seq+50; n++ {
			q := outgoing(fmt.Sprint("d", n%drainStreams), n)
			if n%100 != 0 {
				box.Append(q, func(err error) { answers <- err })
				continue
			}
			box.Append(q, nil)
			box.Park(message.StoredParked{StoredOutgoing: q, At: testTime, Reason: "test"}, func(err error) { answers <- err })
		}
		for range 50 {
			if err := <-answers; err != nil {
				say("failed %v\n", err)
				os.Exit(3)
			}
		}
		say("acked %d\n", seq)
		if rand.IntN(3) > 0 { // an older batch has gone upstream
			old := max(seq, 500) - 500
			say("gone %d\n", old)
			for d := range uint64(drainStreams) {
				var seqs []uint64
				for n := old; n < old+50; n++ {
					if n%drainStreams == d {
						seqs = append(seqs, n)
					}
				}
				box.Remove(outgoing(fmt.Sprint("d", d), 0).Stream, seqs, nil)
			}
		}
	}
}

// Killed while messages come, leave and are parked, the store has every
// acknowledged one that has not left, in order, once, and its sums are right.
func TestKilledAmidADrain(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes")
	}
	dir := t.TempDir()
	expected := map[uint64]bool{} // numbers of batches that are acknowledged and may not have left
	for round := range 6 {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), "STORE_DRAIN_CHILD="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(out)
		for lines, last := 0, 10+rand.IntN(40); ; lines++ {
			if lines == last {
				_ = cmd.Process.Kill()
			}
			line, err := r.ReadString('\n')
			if err != nil {
				break
			}
			var what string
			var seq uint64
			_, _ = fmt.Sscan(line, &what, &seq)
			switch what {
			case "acked":
				expected[seq] = true
			case "gone":
				delete(expected, seq)
			default:
				t.Fatalf("child: %s", line)
			}
		}
		_ = cmd.Wait()
		verifyDrain(t, dir, round, expected)
	}
	if len(expected) < 20 {
		t.Errorf("only %d batches were to be found: the test did not test", len(expected))
	}
}

func verifyDrain(t *testing.T, dir string, round int, expected map[uint64]bool) {
	t.Helper()
	s, stop := open(t, dir, smallSegments())
	defer stop()
	if q := s.Quarantined(); len(q) > 0 {
		t.Fatalf("round %d: %+v", round, q)
	}
	places := map[uint64]int{}
	sums := map[message.StreamID]message.StoredStream{}
	if err := s.Outbox().Load(func(q message.StoredOutgoing) error {
		places[q.Seq]++
		have := sums[q.Stream]
		if q.Seq <= have.Last || !strings.HasSuffix(string(q.Message.Payload), fmt.Sprint(" ", q.Seq)) {
			t.Errorf("round %d: %d after %d holds %q", round, q.Seq, have.Last, q.Message.Payload)
		}
		sums[q.Stream] = message.StoredStream{ID: q.Stream, Count: have.Count + 1, Bytes: have.Bytes + q.Size, Last: q.Seq}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Outbox().Parked(func(p message.StoredParked) error { places[p.Seq]++; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.Outbox().Streams(func(q message.StoredStream) error {
		if sums[q.ID] != q {
			t.Errorf("round %d: summed up as %+v, there is %+v", round, q, sums[q.ID])
		}
		delete(sums, q.ID)
		return nil
	}); err != nil || len(sums) > 0 {
		t.Errorf("round %d: %d streams not summed up, %v", round, len(sums), err)
	}
	var missing []uint64
	for first := range expected {
		for n := first; n < first+50; n++ {
			if places[n] != 1 {
				missing = append(missing, n)
			}
		}
	}
	if slices.Sort(missing); len(missing) > 0 {
		t.Errorf("round %d: %d are not there exactly once: %v", round, len(missing), missing[:min(len(missing), 10)])
	}
}
