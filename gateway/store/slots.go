package store

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"sync"
)

const (
	slotSize    = 512 // one sector: written whole or not at all
	slotPayload = slotSize - 16
)

// slots is a small value in a file whose blocks are allocated once, so that it
// can be rewritten on a full disk. Two sectors alternate: a torn write leaves
// the older value.
type slots struct {
	mu  sync.Mutex
	f   *os.File // guarded by mu; nil once closed
	seq uint64   // guarded by mu
	val []byte   // guarded by mu
	// made: the file did not exist, so that it says nothing about the past.
	made bool
}

func openSlots(path string) (*slots, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, &Error{Op: "open", Path: path, Hint: "the state directory must be writable", Err: err}
	}
	b := make([]byte, 2*slotSize)
	n, _ := f.ReadAt(b, 0)
	s := &slots{f: f, made: n == 0}
	if n < len(b) { // new, or cut short: make the blocks real now
		full := make([]byte, 2*slotSize)
		copy(full, b[:n])
		b = full
		if _, err = f.WriteAt(full, 0); err == nil {
			err = f.Sync()
		}
		if err != nil {
			_ = f.Close()
			return nil, &Error{Op: "allocate", Path: path, Err: err}
		}
	}
	for i := range 2 {
		if seq, val, ok := readSlot(b[i*slotSize : (i+1)*slotSize]); ok && (s.val == nil || seq > s.seq) {
			s.seq, s.val = seq, val
		}
	}
	return s, nil
}

func readSlot(b []byte) (uint64, []byte, bool) {
	n := int(binary.BigEndian.Uint32(b[4:]))
	if n > slotPayload {
		return 0, nil, false
	}
	if crc32.Checksum(b[4:16+n], castagnoli()) != binary.BigEndian.Uint32(b) {
		return 0, nil, false
	}
	return binary.BigEndian.Uint64(b[8:]), append([]byte{}, b[16:16+n]...), true
}

// get is the last value; nil when there never was one.
func (s *slots) get() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.val
}

// put replaces the value. Without sync the value survives a crash of the process, but
// not a power cut.
func (s *slots) put(v []byte, sync bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f == nil {
		return ErrClosed
	}
	if len(v) > slotPayload {
		v = v[:slotPayload]
	}
	var b [slotSize]byte
	binary.BigEndian.PutUint32(b[4:], uint32(len(v)))
	binary.BigEndian.PutUint64(b[8:], s.seq+1)
	copy(b[16:], v)
	binary.BigEndian.PutUint32(b[:], crc32.Checksum(b[4:16+len(v)], castagnoli()))
	if _, err := s.f.WriteAt(b[:], int64(s.seq+1)%2*slotSize); err != nil {
		return err
	}
	s.seq, s.val = s.seq+1, append([]byte{}, v...)
	if sync {
		return s.f.Sync()
	}
	return nil
}

func (s *slots) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f != nil {
		_ = s.f.Sync()
		_ = s.f.Close()
		s.f = nil
	}
}
