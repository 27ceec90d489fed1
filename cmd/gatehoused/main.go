// Command gatehoused is the edge gateway daemon. It reads its configuration and
// runs until it is told to stop. When the configuration has mistakes, it prints
// all of them and does not start.
//
// Exit codes: 0 stopped as asked; 1 it could not run or could not go on;
// 64 wrong arguments (EX_USAGE); 78 broken configuration (EX_CONFIG), which a
// supervisor must not answer with a restart.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/gatehouse/gatehouse/gateway"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/preflight"
)

// Set by the linker: the version, and when this program was made, in seconds
// since 1970.
var version, built = "dev", ""

const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 64
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("gatehoused", flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("config", "/etc/gatehouse/gatehoused.yaml", "configuration file")
	check := flags.Bool("check", false, "check the configuration and everything that it names, then exit")
	show := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		return exitUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "gatehoused: unexpected argument %q; see gatehoused -h\n", flags.Arg(0))
		return exitUsage
	}
	if *show {
		fmt.Fprintln(stdout, "gatehoused", version)
		return exitOK
	}
	// Before anything that takes time: a SIGHUP that comes before this line ends the process.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	found, stopped := load(ctx, *file, *check)
	if stopped {
		return exitOK
	}
	cfg, problems := found.cfg, found.problems
	if *check || len(problems) > 0 { // otherwise the daemon puts the warnings into its log and its health
		for _, w := range found.warnings {
			fmt.Fprintln(stderr, w)
		}
	}
	if len(problems) > 0 {
		for _, p := range problems {
			fmt.Fprintln(stderr, p)
		}
		fmt.Fprintf(stderr, "gatehoused: %d problem(s) in the configuration; nothing was started\n", len(problems))
		return config.ExitCode
	}
	if *check {
		fmt.Fprintf(stdout, "%s: good\n", *file)
		return exitOK
	}
	err := gateway.Run(ctx, cfg, gateway.Options{
		Version: version,
		Built:   builtAt(),
		Stderr:  os.Stderr,
		Reload:  hangup,
		Load:    func() (config.Config, []config.Problem) { return config.Load(*file) },
	})
	if err != nil {
		fmt.Fprintln(stderr, "gatehoused:", err)
		return exitFailure
	}
	return exitOK
}

// configuration is a configuration file that was read, with the mistakes found in it.
type configuration struct {
	cfg                config.Config
	problems, warnings []config.Problem
}

// load reads the configuration and every file that it names. One of these may be a pipe that nobody
// writes to; the end of ctx ends that wait. With check this process is not the service: a credential
// or a right that only the service has is then a warning and no mistake of the file.
func load(ctx context.Context, file string, check bool) (found configuration, stopped bool) {
	done := make(chan configuration, 1)
	go func() {
		var c configuration
		read := config.Load
		if check {
			read = config.LoadForCheck
		}
		var loaded []config.Problem
		c.cfg, loaded = read(file)
		c.problems, c.warnings = gateway.Look(&c.cfg, loaded)
		if check {
			c.warnings = append(c.warnings, preflight.Elsewhere(&c.cfg)...)
		}
		done <- c
	}()
	select {
	case c := <-done:
		return c, false
	case <-ctx.Done():
		return configuration{}, true
	}
}

// builtAt is when this program was built, the earliest time that the daemon's clock may show. It is
// the zero time when the build did not set it.
func builtAt() time.Time {
	seconds, err := strconv.ParseInt(built, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}
