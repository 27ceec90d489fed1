// Command gatehoused is the edge gateway daemon. It reads its configuration,
// says everything that is wrong with it at once, and otherwise runs until it
// is told to stop.
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
	// Before anything takes time: until then a SIGHUP would be the end.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	found, stopped := load(ctx, *file, *check)
	if stopped {
		return exitOK
	}
	cfg, problems := found.cfg, found.problems
	if *check || len(problems) > 0 { // the daemon's own log and health have them otherwise
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
		Version: version, Built: builtAt(), Stderr: os.Stderr,
		Reload: hangup, Load: func() (config.Config, []config.Problem) { return config.Load(*file) },
	})
	if err != nil {
		fmt.Fprintln(stderr, "gatehoused:", err)
		return exitFailure
	}
	return exitOK
}

// configuration is one that was read, and what was found in it.
type configuration struct {
	cfg                config.Config
	problems, warnings []config.Problem
}

// load reads the configuration and all that it names. Some of it may be a pipe that nobody
// writes to: being told to stop ends the wait. check: this process is not the service, so
// what it lacks of the service's credentials and rights is no mistake of the file.
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
			c.warnings = append(c.warnings, gateway.Elsewhere(&c.cfg)...)
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

// builtAt is the floor of the daemon's clock; the zero time when the build does not say.
func builtAt() time.Time {
	seconds, err := strconv.ParseInt(built, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}
