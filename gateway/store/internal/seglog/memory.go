package seglog

import (
	"io"
	"io/fs"
	"maps"
	"sync"
)

// Memory is a directory in memory.
type Memory struct {
	mu    sync.Mutex
	files map[string]*memoryFile // guarded by mu
}

type memoryFile struct {
	mu sync.Mutex
	b  []byte // guarded by mu
}

// NewMemory is an empty directory.
func NewMemory() *Memory { return &Memory{files: map[string]*memoryFile{}} }

// List implements Directory.
func (m *Memory) List() (list []Info, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, f := range maps.All(m.files) {
		list = append(list, Info{Name: name, Size: int64(len(f.b))})
	}
	return list, nil
}

// Create implements Files.
func (m *Memory) Create(name string, _ int64) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := new(memoryFile)
	m.files[name] = f
	return f, nil
}

// Open implements Files.
func (m *Memory) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.files[name]; f != nil {
		return f, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// Remove implements Files.
func (m *Memory) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, name)
	return nil
}

// Rename implements Files.
func (m *Memory) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[to] = m.files[from]
	delete(m.files, from)
	return nil
}

// Keep implements Directory: nothing is kept.
func (m *Memory) Keep(name string, move bool) error {
	if !move {
		return nil
	}
	return m.Remove(name)
}

// Sync implements Directory.
func (m *Memory) Sync() error { return nil }

// ReadAt implements File.
func (f *memoryFile) ReadAt(b []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if off >= int64(len(f.b)) {
		return 0, io.EOF
	}
	n := copy(b, f.b[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements File.
func (f *memoryFile) WriteAt(b []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if need := int(off) + len(b); need > len(f.b) {
		f.b = append(f.b, make([]byte, need-len(f.b))...)
	}
	return copy(f.b[off:], b), nil
}

// Truncate implements File.
func (f *memoryFile) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if size <= int64(len(f.b)) {
		f.b = f.b[:size:size]
		return nil
	}
	f.b = append(f.b, make([]byte, int(size)-len(f.b))...)
	return nil
}

// Close implements File.
func (f *memoryFile) Close() error { return nil }

// Sync implements File.
func (f *memoryFile) Sync() error { return nil }
