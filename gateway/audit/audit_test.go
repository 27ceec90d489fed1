package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse/gatehouse/gateway/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func denied(principal, reason string) message.AuditRecord {
	return message.AuditRecord{Event: "publish", Principal: principal, Reason: reason, Topic: "devices/" + principal}
}

// start runs l and returns what stops it.
func start(t *testing.T, l *Log) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func readLines(t *testing.T, file string) []message.AuditRecord {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []message.AuditRecord
	for line := range strings.Lines(string(b)) {
		var r message.AuditRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, r)
	}
	return out
}

func sum(rs []message.AuditRecord) (n uint64) {
	for _, r := range rs {
		n += r.Count
	}
	return n
}

// TestRate: above the rate records are counted, the count comes out by itself
// once there is capacity, and one principal's flood hides nobody else.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{Rate: 1, Burst: 3})
		stop := start(t, l)
		for range 1000 {
			l.Audit(denied("noisy", "no-assignment"))
		}
		l.Audit(denied("quiet", "no-assignment"))
		if got := l.Recent(10, nil); len(got) != 4 || got[3].Principal != "quiet" {
			t.Fatalf("at once: %d records, want 3 of noisy and quiet's", len(got))
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		got := l.Recent(10, nil)
		if len(got) != 5 || got[4].Count != 997 || got[4].Reason != "no-assignment" || got[4].Topic == "" {
			t.Fatalf("later: %+v, want one record for the other 997", got[len(got)-1])
		}
		stop()
		if n := sum(l.Recent(100, nil)); n != 1001 || l.Counts() != (Counts{Total: 1001, Suppressed: 997}) {
			t.Errorf("%d records accounted for, %+v", n, l.Counts())
		}
	})
}

// TestClaimedNames: a stranger who invents a name for each attempt is limited
// by address all the same.
func TestClaimedNames(t *testing.T) {
	l := New(Options{Rate: 1, Burst: 3})
	for i := range 100 {
		l.Audit(message.AuditRecord{Event: "connect", Principal: fmt.Sprintf("device:%d", i), Remote: fmt.Sprintf("192.0.2.7:%d", 1000+i),
			Reason: "unknown-device"})
	}
	if got := l.Recent(1000, nil); len(got) != 3 {
		t.Errorf("%d records of one stranger, want 3", len(got))
	}
}

func TestBounds(t *testing.T) {
	l := New(Options{Rate: 1, Burst: 1, Ring: 64})
	for i := range maxPrincipals + 100 {
		l.Audit(denied(fmt.Sprintf("p%d", i), "r"))
	}
	for i := range 100 {
		l.Audit(denied("p0", fmt.Sprintf("reason-%d", i)))
	}
	l.Audit(message.AuditRecord{Event: "subscribe", Principal: "p1", Topic: strings.Repeat("x", 65535)})
	if len(l.limiters) != maxPrincipals || len(l.limiters["p0"].pending) > maxPending+1 {
		t.Errorf("%d limiters, %d pending", len(l.limiters), len(l.limiters["p0"].pending))
	}
	l.flush(true)
	for _, r := range l.Recent(64, nil) {
		if len(r.Topic) > maxText+3 {
			t.Errorf("%d bytes of topic kept", len(r.Topic))
		}
	}
	if got := l.Recent(1000, nil); len(got) != 64 {
		t.Errorf("ring holds %d", len(got))
	}
}

// TestNothingUncounted: whatever is suppressed, missed or written, the sum is
// the number of calls.
func TestNothingUncounted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	l := New(Options{File: file, Rate: 50, Burst: 20, Ring: 16})
	stop := start(t, l)
	var wg sync.WaitGroup
	const goroutines, each = 8, 2000
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				l.Audit(denied(fmt.Sprintf("p%d", g%4), fmt.Sprintf("r%d", i%50)))
			}
		})
	}
	wg.Wait()
	stop()
	if n := sum(readLines(t, file)); n != goroutines*each {
		t.Errorf("the file accounts for %d of %d; %+v", n, goroutines*each, l.Counts())
	}
}

// TestMissed: without a writer Audit neither blocks nor forgets the number.
func TestMissed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	l := New(Options{File: file, Rate: 1e9, Burst: 1e9})
	for range queueLength + 500 {
		l.Audit(denied("p", "r"))
	}
	if l.Counts().Missed != 500 {
		t.Fatalf("%+v, want 500 missed", l.Counts())
	}
	synced := make(chan struct{})
	go func() { defer close(synced); l.drainForTest() }()
	<-synced
	stop := start(t, l)
	stop()
	lines := readLines(t, file)
	last := lines[len(lines)-1]
	if last.Reason != "records-missed" || last.Count != 500 {
		t.Errorf("last line %+v, want the number of missed records", last)
	}
}

// drainForTest empties the queue, as a writer that woke up would.
func (l *Log) drainForTest() {
	for range 1000 {
		<-l.queue
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "audit.jsonl")
	l := New(Options{
		File:    file,
		Rate:    1e9,
		Burst:   1e9,
		MaxSize: 4096,
		Keep:    2,
	})
	stop := start(t, l)
	for i := range 200 {
		l.Audit(denied(fmt.Sprintf("device-%03d", i), "no-assignment"))
	}
	stop()
	for _, name := range []string{file, file + ".1", file + ".2"} {
		info, err := os.Stat(name)
		if err != nil || info.Size() > 4096 {
			t.Errorf("%s: %v", filepath.Base(name), err)
			continue
		}
		if info.Mode().Perm()&0o027 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		readLines(t, name)
	}
	if _, err := os.Stat(file + ".3"); !errors.Is(err, os.ErrNotExist) {
		t.Error("more old files than Keep")
	}
	lines := readLines(t, file)
	if got := lines[len(lines)-1].Principal; got != "device-199" {
		t.Errorf("last line is of %s", got)
	}
}

func TestFileFailsAndRecovers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	states := make(chan error, 4)
	l := New(Options{File: filepath.Join(dir, "audit.jsonl"), FileError: func(err error) { states <- err }})
	stop := start(t, l)
	l.Audit(denied("a", "r"))
	if err := <-states; !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the directory is missing", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l.Audit(denied("b", "r"))
	if err := <-states; err != nil {
		t.Errorf("after the repair: %v", err)
	}
	stop()
	if lines := readLines(t, filepath.Join(dir, "audit.jsonl")); len(lines) != 1 || lines[0].Principal != "b" {
		t.Errorf("%+v", lines)
	}
}

func TestFollow(t *testing.T) {
	l := New(Options{Rate: 1e9, Burst: 1e9})
	f, idle := l.Follow(), l.Follow()
	l.Audit(denied("a", "r"))
	if r := <-f.C(); r.Principal != "a" || r.Time.IsZero() || r.Count != 1 {
		t.Errorf("%+v", r)
	}
	for range 300 {
		l.Audit(denied("b", "r"))
	}
	if n := idle.Missed(); n != 301-256 {
		t.Errorf("idle follower missed %d, want %d", n, 301-256)
	}
	idle.Close()
	idle.Close()
	f.Close()
	l.Audit(denied("c", "r"))
	if len(l.followers) != 0 {
		t.Error("a closed follower is still fed")
	}
}

func TestLog(t *testing.T) {
	var b bytes.Buffer
	l := New(Options{Logger: slog.New(slog.NewTextHandler(&b, nil))})
	stop := start(t, l)
	l.Audit(message.AuditRecord{Event: "publish", Principal: "device:a", Topic: "t\nlevel=ERROR msg=forged", Reason: "no-assignment"})
	stop()
	if s := b.String(); !strings.Contains(s, "level=WARN") || !strings.Contains(s, "reason=no-assignment") || strings.Count(s, "\n") != 1 {
		t.Errorf("log line %q", s)
	}
}

func TestRecentFilters(t *testing.T) {
	l := New(Options{Ring: 4, Rate: 1e9, Burst: 1e9})
	for i := range 6 {
		l.Audit(denied(fmt.Sprint(i), "r"))
	}
	var got []string
	for _, r := range l.Recent(10, func(r *message.AuditRecord) bool { return r.Principal != "4" }) {
		got = append(got, r.Principal)
	}
	if strings.Join(got, "") != "235" {
		t.Errorf("got %v, want the matching ones of the last four, oldest first", got)
	}
}

// TestFileObeysNobody: somebody reads the file on a terminal.
func TestFileObeysNobody(t *testing.T) {
	const name = "x\x1b[2J\u009b1m\u202e\x7f"
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	l := New(Options{File: file})
	stop := start(t, l)
	l.Audit(message.AuditRecord{Event: "connect", ClientID: name, Reason: "malformed"})
	stop()
	b, err := os.ReadFile(file)
	if err != nil || strings.ContainsAny(string(b), "\x1b\u009b\u202e\x7f") {
		t.Errorf("the file holds %q, %v", b, err)
	}
	if r := readLines(t, file); len(r) != 1 || r[0].ClientID != name {
		t.Errorf("a program reads %+v", r)
	}
}
