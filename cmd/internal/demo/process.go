package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/process"
)

// A daemon is one of our two programs, with its log in a file. It can be started again after its end.
type daemon struct {
	bin, config, log string
	*process.Process // of the last start; nil before the first
}

func newDaemon(bin, name, dir string) *daemon {
	return &daemon{
		bin:    filepath.Join(bin, name),
		config: filepath.Join(dir, name+".yaml"),
		log:    filepath.Join(dir, "log", name+".log"),
	}
}

// start runs the program and waits until ready answers nil; it is an error when the program ends first, or 20 s pass.
func (d *daemon) start(ctx context.Context, ready func(context.Context) error) error {
	f, err := os.OpenFile(d.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	d.Process, err = process.Start(process.Command{
		Path:   d.bin,
		Args:   []string{"-config", d.config},
		Output: f,
		Orphan: syscall.SIGTERM,
	})
	if err != nil {
		return err
	}
	if err := d.Ready(ctx, 20*time.Second, ready); err != nil {
		return fmt.Errorf("%w; the end of %s:\n%s", err, d.log, d.tail(15))
	}
	return nil
}

// stop asks the program to end, and returns how it ended.
func (d *daemon) stop() error {
	if err := d.Stop(10 * time.Second); err != nil {
		return fmt.Errorf("%w; see %s", err, d.log)
	}
	return nil
}

func (d *daemon) tail(lines int) string {
	b, err := os.ReadFile(d.log)
	if err != nil {
		return err.Error()
	}
	return process.Tail(string(b), lines)
}

// portFree is an error that names the port and the remedy when another process listens on it.
func portFree(port int, what string) error {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d (%s) is taken; end what listens there (ss -ltnp 'sport = :%d' names it) "+
			"or choose others: make run RUNFLAGS='--base-port 18883'", port, what, port)
	}
	if err != nil {
		return err
	}
	return l.Close()
}
