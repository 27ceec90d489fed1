// Command crowd holds a listener that a silent crowd stands at against its bars.
// The crowd opens 1,000 connections a second from 1,000 addresses, and sends
// nothing. Beside it
//
//   - 50 devices, each from a network of its own that the gateway has never
//     seen, connect over TLS on a link of 200 ms round trip, and try again at
//     once when they are closed: all of them must be in within 5 s, once with a
//     crowd of four networks, and once with one of a network for each address;
//   - 500 devices of one /24 network return over TLS in one moment: all of them
//     must be in within 30 s, once when they have been connected before, and once
//     when the gateway has been started anew and knows nobody.
//
// What a device that is connected all the time waits for the answer to a ping is
// printed, with and without the crowd.
//
// All of this is on loopback, whose whole 127.0.0.0/8 may be used for addresses. The
// round trip is made in this process (link.go), because a kernel need not have
// what delays packets.
//
// With CHECK=1 it exits with 1 when a bar is missed.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/bench/verdict"
)

// workload is one case.
type workload struct {
	name    string
	rate    int                    // silent connections a second
	from    func(n int) netip.Addr // where they come from
	devices int                    // good ones, which connect beside it
	network int                    // of 127/8: where they come from; 0: each from a network of its own
	at      int                    // how many of them connect at once
	before  bool                   // they have been connected before
	trip    time.Duration          // their round trip
	tls     uint16                 // the newest TLS that they speak; 0: any
	bar     time.Duration          // for each of them
}

// fourNetworks and oneEach are crowds of 1,000 addresses.
func fourNetworks(n int) netip.Addr { return address(64, n%4, 1+n/4%250) }
func oneEach(n int) netip.Addr      { return address(64+n/250%4, n%250, 1) }

func address(a, b, c int) netip.Addr { return netip.AddrFrom4([4]byte{127, byte(a), byte(b), byte(c)}) }

// strangers is a case of devices that the gateway has never seen; newest is the newest TLS that they speak.
func strangers(name string, crowd func(n int) netip.Addr, newest uint16) workload {
	return workload{
		name:    name,
		rate:    1000,
		from:    crowd,
		devices: 50,
		at:      5,
		trip:    200 * time.Millisecond,
		tls:     newest,
		bar:     5 * time.Second,
	}
}

// many is a case of devices of one network that connect at once.
func many(name string, crowd func(n int) netip.Addr, before bool) workload {
	return workload{
		name:    name,
		rate:    1000,
		from:    crowd,
		devices: 500,
		network: 210,
		at:      500,
		before:  before,
		bar:     30 * time.Second,
	}
}

// home is where the i-th device of a case comes from.
func (w *workload) home(i int) netip.Addr {
	if w.network == 0 {
		return address(200, i, 1)
	}
	return address(w.network, 0, 1+i%250)
}

func main() {
	bin := flag.String("bin", "bin", "the directory of gatehoused and managementd")
	only := flag.String("only", "", "only the cases whose name matches this expression")
	quick := flag.Bool("quick", false, "a small crowd and few devices: shows that everything runs, measures nothing")
	flag.Parse()
	cases := []workload{
		strangers("strangers, crowd of four networks", fourNetworks, 0),
		strangers("strangers, crowd of 1,000 networks", oneEach, 0),
		strangers("strangers with TLS 1.2, crowd of 1,000 networks", oneEach, tls.VersionTLS12),
		many("500 return, crowd of four networks", fourNetworks, true),
		many("500 return, crowd of 1,000 networks", oneEach, true),
		many("500 that nobody knows, crowd of 1,000 networks", oneEach, false),
	}
	if *quick {
		for i := range cases {
			cases[i].rate, cases[i].devices, cases[i].at = 100, 5, min(cases[i].at, 5)
		}
	}
	if *quick && os.Getenv("CHECK") != "" {
		fmt.Fprintln(os.Stderr,
			"bench-crowd: CHECK holds figures against their bars, and -quick measures none that could be: leave one of them out")
		os.Exit(2)
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-crowd:", err)
		os.Exit(2)
	}
	cases = slices.DeleteFunc(cases, func(w workload) bool { return !match.MatchString(w.name) })
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, *bin, cases, *quick)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-crowd:", err)
		code = 2
	}
	os.Exit(code)
}

func run(ctx context.Context, bin string, cases []workload, quick bool) (int, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return 0, err
	}
	fmt.Printf("%s %s/%s, %d CPUs\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	var results []verdict.Result
	for i := range cases {
		w := &cases[i]
		fmt.Printf("\n%s\n", w.name)
		t, err := measure(ctx, bin, w)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", w.name, err)
		}
		t.print(w)
		results = append(results, t.results(w)...)
	}
	if quick {
		fmt.Printf("\n%d figures; too few to be held against their bars\n", len(results))
		return verdict.Unsound(results), nil
	}
	return verdict.Report(results), nil
}
