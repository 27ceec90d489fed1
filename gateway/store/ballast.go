package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The ballast is a file that only takes disk space, so that it can be deleted when the
// disk is full. Opening and closing a directory write to the disk: without the ballast
// the store could then neither start nor stop in order.

// openBytes is what opening one directory may write: a new memtable's log, and
// the tables that old logs become.
const openBytes = 48 << 20

// ensureFreeToOpen makes sure that opening parent/name cannot meet a full disk.
func ensureFreeToOpen(parent, name string, o Options) error {
	// A MinFree below openBytes is of a test or of a small tmpfs, where less is enough.
	need := min(openBytes, o.MinFree)
	return ensureFree(parent, max(need, tableBytes(logBytes(filepath.Join(parent, name)))+1<<20), o)
}

// ensureFree makes sure that need bytes are free at dir, and deletes the
// ballast there if they are not. The error wraps ErrDiskFull if that did not help.
func ensureFree(dir string, need uint64, o Options) error {
	free, err := o.Free(dir)
	if err != nil {
		return &Error{Op: "measure free space", Path: dir, Err: err}
	}
	if free < need {
		path := filepath.Join(dir, "ballast")
		if os.Remove(path) == nil {
			o.disk.ballastSpent.Store(true)
			o.Log.Warn("the ballast file was given up to open or close the store", "path", path)
		}
		if free, err = o.Free(dir); err != nil {
			return &Error{Op: "measure free space", Path: dir, Err: err}
		}
	}
	if free < need {
		return &Error{
			Op:   "open",
			Path: dir,
			Err:  ErrDiskFull,
			Hint: fmt.Sprintf("%d MiB free, %d MiB needed to start", free>>20, need>>20),
		}
	}
	return nil
}

// restoreBallast allocates the ballast again once the disk has its size and twice
// MinFree free, so that commits are not refused because of it.
func restoreBallast(dir string, o Options) {
	if o.Ballast <= 0 {
		return
	}
	path := filepath.Join(dir, "ballast")
	if st, err := os.Stat(path); err == nil && st.Size() == o.Ballast {
		o.disk.ballastSpent.Store(false)
		return
	}
	o.disk.ballastSpent.Store(true)
	if free, err := o.Free(dir); err != nil || free < 2*o.MinFree+uint64(o.Ballast) {
		return
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, o.Ballast)
	_ = f.Close()
	if err == nil || errors.Is(err, unix.EOPNOTSUPP) {
		o.disk.ballastSpent.Store(false)
	}
	if err != nil {
		_ = os.Remove(path)
		if !errors.Is(err, unix.EOPNOTSUPP) {
			o.Log.Warn("no ballast file", "path", path, "err", err)
		}
	}
}
