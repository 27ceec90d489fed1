package seglog

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Files are those of a log. Names are without slashes.
type Files interface {
	// Create makes an empty file, in place of any other, and allocates so many bytes for it.
	Create(name string, size int64) (File, error)
	Open(name string) (File, error)
	Remove(name string) error
	Rename(from, to string) error
}

// Directory is where the files are.
type Directory interface {
	List() ([]Info, error)
	// Keep copies something damaged to where an operator finds it. With move, it is taken away from here.
	Keep(name string, move bool) error
	// Sync makes the names durable.
	Sync() error
}

// directory is both.
type directory interface {
	Files
	Directory
}

// Info describes a name in the directory.
type Info struct {
	Name  string
	Size  int64
	IsDir bool
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	// Sync makes content and size durable.
	Sync() error
}

// Dir is a directory on the disk. KeepIn returns the directory to which Keep copies or moves; it is
// made by then.
type Dir struct {
	Path   string
	KeepIn func(move bool) (string, error)
}

type diskFile struct{ *os.File }

func (f diskFile) Sync() error { return unix.Fdatasync(int(f.Fd())) }

// List implements Directory.
func (d Dir) List() (list []Info, err error) {
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		i, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, Info{Name: e.Name(), Size: i.Size(), IsDir: !i.Mode().IsRegular()})
	}
	return list, nil
}

// Create implements Files.
func (d Dir) Create(name string, size int64) (File, error) {
	f, err := os.OpenFile(filepath.Join(d.Path, name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil || size == 0 {
		return diskFile{f}, err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		err = f.Truncate(size)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return diskFile{f}, nil
}

// Open implements Files.
func (d Dir) Open(name string) (File, error) {
	f, err := os.OpenFile(filepath.Join(d.Path, name), os.O_RDWR, 0)
	return diskFile{f}, err
}

// Remove implements Files.
func (d Dir) Remove(name string) error { return os.Remove(filepath.Join(d.Path, name)) }

// Rename implements Files.
func (d Dir) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.Path, from), filepath.Join(d.Path, to))
}

// Sync implements Directory.
func (d Dir) Sync() error {
	f, err := os.Open(d.Path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Keep implements Directory.
func (d Dir) Keep(name string, move bool) error {
	dir, err := d.KeepIn(move)
	if err != nil {
		return err
	}
	from, to := filepath.Join(d.Path, name), filepath.Join(dir, name)
	if move {
		return os.Rename(from, to)
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
