// Package process runs one program as a child of this one, as its operator
// would run it. A child belongs to a process group of its own, so that Ctrl-C
// reaches only the parent, which ends its children in order; the kernel ends
// them when the parent dies without doing so.
package process

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Command is what to start.
type Command struct {
	Path string
	Args []string
	// Env is added to the environment of this process, less what a supervisor of ours put there for us.
	Env []string
	// Output takes standard output and standard error. It is closed when the process has ended.
	Output io.WriteCloser
	// Orphan is the signal that the process gets when this one dies first.
	Orphan syscall.Signal
}

// Process is a program that was started.
type Process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended and Output has all that it wrote
	err  error         // how it ended; written before done is closed
}

// Start starts a program and waits for nothing.
func Start(c Command) (*Process, error) {
	cmd := exec.CommandContext(context.Background(), c.Path, c.Args...)
	for _, v := range os.Environ() {
		if key, _, _ := strings.Cut(v, "="); key != "NOTIFY_SOCKET" && key != "WATCHDOG_USEC" && key != "JOURNAL_STREAM" {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, c.Env...)
	cmd.Stdout, cmd.Stderr = c.Output, c.Output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: c.Orphan}
	p := &Process{name: filepath.Base(c.Path), cmd: cmd, done: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		_ = c.Output.Close()
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		p.err = cmd.Wait()
		_ = c.Output.Close()
		close(p.done)
	}()
	return p, nil
}

// Name is the file name of the program.
func (p *Process) Name() string { return p.name }

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed once the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the process ended, as exec.Cmd.Wait tells it. It waits for the end.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// ExitCode is the exit code, -1 after a signal. It waits for the end.
func (p *Process) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Running tells whether the process was started and has not ended.
func (p *Process) Running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Send sends a signal to exactly this process.
func (p *Process) Send(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Stop asks the process to end and returns how it ended; one that still runs after the given time is killed.
func (p *Process) Stop(within time.Duration) error {
	if !p.Running() {
		return nil
	}
	_ = p.Send(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(within):
		p.Kill()
		return fmt.Errorf("%s did not stop within %v of SIGTERM and was killed", p.name, within)
	}
}

// Kill ends the process as a power cut would, and waits for its end.
func (p *Process) Kill() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Ready waits until ready answers nil. It is an error when the process ends first or the time passes.
func (p *Process) Ready(ctx context.Context, within time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	go func() {
		select {
		case <-p.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := Eventually(ctx, ready)
	switch {
	case err == nil:
		return nil
	case !p.Running():
		return fmt.Errorf("%s ended before it was ready (%v): %w", p.name, p.cmd.ProcessState, err)
	}
	return fmt.Errorf("%s was not ready after %v: %w", p.name, within, err)
}

// Eventually asks until try answers nil. When ctx ends first, the error is the last answer.
func Eventually(ctx context.Context, try func(context.Context) error) error {
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond): // the distance between two questions
		}
	}
}

// Tail is the end of a text, indented.
func Tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return "\t" + strings.Join(all[max(0, len(all)-lines):], "\n\t")
}
