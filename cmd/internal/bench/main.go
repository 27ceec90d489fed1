// Command bench holds Gatehouse, with its default configuration and every
// publish, subscribe and delivery decided, against Debian's mosquitto with its
// dynamic-security plugin and against the embedded library alone, which lets
// everybody do everything.
//
// The brokers run beside each other on this machine, with the same clients and
// (but for the library) the same rights, and take the same load in turn: in
// each round Gatehouse, mosquitto, Gatehouse again. What is judged is the
// processor time of the broker's process for each delivery, as a ratio of the
// two in the same round; the bar is held against the median of all rounds. The
// two runs of Gatehouse in a round are the control: they differ by noise only.
//
// With CHECK=1 it exits with 1 when a bar is missed, or when Gatehouse lost a
// message or closed a client, and with 75 when the machine was too noisy to
// tell: when the spread of the control is larger than half of the margin.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"

	"github.com/gatehouse/gatehouse/cmd/internal/bench/verdict"
)

type options struct {
	bin    string // directory of the programs
	rounds int
	scale  float64 // of the number of messages
	quick  bool
	only   *regexp.Regexp
	peers  bool // the library as well
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "the directory of gatehoused, managementd and bench-mochi")
	flag.IntVar(&o.rounds, "rounds", 7, "rounds of each case")
	flag.Float64Var(&o.scale, "scale", 1, "multiplies the number of messages and the times")
	flag.BoolVar(&o.quick, "quick", false, "one round of few messages: shows that everything runs, measures nothing")
	only := flag.String("only", "", "only the cases whose name matches this expression")
	flag.BoolVar(&o.peers, "peers", true, "the embedded library alone as well")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		usage(err)
	}
	if o.quick {
		o.rounds, o.scale = 1, 0.01
	}
	if o.quick && os.Getenv("CHECK") != "" {
		usage(fmt.Errorf("CHECK holds figures against their bars, and -quick measures none that could be: leave one of them out"))
	}
	if o.rounds < 1 || o.scale <= 0 {
		usage(fmt.Errorf("-rounds and -scale are more than 0"))
	}
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		usage(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		code = 2
	}
	os.Exit(code)
}

func usage(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(2)
}

func run(ctx context.Context, o options) (int, error) {
	b, err := newBuilding(120)
	if b != nil {
		defer func() { _ = os.RemoveAll(b.dir) }()
	}
	if err != nil {
		return 0, err
	}
	h := &hall{building: b, options: o}
	defer h.Close()
	if err := h.open(ctx); err != nil {
		return 0, err
	}
	fmt.Printf("%s %s/%s, %d CPUs; MQTT 3.1.1, %d rounds\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), o.rounds)
	var results []verdict.Result
	for _, c := range cases(b, o.scale) {
		if !o.only.MatchString(c.name) {
			continue
		}
		r, err := h.measure(ctx, c)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", c.name, err)
		}
		results = append(results, r...)
	}
	if o.only.MatchString("silence") {
		r, err := h.silence(ctx)
		if err != nil {
			return 0, fmt.Errorf("silence: %w", err)
		}
		results = append(results, r...)
	}
	if len(results) == 0 {
		return 0, fmt.Errorf("no case matches -only")
	}
	if o.quick {
		fmt.Printf("\n%d figures; too few messages to be held against their bars\n", len(results))
		return verdict.Unsound(results), nil
	}
	return verdict.Report(results), nil
}
