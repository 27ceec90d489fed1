package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Listen makes the admin socket, with mode 0660. The socket gets its mode under another
// name and is then renamed to path, so that nobody can open it before. A socket file
// that a dead daemon left is replaced; a socket that answers belongs to another
// daemon and is an error. Closing the listener removes the file, unless another
// daemon has replaced it.
func Listen(path string) (net.Listener, error) {
	deadline, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if c, err := new(net.Dialer).DialContext(deadline, "unix", path); err == nil {
		_ = c.Close()
		return nil, &Error{
			Status: http.StatusConflict,
			What:   "another daemon answers on this socket",
			Where:  path,
			Next:   "stop it, or set admin.socket to another path",
		}
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, &Error{
			Status: http.StatusConflict,
			What:   "there is a file that is no socket",
			Where:  path,
			Next:   "move it away, or set admin.socket to another path",
		}
	}
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	_ = os.Remove(tmp)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: tmp})
	if err != nil {
		return nil, listenError(path, err)
	}
	l.SetUnlinkOnClose(false)
	//nolint:gosec // the file's group, the operators, may open it; peerCaller then goes by the uid
	if err := errors.Join(os.Chmod(tmp, 0o660), os.Rename(tmp, path)); err != nil {
		_ = l.Close()
		_ = os.Remove(tmp)
		return nil, listenError(path, err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		_ = l.Close()
		return nil, listenError(path, err)
	}
	return &socket{UnixListener: l, path: path, info: info}, nil
}

func listenError(path string, err error) error {
	e := &Error{
		Status: http.StatusInternalServerError,
		What:   "the admin socket cannot be made: " + err.Error(),
		Where:  path,
		Next:   "set admin.socket to a path in a directory of the daemon's user",
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Next = "make the directory " + filepath.Dir(path)
	case errors.Is(err, fs.ErrPermission):
		e.Next = "give the daemon's user write access to " + filepath.Dir(path)
	case errors.Is(err, syscall.EINVAL):
		e.Next = "choose a shorter path: a unix socket's name has at most 107 bytes"
	}
	return e
}

type socket struct {
	*net.UnixListener
	path string
	info fs.FileInfo
}

func (s *socket) Close() error {
	if info, err := os.Lstat(s.path); err == nil && os.SameFile(info, s.info) {
		_ = os.Remove(s.path)
	}
	return s.UnixListener.Close()
}
