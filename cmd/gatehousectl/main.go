// Command gatehousectl is the operator's command. It speaks to a running gatehoused
// over its admin socket and keeps no state of its own. Its subcommand bench is a
// load tool instead: it speaks MQTT to any broker, and needs no daemon.
//
// Exit codes: 0 done; 1 it failed (standard error says what, where, and what
// to do next); 2 the command line is wrong; 3 it was answered, and the answer
// is no: explain says denied, health is not ok, doctor found a failure,
// bench saw something lost that had been acknowledged, or a connection refused;
// 4 doctor found nothing worse than a warning. doctor --check ends as plugins of
// Nagios do: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/admin/client"
	"github.com/gatehouse/gatehouse/gateway/printable"
)

// version is set by the linker.
var version = "dev"

const (
	exitFailed = 1
	exitUsage  = 2
	exitNo     = 3
	exitWarned = 4
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

type cli struct {
	Socket  string        `help:"The daemon's admin socket." default:"/run/gatehouse/admin.sock" env:"GATEHOUSE_SOCKET" placeholder:"PATH"`
	JSON    bool          `name:"json" help:"Print the answer as JSON."`
	IDs     bool          `name:"ids" help:"Print spaces by their ids, not by their names."`
	Timeout time.Duration `help:"How long to wait for an answer." default:"30s"`

	Status      statusCmd      `cmd:"" help:"Everything at a glance."`
	Health      healthCmd      `cmd:"" help:"What is wrong, since when, and what to do next."`
	Sessions    sessionsCmd    `cmd:"" help:"Who is connected."`
	Explain     explainCmd     `cmd:"" aliases:"check" help:"Is it allowed, and why or why not."`
	WhoCan      whoCanCmd      `cmd:"" name:"who-can" help:"Which assignments allow an operation."`
	WhatCan     whatCanCmd     `cmd:"" name:"what-can" help:"What a principal may do."`
	Assignments assignmentsCmd `cmd:"" help:"The role assignments in force."`
	Audit       auditCmd       `cmd:"" help:"What was decided lately."`
	Outbox      outboxCmd      `cmd:"" help:"What waits for the upstream."`
	Sync        syncCmd        `cmd:"" help:"Synchronise with the cloud now."`
	Disconnect  disconnectCmd  `cmd:"" help:"Close a session's connection, or all of a principal."`
	ResetClock  resetClockCmd  `cmd:"" name:"reset-clock" help:"Believe this machine's clock: a wrong time was believed before."`
	Config      configCmd      `cmd:"" help:"The configuration in force, without secrets."`
	Doctor      doctorCmd      `cmd:"" help:"Look for what is misconfigured or broken."`
	Bench       benchCmd       `cmd:"" help:"Put load on a broker, this gateway or any other, and account for every message."`
	Version     versionCmd     `cmd:"" help:"The versions of this command and of the daemon."`
}

// env is what every command works with.
type env struct {
	ctx    context.Context
	client *client.Client
	out    *printer
	errors io.Writer
	json   bool
}

// answered ends a command that worked and whose answer is no.
type answered struct{}

func (answered) Error() string { return "the answer is no" }

// exit ends a command that has said all with an exit code.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c cli
	exited := -1
	if len(args) > 0 && args[0] == "help" { // what people type first
		args = append(slices.Clone(args[1:]), "--help")
	}
	parser, err := kong.New(&c, kong.Name("gatehousectl"), kong.Description("Look into a running gatehoused."),
		kong.Writers(stdout, stderr), kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		return fail(stderr, err)
	}
	k, err := parser.Parse(args)
	if exited >= 0 { // --help has been printed
		return exited
	}
	if err != nil {
		if slices.Contains(args, "doctor") && slices.ContainsFunc(args, isCheck) { // 2 would be CRITICAL to who asks
			newPrinter(stdout).linef("GATEHOUSE UNKNOWN - command line: %v", err)
			return nagiosUnknown
		}
		return misused(stderr, err)
	}
	if long := k.Command() == "audit" && c.Audit.Follow || strings.HasPrefix(k.Command(), "bench "); !long {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	e := &env{ctx: ctx, client: client.New(c.Socket), out: newPrinter(stdout), errors: stderr, json: c.JSON}
	defer e.client.Close()
	if !c.IDs {
		e.out.places = sync.OnceValue(func() *admin.Places {
			list, err := e.client.Spaces(ctx)
			if err != nil {
				return nil // the ids say it as well
			}
			return admin.NewPlaces(list)
		})
	}
	return fail(stderr, k.Run(e))
}

// isCheck tells that an argument is doctor's flag for Nagios, with or without a value.
func isCheck(arg string) bool { return strings.HasPrefix(arg, "--check") }

func misused(stderr io.Writer, err error) int {
	newPrinter(stderr).problem(&admin.Error{
		What:  err.Error(),
		Where: "command line",
		Next:  "gatehousectl --help, or gatehousectl COMMAND --help",
	})
	return exitUsage
}

func fail(stderr io.Writer, err error) int {
	var no answered
	var code exit
	var e *admin.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &no):
		return exitNo
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, syscall.EPIPE):
		return 0 // standard output was closed by its reader (EPIPE), such as head
	case !errors.As(err, &e):
		e = &admin.Error{What: err.Error()}
	}
	newPrinter(stderr).problem(e)
	return exitFailed
}

// print writes v as JSON, or has text write it for people.
func (e *env) print(v any, text func(*printer)) error {
	if e.json {
		enc := json.NewEncoder(printable.JSONTo(e.out.w))
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	text(e.out)
	return e.out.err
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

func bytesText(n int64) string {
	const units = "KMGT"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}
