// Command demo is what `make run` and `make smoke` start: the whole system on
// this machine, with real parts. It makes a development CA, certificates and
// configuration in a folder of its own, starts managementd and gatehoused as an
// operator would, and then plays the devices of a building through a real MQTT client.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/site"
)

const usage = `usage: demo run   [--bin DIR] [--dir DIR] [--base-port N]   the whole system, live, until Ctrl-C
       demo smoke [--bin DIR]                              the same, asserting, at most 60 s
       demo mend  [--bin DIR]                              a listener's certificate is mended while the daemon runs, at most 60 s`

var errUsage = errors.New(usage)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet("demo "+args[0], flag.ContinueOnError)
	bin := flags.String("bin", "bin", "directory of the binaries")
	dir := flags.String("dir", "run", "folder for keys, configuration and state")
	seedFile := flags.String("seed", "configs/demo-topology.yaml", "the building")
	base := flags.Int("base-port", 8883, "MQTT port; the others follow: +1 hub, 8443 API, 9090 page with the default")
	keep := flags.Bool("keep", false, "smoke: keep the folder")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	seed, err := filepath.Abs(*seedFile)
	if err != nil {
		return err
	}
	switch args[0] {
	case "run":
		p := site.Ports{MQTT: *base, Hub: *base + 1, API: 8443, Page: 9090}
		if *base != 8883 {
			p.API, p.Page = *base+2, *base+3
		}
		return live(ctx, *bin, *dir, seed, p)
	case "smoke":
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		return smoke(ctx, *bin, seed, *keep)
	case "mend":
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		return mend(ctx, *bin, seed, *keep)
	}
	return errUsage
}
