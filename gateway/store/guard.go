package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// marker is a file that exists while a directory is opened. The runtime writes the
// report of a fatal error into it (debug.SetCrashOutput, which this package uses
// during Open only).
type marker struct {
	path    string
	file    *os.File
	attempt int
}

// readMarker reads the marker that a start left behind which did not finish opening:
// the number of that attempt (0: there is no marker) and, if badger crashed it, the
// reason.
func readMarker(path string) (attempt int, blamed string) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, ""
	}
	first, crash, _ := bytes.Cut(b, []byte("\n"))
	_, _ = fmt.Sscanf(string(first), "attempt %d", &attempt)
	attempt = max(attempt, 1)
	// The first goroutine of a crash report is the one that died.
	_, stack, found := strings.Cut(string(crash), "\ngoroutine ")
	if !found {
		return attempt, ""
	}
	stack, _, _ = strings.Cut(stack, "\n\n")
	if !strings.Contains(stack, "dgraph-io/badger") && !strings.Contains(stack, "dgraph-io/ristretto") {
		return attempt, ""
	}
	// A bus error (SIGBUS) comes from a full disk at least as often as from a
	// damaged file: the directory is opened once more after the free space was
	// measured.
	if bytes.Contains(crash, []byte("SIGBUS")) && attempt < 2 {
		return attempt, ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(crash)), "\n")
	return attempt, line
}

func setMarker(path string, attempt int) (*marker, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, &Error{Op: "open", Path: path, Hint: "the state directory must be writable", Err: err}
	}
	if _, err = fmt.Fprintf(f, "attempt %d\n", attempt); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = debug.SetCrashOutput(f, debug.CrashOptions{})
	}
	if err != nil {
		_ = f.Close()
		return nil, &Error{Op: "mark", Path: path, Err: err}
	}
	return &marker{path: path, file: f, attempt: attempt}, nil
}

func (m *marker) clear() {
	_ = debug.SetCrashOutput(nil, debug.CrashOptions{})
	_ = m.file.Close()
	_ = os.Remove(m.path)
}

// lockDir locks a directory against a second process. The kernel releases the lock when the process ends.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, &Error{Op: "lock", Path: path, Hint: "the state directory must be writable", Err: err}
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &Error{
				Op:   "lock",
				Path: path,
				Hint: "stop the other process, or give this one its own state directory",
				Err:  ErrLocked,
			}
		}
		return nil, &Error{Op: "lock", Path: path, Err: err}
	}
	return f, nil
}

// makeDir makes a directory that only its owner can enter.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &Error{Op: "make", Path: dir, Hint: "the state directory must be writable", Err: err}
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory needs x to be entered
		return &Error{Op: "protect", Path: dir, Hint: "the state directory must belong to the service's user", Err: err}
	}
	return nil
}

// protect removes the permissions of group and others from the files, because badger
// creates some with the process's umask.
func protect(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			_ = os.Chmod(filepath.Join(dir, e.Name()), 0o600)
		}
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

func isErrno(err error) bool {
	var e unix.Errno
	return errors.As(err, &e)
}

func encodeSeq(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func decodeSeq(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// badgerLog passes warnings and errors on; badger's information is noise to an operator.
//
// Warnings about badger's block cache are not passed on either. Badger expects blocks
// that are read again, and warns once a minute of a hit ratio below 0.4. Here a block
// is read once and in order: by the check at start, by a backlog that goes upstream,
// by a queue that is resumed. No cache smaller than all of it would be hit more often,
// and a cache there must be for compressed blocks.
type badgerLog struct{ log *slog.Logger }

const (
	cacheWarning = "%s might be too small. "
	cacheSequel  = "Cache life expectancy "
)

func (l badgerLog) Errorf(f string, a ...any) {
	l.log.Error("badger", "message", strings.TrimSpace(fmt.Sprintf(f, a...)))
}

func (l badgerLog) Warningf(f string, a ...any) {
	if strings.HasPrefix(f, cacheSequel) || strings.HasPrefix(f, cacheWarning) && len(a) > 0 && a[0] == "Block cache" {
		return
	}
	l.log.Warn("badger", "message", strings.TrimSpace(fmt.Sprintf(f, a...)))
}
func (badgerLog) Infof(string, ...any)  {}
func (badgerLog) Debugf(string, ...any) {}

// sweepEmpty removes log files of length zero. A process that is killed between
// creating and sizing a log leaves one, and badger then refuses the whole directory.
// If such a file had held records, the comparison with the head and the witness would
// fail.
func sweepEmpty(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if ext != ".mem" && ext != ".vlog" {
			continue
		}
		if fi, err := e.Info(); err == nil && fi.Size() == 0 {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
