package listeners

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// TCP opens a TCP socket on host:port.
func TCP(address string) func() (net.Listener, error) {
	return func() (net.Listener, error) {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
		return l, explain(err, address)
	}
}

// Unix opens a unix socket. If the path is a socket that nobody answers, a process that
// died left it, and it is removed. Any other file in its place is an error and stays.
func Unix(path string) func() (net.Listener, error) {
	return func() (net.Listener, error) {
		if conn, err := (&net.Dialer{}).Dial("unix", path); err == nil {
			_ = conn.Close()
			return nil, explain(syscall.EADDRINUSE, path)
		} else if errors.Is(err, syscall.ECONNREFUSED) { // also the answer if path is a plain file
			if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
				return nil, fmt.Errorf("%s is there and is no socket: move it away, or choose another path", path)
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", path)
		return l, explain(err, path)
	}
}

// explain adds to the error of a socket that cannot be opened what an operator can do about it.
func explain(err error, address string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is taken by another process: end it (ss -ltnp names it), or choose another address", address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("this user may not listen on %s: use a port from 1024 up, or let systemd pass the socket in (gatehoused.socket)",
			address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("no interface of this machine has the address %s", address)
	}
	return err
}
