package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openNeed is what opening one directory may write: a new memtable file, and the old ones as tables.
const openNeed = 48 << 20

// room refuses a write before badger maps a page that the disk cannot back.
// Removals may go below the mark: they are what makes room.
func (b *base) room(ops []op) error {
	need := b.opt.MinFree / 2
	for i := range ops {
		if ops[i].kind != remove {
			need = b.opt.MinFree
			break
		}
	}
	free, err := b.opt.Free(b.dir)
	if err != nil {
		return &Error{Op: "measure free space", Path: b.dir, Err: err}
	}
	if free < need {
		return &Error{Op: "commit", Path: b.dir, Err: ErrDiskFull,
			Hint: fmt.Sprintf("%d MiB free, %d MiB wanted; writing goes on by itself when there is room", free>>20, need>>20)}
	}
	return nil
}

// roomToOpen makes sure that opening cannot meet a full disk, giving up the ballast if it must.
func roomToOpen(dir string, o Options) error {
	need := uint64(openNeed)
	if o.MinFree < need { // small test or tmpfs set-ups say so themselves
		need = o.MinFree
	}
	free, err := o.Free(dir)
	if err != nil {
		return &Error{Op: "measure free space", Path: dir, Err: err}
	}
	if free < need {
		path := filepath.Join(dir, "ballast")
		if os.Remove(path) == nil {
			o.Log.Warn("the ballast file was given up to open the store", "path", path)
		}
		if free, err = o.Free(dir); err != nil {
			return &Error{Op: "measure free space", Path: dir, Err: err}
		}
	}
	if free < need {
		return &Error{Op: "open", Path: dir, Err: ErrDiskFull,
			Hint: fmt.Sprintf("%d MiB free, %d MiB needed to start", free>>20, need>>20)}
	}
	return nil
}

// restoreBallast allocates the ballast again once there is room for it and for the work.
func restoreBallast(dir string, o Options) {
	if o.Ballast <= 0 {
		return
	}
	path := filepath.Join(dir, "ballast")
	if st, err := os.Stat(path); err == nil && st.Size() == o.Ballast {
		return
	}
	if free, err := o.Free(dir); err != nil || free < 2*o.MinFree+uint64(o.Ballast) {
		return
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, o.Ballast)
	_ = f.Close()
	if err != nil {
		_ = os.Remove(path)
		if !errors.Is(err, unix.EOPNOTSUPP) {
			o.Log.Warn("no ballast file", "path", path, "error", err)
		}
	}
}
