package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Inspect finds reasons why Open would fail that only a person can remove: files of
// another user, a sealing key that is too short or not the one that the cache was
// sealed with, a store of a later release. It writes nothing and makes nothing, so a
// directory that does not exist yet passes. inUse tells that another process has the
// store open, so that its content was not checked.
//
// The cache is opened read-only under the store's own lock: a daemon that starts
// in that moment finds the store in use, and starts again.
func Inspect(dir string, o Options) (inUse bool, err error) {
	o = o.withDefaults()
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err := accessible(dir); err != nil {
		return false, err
	}
	lock, err := os.Open(filepath.Join(dir, "lock"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // no daemon was ever here
	}
	if err != nil {
		return false, &Error{Op: "lock", Path: dir, Err: err}
	}
	defer func() { _ = lock.Close() }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return true, nil //nolint:nilerr // the process that holds the lock was able to open the store
	}
	if o.Key == nil {
		o.Key = func() ([]byte, error) {
			b, err := os.ReadFile(filepath.Join(dir, "key"))
			if errors.Is(err, os.ErrNotExist) {
				return make([]byte, 32), nil // Open makes one; a cache that is sealed already does not fit it
			}
			return b, err
		}
	}
	sealer, err := newSealer(dir, o.Key)
	if err != nil {
		return false, err
	}
	return false, inspectCache(dir, sealer, o)
}

// InUse tells whether a process has the store in dir open.
func InUse(dir string) bool {
	lock, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return false
	}
	defer func() { _ = lock.Close() }()
	return unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}

// accessible checks that this user may enter, read and write everything that Open
// does. A daemon that was once run by hand as root leaves files that the service's
// user may not open.
func accessible(dir string) error {
	list := []string{dir}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return &Error{Op: "read", Path: dir, Err: err, Hint: "the state directory must belong to the service's user"}
	}
	for _, e := range entries {
		list = append(list, filepath.Join(dir, e.Name()))
	}
	me := os.Geteuid()
	for _, path := range list {
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // removed since the directory was listed
		}
		mode := uint32(unix.R_OK | unix.W_OK)
		if err == nil && info.IsDir() {
			mode |= unix.X_OK
			var st unix.Stat_t
			if unix.Stat(path, &st) == nil && me != 0 && int(st.Uid) != me {
				return &Error{Op: "protect", Path: path, Err: fmt.Errorf("it belongs to user %d, and this is user %d", st.Uid, me),
					Hint: "chown -R it to the service's user"}
			}
		}
		if err == nil {
			err = unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS)
		}
		if err != nil {
			return &Error{Op: "open", Path: path, Err: err, Hint: "chown -R the state directory to the service's user"}
		}
	}
	return nil
}

// inspectCache compares the sealing key with the cache. Damage is not looked
// for: Open sets a damaged cache aside and starts without it.
func inspectCache(dir string, s *sealer, o Options) error {
	b := &base{
		name:    "cache",
		dir:     filepath.Join(dir, "cache"),
		opt:     o,
		witness: new(slots),
		live:    map[uint64]summary{},
		seed:    maphash.MakeSeed(),
	}
	if _, err := os.Stat(b.dir); err != nil {
		return nil //nolint:nilerr // Open makes it
	}
	if err := b.open(quietOptions(b.dir, memTable, o).WithReadOnly(true)); err != nil {
		return nil //nolint:nilerr // not closed properly, most often: Open reads the logs, and a reader may not
	}
	defer func() { _ = b.shutDB() }()
	if raw, err := b.get(headKey); err == nil {
		if h, err := decodeHead(raw); err == nil && h.schema > schema {
			return &Error{Op: "open", Path: b.dir, Err: fmt.Errorf("%w: schema %d, this release knows %d", ErrSchema, h.schema, schema),
				Hint: "install the later release again, or move the directory away"}
		}
	}
	raw, err := b.get(cacheHeadKey)
	if err != nil {
		return nil //nolint:nilerr // empty, or damaged
	}
	var h cacheHead
	if json.Unmarshal(raw, &h) == nil && !s.made(h) {
		return wrongKey(dir)
	}
	return nil
}
