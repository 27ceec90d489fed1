// Package e2e runs the real daemons for tests, as separate processes with
// real files, sockets and clients, and the cloud of one demo building beside them.
//
// No wait is for a fixed time: a gateway is up when READY=1 arrives at its notify socket, a message has
// arrived when mosquitto_sub has printed its line. Every wait ends with an error after Patience. A process
// is signalled by its process id only.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/process"
	"github.com/gatehouse/gatehouse/gateway/testcache"
)

// Patience bounds every wait for something that must happen.
const Patience = 2 * time.Minute

// built are the sources of the daemons that Build compiled, for Start.
var built struct {
	sync.Mutex
	sources testcache.Sources // guarded by Mutex
	opened  bool              // guarded by Mutex
}

// Build compiles the daemons and gatehousectl into dir. From the first Start on, the cache of `go test` compares their sources.
func Build(dir string) error {
	const module = "github.com/gatehouse/gatehouse/cmd/"
	programs := []string{module + "gatehoused", module + "managementd", module + "gatehousectl"}
	args := append([]string{"build", "-o", dir + string(filepath.Separator)}, programs...)
	if out, err := exec.CommandContext(context.Background(), "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	sources, err := testcache.Of(programs...)
	built.Lock()
	defer built.Unlock()
	built.sources, built.opened = sources, false
	return err
}

// openSources opens what Build compiled, once. Build runs in TestMain, whose opened files are not recorded.
func openSources() error {
	built.Lock()
	defer built.Unlock()
	if built.opened {
		return nil
	}
	built.opened = true
	return built.sources.Open()
}

// Process is a started program, with every line that it wrote.
type Process struct {
	*process.Process
	out *process.Lines
}

// launch starts a program that is killed when this process dies.
func launch(env []string, path string, args ...string) (*Process, error) {
	out := process.NewLines()
	p, err := process.Start(process.Command{
		Path:   path,
		Args:   args,
		Env:    env,
		Output: out,
		Orphan: syscall.SIGKILL,
	})
	return &Process{p, out}, err
}

// Start launches a program that is killed at the end of the test; what it wrote is shown if the test fails.
func Start(t testing.TB, env []string, path string, args ...string) *Process {
	t.Helper()
	if err := openSources(); err != nil {
		t.Fatal(err)
	}
	p, err := launch(env, path, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s wrote:\n%s", p.Name(), Tail(p.Text(), 40))
		}
	})
	return p
}

// Text is everything written so far.
func (p *Process) Text() string { return p.out.Text() }

// Lines is a copy of what was written so far.
func (p *Process) Lines() []string { return p.out.All() }

// Line waits for a line, past or to come, that contains text.
func (p *Process) Line(t testing.TB, text string) string {
	t.Helper()
	line, err := p.out.Await(text, Patience)
	if err != nil {
		t.Fatalf("%s: %v", p.Name(), err)
	}
	return line
}

// Exit waits for the end and returns the exit code, -1 for a signal.
func (p *Process) Exit(t testing.TB) int {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(Patience):
		t.Fatalf("%s did not end within %v:\n%s", p.Name(), Patience, Tail(p.Text(), 20))
	}
	return p.ExitCode()
}

// Signal sends a signal to exactly this process.
func (p *Process) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.Send(s); err != nil {
		t.Fatalf("%s: %v", p.Name(), err)
	}
}

// Tail is the end of a text.
func Tail(text string, lines int) string { return process.Tail(text, lines) }

// Eventually asks until ok answers nil.
func Eventually(t testing.TB, what string, ok func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := process.Eventually(ctx, func(context.Context) error { return ok() }); err != nil {
		t.Fatalf("%s: not within %v: %v", what, Patience, err)
	}
}
