package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
)

// ErrSocket is what every SocketError wraps.
var ErrSocket = errors.New("socket from systemd")

// SocketError is a socket that systemd passed in and that cannot be used.
type SocketError struct{ Name, Problem, Hint string }

func (e *SocketError) Error() string {
	return fmt.Sprintf("%v %q: %s (%s)", ErrSocket, e.Name, e.Problem, e.Hint)
}

// Unwrap makes errors.Is(err, ErrSocket) true.
func (e *SocketError) Unwrap() error { return ErrSocket }

// Listeners takes over the sockets that systemd passed in, by name (FileDescriptorName=). Each
// must be a listening stream socket with one of the known names, and no name may occur twice.
// Otherwise Listeners returns an error and closes all of them: a socket on which nobody accepts
// would be an outage that nothing reports. A known name that was not passed in is absent from
// the result, and the caller opens its own socket.
//
// Closing a unix listener does not remove its file, which belongs to systemd. Listeners can be
// called once per process.
func Listeners(known ...string) (map[string]net.Listener, error) {
	files := activation.Files(true)
	out := make(map[string]net.Listener, len(files))
	var errs []error
	for _, f := range files {
		name := f.Name()
		l, err := net.FileListener(f)
		_ = f.Close() // FileListener made a duplicate
		switch {
		case err != nil:
			errs = append(errs, &SocketError{name, "is no listening stream socket: " + plain(err),
				"use ListenStream= with Accept=no in the .socket unit"})
			continue
		case !slices.Contains(known, name):
			errs = append(errs, &SocketError{name, "is not a listener of the configuration",
				"set FileDescriptorName= to one of " + strings.Join(known, ", ")})
		case out[name] != nil:
			errs = append(errs, &SocketError{name, "is passed in twice", "give each socket its own .socket unit and FileDescriptorName="})
		default:
			out[name] = l
			continue
		}
		_ = l.Close()
	}
	if len(errs) == 0 {
		return out, nil
	}
	for _, l := range out {
		_ = l.Close()
	}
	return nil, errors.Join(errs...)
}

func plain(err error) string {
	var se *os.SyscallError
	if errors.As(err, &se) {
		return se.Err.Error()
	}
	return err.Error()
}
