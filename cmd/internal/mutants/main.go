// Command mutants is `make mutants`: it breaks the program in one line at a time, as mutants.txt says, and
// expects that the named tests fail. A test that passes all the same says nothing about the sentence that
// the line stands for.
//
// The sources are not touched: each mutant is an overlay of the go command (GOFLAGS=-overlay), which the
// programs that a test builds are made with as well.
//
// Exit codes: 0 every mutant failed its tests; 1 one survived, did not build, or names a line or a test
// that is no longer there; 2 the list or the command line is wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(errs)
	list := flags.String("list", "cmd/internal/mutants/mutants.txt", "the list of mutants")
	only := flags.String("only", "", "a regular expression: only mutants whose sentence or file matches")
	check := flags.Bool("check", false, "only look whether the line of each mutant is there; run nothing")
	limit := flags.Duration("timeout", 3*time.Minute, "how long the tests of one mutant may take")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return fail(errs, err)
	}
	mutants, err := readList(*list)
	if err != nil {
		return fail(errs, err)
	}
	r := &runner{out: out, limit: *limit}
	for _, m := range mutants {
		if pattern.MatchString(m.sentence) || pattern.MatchString(m.file) {
			r.mutants = append(r.mutants, m)
		}
	}
	if len(r.mutants) == 0 {
		return fail(errs, errors.New("no mutant matches"))
	}
	if *check {
		return r.check()
	}
	return r.run(ctx)
}

func fail(errs io.Writer, err error) int {
	_, _ = fmt.Fprintln(errs, "mutants:", err)
	return 2
}
