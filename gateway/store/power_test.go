package store

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/store/internal/powerfs"
)

// A killed process leaves its unsynced writes to the kernel, so only a cut below
// the file system shows whether a record was synced before it was acknowledged.
func TestAPowerCutAtAnyMomentTakesNothingAcknowledged(t *testing.T) {
	if testing.Short() {
		t.Skip("cuts the power of ten processes")
	}
	cuts := fewer(10, 3)
	if s := os.Getenv("CUTS"); s != "" {
		var err error
		if cuts, err = strconv.Atoi(s); err != nil || cuts < 1 {
			t.Fatalf("CUTS=%s: it must be a number of power cuts", s)
		}
	}
	p := newPowerTest(t, "")
	for range cuts {
		p.cut()
	}
	p.look()
	for _, f := range p.failures {
		t.Error(f)
	}
	t.Logf("%d cuts, %d of them before the store was open: %d records acknowledged, %d found after a cut, %d missing",
		p.cuts, p.early, p.acks, p.seen, len(p.failures))
	if p.acks < uint64(cuts)*20 {
		t.Errorf("only %d acknowledged records in %d cuts: the test did not test", p.acks, cuts)
	}
}

// The test above has to fail for a store that acknowledges before it syncs.
func TestAPowerCutShowsAMissingSync(t *testing.T) {
	if testing.Short() {
		t.Skip("cuts the power of up to ten processes")
	}
	p := newPowerTest(t, "yes")
	for range 10 {
		p.cut()
		if len(p.failures) > 0 {
			t.Logf("seen after %d cuts: %s", p.cuts, p.failures[0])
			return
		}
	}
	if p.look(); len(p.failures) == 0 {
		t.Error("badger's sync is off, and ten power cuts have lost nothing: they would not show a missing sync")
	}
}

// powerTest is a disk on which one child after the other keeps its store, and
// what they said of it.
type powerTest struct {
	t        *testing.T
	exe      string
	unsynced string
	rng      *rand.Rand
	disk     *powerfs.Disk
	ledger   ledger

	cuts, early int
	acks, seen  uint64
	failures    []string
}

func newPowerTest(t *testing.T, unsynced string) *powerTest {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return &powerTest{
		t:        t,
		exe:      exe,
		unsynced: unsynced,
		rng:      rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // chance, not a secret
		disk:     powerfs.New(seed),
		ledger:   newLedger(),
	}
}

// cut lets a child work until the power is cut: at every fourth time at once or
// while it opens the store, else somewhere in its work.
func (p *powerTest) cut() {
	changes := p.rng.IntN(100)
	if p.cuts%4 != 3 {
		changes = 100 + p.rng.IntN(3000)
	}
	p.disk.CutAfter(changes)
	p.cuts++
	if !p.child(30*time.Second, func(line string) bool { return false }) {
		p.early++
	}
}

// look lets a child say what the last cut has left, and no more: it gets time enough
// for a busy machine, because a store that is not open when it is up counts as lost.
func (p *powerTest) look() {
	if !p.child(5*time.Minute, func(line string) bool { return line == "ready" }) {
		p.failures = append(p.failures, "after the last cut the store did not open")
	}
}

// child runs one child until the power is cut, after longest at the latest, or enough
// says that a line is the last one needed. ready: the store was opened.
func (p *powerTest) child(longest time.Duration, enough func(line string) bool) (ready bool) {
	p.t.Helper()
	disk, dir := p.disk, p.t.TempDir()
	unmount, err := disk.Mount(dir)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() {
		p.disk = disk.Cut()
		if err := unmount(); err != nil {
			p.t.Error(err)
		}
	}()
	cmd := exec.Command(p.exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), powerChildEnv+"="+dir, powerUnsyncedEnv+"="+p.unsynced,
		fmt.Sprintf("%s=%d", powerFirstEnv, (p.cuts+1)*1_000_000))
	var words bytes.Buffer // without power, a fault of a mapping kills the child: that is no news
	cmd.Stderr = &words
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // a child that has no power can do no more
		late := time.NewTimer(longest)
		defer late.Stop()
		select {
		case <-disk.Down():
		case <-late.C:
		case <-ended:
		}
		disk.Cut()
		_ = cmd.Process.Kill()
	}()
	done := false
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			break // what has no end is half a line
		}
		line = strings.TrimSuffix(line, "\n")
		p.line(line)
		if line == "ready" {
			ready = true
		}
		if done = enough(line); done {
			break
		}
	}
	died := !done && !p.down()
	close(ended)
	_ = cmd.Wait()
	if died {
		p.fail("a child with power has died: " + words.String())
	}
	return ready
}

func (p *powerTest) line(line string) {
	f := strings.Fields(line)
	name := ""
	if len(f) >= 3 {
		name = f[1] + " " + f[2]
	}
	number := func() uint64 {
		n, err := strconv.ParseUint(f[3], 10, 64)
		if err != nil {
			p.t.Fatalf("child: %q", line)
		}
		return n
	}
	switch {
	case line == "ready":
		if p.down() { // what it found may come from failed reads: the next start tells
			clear(p.ledger.found)
			return
		}
		p.fail(p.ledger.compare()...)
	case len(f) == 4 && f[0] == "have":
		p.seen++
		p.ledger.found[name] = number()
	case len(f) == 4 && f[0] == "ack":
		p.acks++
		p.ledger.acked(name, number())
	case len(f) == 3 && f[0] == "drop":
		p.ledger.dropping[name] = true
	case len(f) == 3 && f[0] == "dropped":
		p.ledger.dropped[name] = true
	case len(f) > 0 && (f[0] == "failed" || f[0] == "ended"):
		if !p.down() {
			p.fail("a child with power has " + line)
		}
	default:
		p.t.Fatalf("child: %q", line)
	}
}

func (p *powerTest) fail(reasons ...string) {
	for _, r := range reasons {
		p.failures = append(p.failures, fmt.Sprintf("cut %d: %s", p.cuts, r))
	}
}

func (p *powerTest) down() bool {
	select {
	case <-p.disk.Down():
		return true
	default:
		return false
	}
}
