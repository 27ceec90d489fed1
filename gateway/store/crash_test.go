package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/generation"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// crashChild appends to the outbox and to buckets and writes policy generations until
// it is killed; it prints what was acknowledged, one line each.
func crashChild(dir string) {
	s, err := Open(dir, smallSegments())
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(3)
	}
	go func() { _ = s.Run(context.Background()) }()
	for _, q := range s.Quarantined() {
		fmt.Println("quarantined", q.Reason)
	}
	seq := uint64(0)
	_ = loadFrom(s.Outbox(), func(n uint64, _, _ string, _ int, _ *message.Message) error {
		seq = max(seq, n)
		return nil
	})
	seq += 1000 // never reuse what may have been in flight
	out := make(chan string, 1024)
	go func() {
		w := bufio.NewWriter(os.Stdout)
		for line := range out {
			_, _ = w.WriteString(line)
			if len(out) == 0 {
				_ = w.Flush()
			}
		}
	}()
	go func() {
		for n := uint64(1); ; n++ {
			g := generation.Full{Version: model.Version{Epoch: uint64(os.Getpid()), Number: n}, Registry: testData(200)}
			if err := s.Cache().WriteGeneration(context.Background(), g); err != nil {
				return
			}
			out <- fmt.Sprintf("gen %d %d\n", g.Version.Epoch, n)
			d := generation.Delta{Policy: model.ChangeSet{From: g.Version, To: model.Version{Epoch: g.Version.Epoch, Number: n + 1}},
				Registry: device.Changes{PutDevices: testData(2).Devices}}
			n++
			if err := s.Cache().WriteDelta(context.Background(), d); err != nil {
				return
			}
			out <- fmt.Sprintf("gen %d %d\n", g.Version.Epoch, n)
		}
	}()
	window := make(chan struct{}, 200)
	for {
		seq++
		n := seq
		window <- struct{}{}
		appendTo(s.Outbox(), n, "r", "t", testMessage(n, strconv.FormatUint(n, 10)), func(err error) {
			if err != nil {
				fmt.Println("failed", err)
				os.Exit(3)
			}
			out <- fmt.Sprintf("ack %d\n", n)
			<-window
		})
		if n%500 == 0 { // these numbers may be gone: the test does not count them
			s.Outbox().Remove(testStream, []uint64{n}, nil)
		}
	}
}

type acknowledged struct {
	appended map[uint64]bool
	epoch    uint64
	number   uint64
}

func TestKilledAtAnyMomentNothingAcknowledgedIsMissing(t *testing.T) {
	if testing.Short() {
		t.Skip("kills twenty processes")
	}
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	known := acknowledged{appended: map[uint64]bool{}}
	total := 0
	rounds := fewer(20, 8) // each fourth is early
	for round := range rounds {
		total += killRound(t, exe, dir, round%4 == 3, &known)
		verifyAfterKill(t, dir, round, &known)
	}
	if total < 50*rounds {
		t.Errorf("only %d acknowledged records in all rounds: the test did not test", total)
	}
}

// killRound lets the child run until it has acknowledged so and so much, or, if
// early, for some time, in which it may not even have opened the store.
func killRound(t *testing.T, exe, dir string, early bool, known *acknowledged) int {
	t.Helper()
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), "STORE_CRASH_CHILD="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if early {
		timer := time.AfterFunc(time.Duration(rand.IntN(500))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
	}
	last := 1 + rand.IntN(600) // line before the end; later ones are on their way
	n := 0
	for r, lines := bufio.NewReader(out), 0; ; lines++ {
		if lines == last {
			_ = cmd.Process.Kill()
		}
		line, err := r.ReadString('\n')
		if err != nil {
			break // what has no end is half a line: its number may be another one's
		}
		f := strings.Fields(line)
		num := func(i int) uint64 {
			v, _ := strconv.ParseUint(f[i], 10, 64)
			return v
		}
		switch {
		case len(f) == 2 && f[0] == "ack":
			if num(1)%500 != 0 {
				known.appended[num(1)] = true
			}
			n++
		case len(f) == 3 && f[0] == "gen":
			known.epoch, known.number = num(1), num(2)
		case len(f) > 0 && (f[0] == "failed" || f[0] == "quarantined"):
			t.Fatalf("child: %s", line)
		}
	}
	_ = cmd.Wait()
	return n
}

func verifyAfterKill(t *testing.T, dir string, round int, known *acknowledged) {
	t.Helper()
	s, stop := open(t, dir, smallSegments())
	defer stop()
	if q := s.Quarantined(); len(q) > 0 {
		t.Fatalf("round %d: %+v", round, q)
	}
	found := map[uint64]bool{}
	last := uint64(0)
	err := loadFrom(s.Outbox(), func(n uint64, _, _ string, _ int, m *message.Message) error {
		if n <= last {
			t.Errorf("round %d: %d after %d", round, n, last)
		}
		if string(m.Payload) != strconv.FormatUint(n, 10) {
			t.Errorf("round %d: message %d holds %q", round, n, m.Payload)
		}
		last = n
		found[n] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range known.appended {
		if !found[n] {
			t.Errorf("round %d: acknowledged message %d is missing", round, n)
		}
	}
	if known.number > 0 {
		g, err := s.Cache().Load(context.Background())
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if g.Version.Epoch == known.epoch && g.Version.Number < known.number {
			t.Errorf("round %d: cache at %v, %d.%d was acknowledged", round, g.Version, known.epoch, known.number)
		}
	}
}
