// Command upstream holds the way upstream against its bars: what a publish costs that
// is durable before it is acknowledged, beside a mosquitto bridge that syncs nothing and
// beside a bare loop of append and fdatasync; how fast a backlog goes; and what it costs
// in memory, on the disk, and at a start.
//
// Gatehouse and the bridge stand beside each other on this machine, forward to the same
// broker, and take the same load in turn: in each round Gatehouse, the bridge, Gatehouse
// again, and the bare loop. Ratios are those within a round, and the two runs of Gatehouse
// in a round are the control.
//
// With CHECK=1 it exits with 1 when a bar is missed or a message was lost, and with 75
// when the machine was too noisy to tell.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gatehouse/gatehouse/cmd/internal/bench/verdict"
)

type options struct {
	bin    string
	rounds int
	scale  float64 // of the number of messages
	parts  string
}

type part struct {
	name string
	run  func(context.Context, options) ([]verdict.Result, error)
}

// parts in the order in which they run.
var parts = []part{
	{"accept", accept},
	{"disk", disk},
	{"backlog", backlog},
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "the directory of gatehoused and managementd")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of accept")
	flag.Float64Var(&o.scale, "scale", 1, "multiplies the number of messages; below 1 the figures are not those of the bars")
	flag.StringVar(&o.parts, "part", "accept,disk,backlog", "which parts run: accept, disk, backlog")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		code = 2
	}
	os.Exit(code)
}

func run(ctx context.Context, o options) (code int, err error) {
	if o.rounds < 1 || o.scale <= 0 || o.scale > 1 {
		return 0, errors.New("-rounds is at least 1, -scale above 0 and at most 1")
	}
	if o.scale < 1 && os.Getenv("CHECK") != "" {
		return 0, errors.New("CHECK holds figures against their bars, and with -scale they are not those of the bars: leave one of them out")
	}
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return 0, err
	}
	if err := onDisk(os.TempDir()); err != nil {
		return 0, err
	}
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(o.parts, ",") {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			return 0, fmt.Errorf("there is no part %q", name)
		}
		wanted[name] = true
	}
	fmt.Printf("%s %s/%s, %d CPUs; load %s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), loadAverage())
	var results []verdict.Result
	for _, p := range parts {
		if !wanted[p.name] {
			continue
		}
		r, err := p.run(ctx, o)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", p.name, err)
		}
		results = append(results, r...)
	}
	fmt.Printf("\nload %s at the end\n", loadAverage())
	if o.scale < 1 {
		return verdict.Unsound(results), nil
	}
	return verdict.Report(results), nil
}

// onDisk refuses a directory in which a sync means nothing, or something else than on an appliance.
func onDisk(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	for magic, name := range map[int64]string{unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay"} {
		if st.Type == magic {
			return fmt.Errorf("%s is on %s: set TMPDIR to a directory on a disk", dir, name)
		}
	}
	return nil
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
