// Command memory holds what gatehoused keeps in memory against its bars: idle
// with a site of 10,000 devices and as many assignments, and what each client
// adds that is connected and does nothing, without TLS and with client
// certificates. What is judged is RssAnon of its process (proc_pid_status(5)):
// what it has for itself, without the pages of files that it has mapped.
//
// Each round starts the daemon anew. The control is the rounds themselves: they
// differ by noise only.
//
// With CHECK=1 it exits with 1 when a bar is missed and with 75 when the rounds
// differ by more than half of the margin.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/bench/rig"
	"github.com/gatehouse/gatehouse/cmd/internal/bench/verdict"
	"github.com/gatehouse/gatehouse/cmd/internal/load"
)

type options struct {
	bin     string
	devices int
	clients int
	rounds  int
	idling  time.Duration
	quick   bool
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "the directory of gatehoused and managementd")
	flag.IntVar(&o.devices, "devices", barred, "devices of the site, with an assignment each")
	flag.IntVar(&o.clients, "clients", barred, "clients that connect")
	flag.IntVar(&o.rounds, "rounds", 3, "starts of the daemon")
	flag.DurationVar(&o.idling, "idle", 30*time.Second, "how long it idles before it is measured")
	flag.BoolVar(&o.quick, "quick", false, "a small site and one round: shows that everything runs, measures nothing")
	flag.Parse()
	if o.quick {
		o.devices, o.clients, o.rounds, o.idling = 200, 200, 1, time.Second
	}
	if err := o.check(); err != nil {
		fmt.Fprintln(os.Stderr, "bench-memory:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-memory:", err)
		code = 2
	}
	os.Exit(code)
}

// barred is how many devices and clients the bars are for.
const barred = 10_000

func (o *options) barred() bool { return o.devices == barred && o.clients == barred }

func (o *options) check() (err error) {
	if !o.barred() && os.Getenv("CHECK") != "" {
		return fmt.Errorf("CHECK holds figures against bars, and these are for %d devices and clients: "+
			"leave out -quick, -devices and -clients", barred)
	}
	if o.rounds < 1 || o.clients < 1 || o.clients > o.devices {
		return fmt.Errorf("-rounds and -clients are more than 0, and there are as many -devices as clients")
	}
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	// Go has raised the limit of this process already, and so does gatehoused, which inherits the hard one.
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	if need := uint64(o.clients) + 500; files.Max < need {
		return fmt.Errorf("%d clients need %d open files, and this process may have %d (ulimit -Hn)", o.clients, need, files.Max)
	}
	return nil
}

func run(ctx context.Context, o options) (int, error) {
	fmt.Printf("%s %s/%s, %d CPUs; %d devices, %d clients, %d rounds\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), o.devices, o.clients, o.rounds)
	var results []verdict.Result
	for _, kind := range []struct {
		name   string
		secure bool
		bar    float64 // KiB
	}{{"plain", false, 12}, {"mutual TLS", true, 32}} {
		s, err := rig.New(rig.Options{Bin: o.bin, Devices: o.devices, Certificates: kind.secure})
		if err != nil {
			return 0, err
		}
		m := &measurement{Site: s, options: o, secure: kind.secure}
		err = m.all(ctx, kind.name)
		s.Remove()
		if err != nil {
			return 0, fmt.Errorf("%s: %w", kind.name, err)
		}
		results = append(results,
			verdict.Result{Name: fmt.Sprintf("%s: MiB idle with %d devices", kind.name, o.devices), Got: verdict.Median(m.idle), Bar: 30,
				Noise: verdict.Spread(m.idle)},
			verdict.Result{Name: kind.name + ": KiB for each idle client", Got: verdict.Median(m.growth), Bar: kind.bar,
				Noise: verdict.Spread(m.growth)},
			verdict.Result{Name: kind.name + ": clients refused or closed", Got: float64(m.bad), Exact: true})
	}
	if !o.barred() {
		fmt.Printf("\n%d figures of another site than the bars are for\n", len(results))
		return verdict.Unsound(results), nil
	}
	return verdict.Report(results), nil
}

// measurement is one site, measured.
type measurement struct {
	*rig.Site
	options
	secure bool
	idle   []float64 // MiB, by round
	growth []float64 // KiB for each client, by round
	bad    int64     // clients that were refused or closed
}

func (m *measurement) all(ctx context.Context, name string) error {
	if err := m.StartCloud(ctx); err != nil {
		return err
	}
	fmt.Printf("\n%s\n", name)
	if err := m.StartGateway(ctx); err != nil { // reads everything from the cloud; the rounds start from its cache
		return err
	}
	first, err := m.rest(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("  after the first synchronisation  %s\n", show(first))
	for range m.rounds {
		if err := m.Gateway.Stop(time.Minute); err != nil {
			return err
		}
		if err := m.StartGateway(ctx); err != nil {
			return err
		}
		if err := m.round(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (m *measurement) round(ctx context.Context) error {
	before, err := m.rest(ctx)
	if err != nil {
		return err
	}
	m.idle = append(m.idle, mib(before.Anon))
	fmt.Printf("  idle                             %s\n", show(before))
	var after rig.Memory
	var failed error
	measured := make(chan struct{})
	storm := load.Storm{
		Target:   m.Target(m.secure),
		Clients:  m.Clients[:m.clients],
		Count:    m.clients,
		Parallel: 16,
		Hold:     m.idling + 2*time.Second,
		Ended: func() {
			go func() {
				defer close(measured)
				after, failed = m.rest(ctx)
			}()
		},
	}
	r, err := storm.Run(ctx)
	if err != nil {
		return err
	}
	if <-measured; failed != nil {
		return failed
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	m.bad += r.Attempted - r.Accepted + r.Closed
	if r.Accepted == 0 {
		return fmt.Errorf("no client was accepted: %v", r.Failed)
	}
	each := float64(after.Anon-before.Anon) / float64(r.Accepted) / 1024
	m.growth = append(m.growth, each)
	fmt.Printf("  with %6d clients              %s, %.1f KiB each; %.0f connects/s, %d refused %v, %d closed %v\n",
		r.Accepted, show(after), each, r.Rate, r.Attempted-r.Accepted, r.Failed, r.Closed, r.Reasons)
	return nil
}

// rest waits until the daemon has idled, and weighs it.
func (m *measurement) rest(ctx context.Context) (rig.Memory, error) {
	select {
	case <-time.After(m.idling):
	case <-ctx.Done():
		return rig.Memory{}, ctx.Err()
	}
	return m.Gateway.Memory()
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

func show(m rig.Memory) string {
	return fmt.Sprintf("RssAnon %6.1f MiB  RssFile %6.1f MiB  RssShmem %6.1f MiB", mib(m.Anon), mib(m.File), mib(m.Shared))
}
