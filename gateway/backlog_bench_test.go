package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/store"
	"github.com/gatehouse/gatehouse/gateway/upstream"
)

// BenchmarkBacklog measures what waiting messages cost: BACKLOG of them (100
// bytes, of 30 devices; default 5,000) are accepted while upstream is away, then
// waited for by a process that starts with them, then drained. Each step is a
// process of its own, whose memory is read from /proc; upstream acknowledges at once.
//
//	BACKLOG=1000000 go test -run '^$' -bench Backlog ./gateway
func BenchmarkBacklog(b *testing.B) {
	n := 5000
	if v, err := strconv.Atoi(os.Getenv("BACKLOG")); err == nil {
		n = v
	}
	for b.Loop() {
		dir := b.TempDir()
		for _, step := range []string{"idle", "accept", "wait", "drain"} {
			cmd := exec.Command(os.Args[0], "-test.run=^TestBacklogChild$")
			cmd.Env = append(os.Environ(), "BACKLOG_CHILD="+step, "BACKLOG_DIR="+dir, fmt.Sprint("BACKLOG=", n))
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			var r backlogReport
			if err == nil {
				err = json.Unmarshal(bytes.TrimSpace(out), &r)
			}
			if err != nil {
				b.Fatalf("%s: %v: %s", step, err, out)
			}
			if step == "wait" && r.Waiting != n || step == "drain" && r.Waiting != 0 {
				b.Errorf("%s: %d of %d wait", step, r.Waiting, n)
			}
			b.Logf("%-6s %v", step, r)
			b.ReportMetric(float64(r.Anon)/(1<<20), step+"-anon-MiB")
		}
	}
}

type backlogReport struct {
	Waiting          int
	Ready, ReadyCPU  time.Duration // until the outbox was open
	Took, CPU        time.Duration // of the step's own work
	N                int
	Anon, File, Peak int64 // bytes
}

func (r backlogReport) String() string {
	each := func(d time.Duration) time.Duration { return d / time.Duration(max(1, r.N)) }
	return fmt.Sprintf("ready %v (CPU %v), %d waiting, RssAnon %.1f MiB (peak RSS %.1f, RssFile %.1f); %v, %.0f/s, CPU %v a message",
		r.Ready.Round(time.Millisecond), r.ReadyCPU.Round(time.Millisecond),
		r.Waiting, float64(r.Anon)/(1<<20), float64(r.Peak)/(1<<20), float64(r.File)/(1<<20), r.Took.Round(time.Millisecond),
		float64(r.N)/max(r.Took.Seconds(), 1e-9), each(r.CPU).Round(100*time.Nanosecond))
}

func rss(key string) int64 {
	b, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(b), key+":")
	var kb int64
	_, _ = fmt.Sscan(rest, &kb)
	return kb << 10
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// eager is an upstream that is away until it is opened, and then acknowledges at once.
type eager struct{ open chan struct{} }

func (eager) Lane(string) string { return "" }
func (e eager) Connect(ctx context.Context, _ string) (upstream.Conn, error) {
	select {
	case <-e.open:
		return e, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
func (eager) Done() <-chan struct{} { return nil }
func (eager) Release(bool)          {}
func (eager) Send(_ string, _ *message.Message, acked func(error)) error {
	go acked(nil)
	return nil
}

// TestBacklogChild is the process of a step of BenchmarkBacklog, and nothing by itself.
func TestBacklogChild(t *testing.T) {
	step := os.Getenv("BACKLOG_CHILD")
	if step == "" {
		t.Skip("it is run by BenchmarkBacklog")
	}
	r, err := backlogStep(t.Context(), step)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	os.Exit(0) // nothing but the report is printed
}

// backlogStep does one step of BenchmarkBacklog.
func backlogStep(ctx context.Context, step string) (r backlogReport, err error) {
	debug.SetMemoryLimit(1 << 30)
	n, _ := strconv.Atoi(os.Getenv("BACKLOG"))
	began := time.Now()
	s, err := store.Open(os.Getenv("BACKLOG_DIR"), store.Options{Log: slog.New(slog.DiscardHandler), Ballast: -1})
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() { _ = s.Run(ctx) })
	up := eager{make(chan struct{})}
	box, bad := upstream.New(upstream.Options{Storage: s.Outbox(), Connector: up, Routes: []upstream.Route{{Name: "r"}}})
	if len(bad) > 0 {
		return r, bad[0]
	}
	if err := box.Open(); err != nil {
		return r, err
	}
	r.Ready, r.ReadyCPU = time.Since(began), cpuTime()
	group.Go(func() { _ = box.Run(ctx) })
	began, cpu := time.Now(), cpuTime()
	switch step {
	case "accept":
		r.N = n
		offerBacklog(box, n)
	case "drain":
		r.N = n
		close(up.open)
		for box.Stats().Messages > 0 {
			time.Sleep(time.Millisecond)
		}
	}
	r.Took, r.CPU = time.Since(began), cpuTime()-cpu
	if n > 50_000 {
		time.Sleep(5 * time.Second) // what the store still compacts is no matter of what waits
	}
	runtime.GC()
	debug.FreeOSMemory()
	r.Waiting, r.Anon, r.File, r.Peak = box.Stats().Waiting, rss("RssAnon"), rss("RssFile"), rss("VmHWM")
	if path := os.Getenv("BACKLOG_HEAP"); path != "" { // then pprof says what holds the rest
		f, err := os.Create(path + "." + step)
		if err != nil {
			return r, err
		}
		defer func() { _ = f.Close() }()
		if err := pprof.WriteHeapProfile(f); err != nil {
			return r, err
		}
	}
	cancel()
	group.Wait()
	return r, s.Close()
}

func offerBacklog(box *upstream.Outbox, n int) {
	payload := bytes.Repeat([]byte("x"), 100)
	var who [30]*principal.Principal
	for i := range who {
		who[i] = &principal.Principal{Kind: principal.Device, Key: fmt.Sprint("device:d", i)}
	}
	window := make(chan struct{}, 600)
	for i := range n {
		window <- struct{}{}
		device := fmt.Sprint("d", i%len(who))
		box.Offer(&message.Message{
			ID:        uint64(i),
			Topic:     "devices/" + device + "/messages/events/",
			Payload:   payload,
			QoS:       1,
			Accepted:  time.Now(),
			Publisher: who[i%len(who)],
			Via:       message.Route{Handling: message.Telemetry, Device: device, Origin: device},
		}, nil, func(error) { <-window })
	}
	for range cap(window) {
		window <- struct{}{}
	}
}
