// Package e2e runs the real daemons for tests, as separate processes with
// real files, sockets and clients, and the cloud of one demo building beside them.
//
// Nothing here sleeps to be in time: a gateway is up when its notify socket
// hears READY=1, a message is there when its line is. Every wait is bounded,
// and what was started is ended by its process id.
package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds every wait for something that must happen.
const Patience = 2 * time.Minute

// Build compiles the daemons into dir.
func Build(dir string) error {
	const module = "github.com/gatehouse/gatehouse/cmd/"
	out, err := exec.CommandContext(context.Background(), "go", "build", "-o", dir+string(filepath.Separator), module+"gatehoused", module+"managementd").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// Process is a started program, with every line that it wrote.
type Process struct {
	name string
	cmd  *exec.Cmd
	gone chan struct{} // closed once it has ended and all it wrote is here

	mu    sync.Mutex
	lines []string
	more  chan struct{} // replaced with each line; guarded by mu
}

// Launch starts a program. env is added to this process's environment, less
// what a supervisor of ours may have put there.
func Launch(env []string, name string, args ...string) (*Process, error) {
	cmd := exec.CommandContext(context.Background(), name, args...)
	for _, v := range os.Environ() {
		if key, _, _ := strings.Cut(v, "="); key != "NOTIFY_SOCKET" && key != "WATCHDOG_USEC" && key != "JOURNAL_STREAM" {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{name: filepath.Base(name), cmd: cmd, gone: make(chan struct{}), more: make(chan struct{})}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(r); s.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, s.Text())
			close(p.more)
			p.more = make(chan struct{})
			p.mu.Unlock()
		}
	}()
	go func() {
		_ = cmd.Wait() // the code is in ProcessState
		_ = w.Close()
		<-read
		close(p.gone)
	}()
	return p, nil
}

// Start launches a program that is killed at the end of the test; what it wrote is shown if the test fails.
func Start(t testing.TB, env []string, name string, args ...string) *Process {
	t.Helper()
	p, err := Launch(env, name, args...)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s wrote:\n%s", p.name, Tail(p.Text(), 40))
		}
	})
	return p
}

// Text is everything written so far.
func (p *Process) Text() string { return strings.Join(p.Lines(), "\n") }

// Lines is a copy of what was written so far.
func (p *Process) Lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

// Line waits for a line, past or to come, that contains text.
func (p *Process) Line(t testing.TB, text string) string {
	t.Helper()
	line, err := p.find(text, Patience)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func (p *Process) find(text string, within time.Duration) (string, error) {
	deadline := time.After(within)
	for next := 0; ; {
		p.mu.Lock()
		lines, more := p.lines, p.more
		p.mu.Unlock()
		for ; next < len(lines); next++ {
			if strings.Contains(lines[next], text) {
				return lines[next], nil
			}
		}
		select {
		case <-more:
			continue
		default:
		}
		select {
		case <-more:
		case <-p.gone:
			if len(p.Lines()) == next {
				return "", fmt.Errorf("%s ended without writing %q:\n%s", p.name, text, Tail(p.Text(), 20))
			}
		case <-deadline:
			return "", fmt.Errorf("%s did not write %q within %v:\n%s", p.name, text, within, Tail(p.Text(), 20))
		}
	}
}

// Exit waits for the end and returns the exit code, -1 for a signal.
func (p *Process) Exit(t testing.TB) int {
	t.Helper()
	select {
	case <-p.gone:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(Patience):
		t.Fatalf("%s did not end within %v:\n%s", p.name, Patience, Tail(p.Text(), 20))
		return 0
	}
}

// Signal sends a signal to exactly this process.
func (p *Process) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
}

// Running tells whether it has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// Kill ends it as a power cut would.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.gone
}

// PID of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Tail is the end of a text.
func Tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return "\t" + strings.Join(all[max(0, len(all)-lines):], "\n\t")
}

// Eventually asks until ok answers nil.
func Eventually(t testing.TB, what string, ok func() error) {
	t.Helper()
	if err := eventually(what, ok); err != nil {
		t.Fatal(err)
	}
}

func eventually(what string, ok func() error) error {
	deadline := time.Now().Add(Patience)
	last := errors.New("never asked")
	for time.Now().Before(deadline) {
		if last = ok(); last == nil {
			return nil
		}
		<-time.After(20 * time.Millisecond) // the distance between two questions
	}
	return fmt.Errorf("%s: not within %v: %w", what, Patience, last)
}
