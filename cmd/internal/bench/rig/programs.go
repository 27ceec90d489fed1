// Package rig is what the benchmarks of whole daemons stand on: programs that are
// started, watched and weighed, and a generated site of as many devices as are wanted.
package rig

import (
	"context"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/process"
)

// Programs are those that a benchmark has started.
type Programs struct{ running []*Program }

// Program is one of them.
type Program struct {
	*process.Process
	out *process.Lines
}

// Start starts a program. It ends with this process at the latest.
func (s *Programs) Start(path string, args ...string) (*Program, error) {
	out := process.NewLines()
	p, err := process.Start(process.Command{Path: path, Args: args, Output: out, Orphan: syscall.SIGKILL})
	if err != nil {
		return nil, err
	}
	started := &Program{p, out}
	s.running = append(s.running, started)
	return started, nil
}

// Close ends all of them, the last one first.
func (s *Programs) Close() {
	for i := len(s.running) - 1; i >= 0; i-- {
		s.running[i].Kill()
	}
}

// Listens waits until the port of loopback answers.
func (p *Program) Listens(ctx context.Context, port int) error {
	return p.Until(ctx, func(ctx context.Context) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			err = c.Close()
		}
		return err
	})
}

// Says waits until the program has written a line with that text.
func (p *Program) Says(ctx context.Context, text string) error {
	return p.Until(ctx, func(context.Context) error {
		if !strings.Contains(p.out.Text(), text) {
			return fmt.Errorf("it has not said %q", text)
		}
		return nil
	})
}

// Until waits, some minutes at most, until ready returns nil. Its error holds the
// last lines of the program.
func (p *Program) Until(ctx context.Context, ready func(context.Context) error) error {
	if err := p.Ready(ctx, 5*time.Minute, ready); err != nil {
		return fmt.Errorf("%w\n%s", err, process.Tail(p.out.Text(), 20))
	}
	return nil
}
