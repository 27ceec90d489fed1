// Command managementd is the cloud side on one machine: the management API
// with its nine roles over an embedded store, a development token issuer, and a
// development IoT Hub. "managementd endpoints" prints where its parts are.
//
// Exit codes are those of gatehoused: 0, 1, 64 (EX_USAGE), 78 (EX_CONFIG).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/gatehouse/gatehouse/gateway/config"
)

// version is set by the linker.
var version = "dev"

const defaultConfig = "/etc/gatehouse/managementd.yaml"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "endpoints" {
		return endpoints(args[1:], stdout, stderr)
	}
	flags := flag.NewFlagSet("managementd", flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("config", defaultConfig, "configuration file")
	check := flags.Bool("check", false, "check the configuration, then exit")
	restored := flags.Bool("restored", false, "the state was put back from a backup: begin a new epoch, so that gateways read everything anew")
	show := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 64
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "managementd: unexpected argument %q; see managementd -h\n", flags.Arg(0))
		return 64
	}
	if *show {
		fmt.Fprintln(stdout, "managementd", version)
		return 0
	}
	s, problems := load(*file)
	if len(problems) > 0 {
		for _, p := range problems {
			fmt.Fprintln(stderr, p)
		}
		fmt.Fprintf(stderr, "managementd: %d problem(s) in the configuration; nothing was started\n", len(problems))
		return config.ExitCode
	}
	if *check {
		fmt.Fprintf(stdout, "%s: good\n", *file)
		return 0
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.Log.Level)); err != nil {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	if err := serve(ctx, s, *restored, log); err != nil {
		fmt.Fprintln(stderr, "managementd:", err)
		return 1
	}
	return 0
}
