package process

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = time.Minute // for what must happen, on the busiest machine

func shell(t *testing.T, script string) (*Process, *Lines) {
	t.Helper()
	out := NewLines()
	p, err := Start(Command{Path: "/bin/sh", Args: []string{"-c", script}, Output: out, Orphan: syscall.SIGKILL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p, out
}

// Every line is kept, from both outputs, also a last one without an end.
func TestLines(t *testing.T) {
	p, out := shell(t, `echo one; echo two >&2; printf three`)
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	if got := out.All(); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("got %q", got)
	}
	if line, err := out.Await("thr", patience); line != "three" || err != nil {
		t.Errorf("got %q, %v", line, err)
	}
	if _, err := out.Await("four", patience); err == nil || !strings.Contains(err.Error(), "ended without writing") {
		t.Errorf("got %v", err)
	}
}

// A line that is still to come is waited for.
func TestAwait(t *testing.T) {
	out := NewLines()
	found := make(chan string)
	go func() {
		line, _ := out.Await("late", patience)
		found <- line
	}()
	for _, part := range []string{"early\nla", "te", "\n"} {
		_, _ = out.Write([]byte(part))
	}
	if line := <-found; line != "late" {
		t.Errorf("got %q", line)
	}
}

// A program that ends before it is ready does not make anybody wait for it.
func TestReady(t *testing.T) {
	p, _ := shell(t, `exit 3`)
	never := func(context.Context) error { return errors.New("not yet") }
	err := p.Ready(t.Context(), patience, never)
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "not yet") || p.ExitCode() != 3 {
		t.Errorf("got %v, exit code %d", err, p.ExitCode())
	}
}

// A program that ignores SIGTERM is killed, and that is an error.
func TestStop(t *testing.T) {
	p, out := shell(t, `trap '' TERM; echo here; while :; do :; done`)
	if _, err := out.Await("here", patience); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(time.Millisecond); err == nil || p.Running() {
		t.Errorf("got %v, running %v", err, p.Running())
	}
	p, out = shell(t, `trap 'exit 0' TERM; echo here; while :; do :; done`)
	if _, err := out.Await("here", patience); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(patience); err != nil {
		t.Errorf("got %v", err)
	}
}
