package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A process is one of our daemons, run as its operator would run it, with
// its log in a file.
type process struct {
	name string
	args []string
	bin  string
	log  string

	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read after done
}

func newProcess(binDir, logDir, name string, args ...string) *process {
	return &process{name: name, bin: filepath.Join(binDir, name), log: filepath.Join(logDir, name+".log"), args: args}
}

// start runs the process and waits until ready answers true, the process
// ends, or the deadline passes.
func (p *process) start(ctx context.Context, ready func(context.Context) error) error {
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.Command(p.bin, p.args...)
	cmd.Stdout, cmd.Stderr = f, f
	// Ctrl-C reaches the demo, which stops its children in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	p.cmd, p.done = cmd, make(chan struct{})
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	deadline, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var last error
	for {
		if last = ready(deadline); last == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready (%w); the end of %s:\n%s", p.name, p.err, p.log, tail(p.log, 15))
		case <-deadline.Done():
			return fmt.Errorf("%s was not ready after 20 s (%w); the end of %s:\n%s", p.name, last, p.log, tail(p.log, 15))
		case <-time.After(30 * time.Millisecond):
		}
	}
}

// running tells whether the process was started and has not ended.
func (p *process) running() bool {
	if p == nil || p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stop asks the process to end, and returns how it ended.
func (p *process) stop() error {
	if !p.running() {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(10 * time.Second):
		p.kill()
		return fmt.Errorf("%s did not stop within 10 s of SIGTERM and was killed; see %s", p.name, p.log)
	}
}

// kill ends the process as a power cut would: without a word.
func (p *process) kill() {
	if !p.running() {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

func tail(file string, lines int) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return "    " + strings.Join(all, "\n    ")
}

// portFree says plainly when a port that `make run` wants is taken.
func portFree(port int, what string) error {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("port %d (%s) is taken; end what listens there (ss -ltnp 'sport = :%d' names it) or choose others: make run RUNFLAGS='--base-port 18883'", port, what, port)
		}
		return err
	}
	return l.Close()
}
