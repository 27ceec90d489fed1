package store

import (
	"encoding/binary"
	"fmt"
	"time"
)

// writer and reader are the codec of message records: lengths as uvarints,
// strings and payloads byte for byte (JSON would replace invalid UTF-8).
type writer struct{ b []byte }

func (w *writer) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) bytes(v []byte) {
	w.uint(uint64(len(v)))
	w.b = append(w.b, v...)
}
func (w *writer) str(v string) {
	w.uint(uint64(len(v)))
	w.b = append(w.b, v...)
}
func (w *writer) bool(v bool) {
	if v {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
	}
}

// time keeps nanoseconds; the zero time is its own value.
func (w *writer) time(t time.Time) {
	w.bool(!t.IsZero())
	if !t.IsZero() {
		w.b = binary.BigEndian.AppendUint64(w.b, uint64(t.Unix()))
		w.b = binary.BigEndian.AppendUint32(w.b, uint32(t.Nanosecond()))
	}
}

// reader reads the fields of a record. After the first error every read yields a zero value.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = fmt.Errorf("%w: message record is cut short", ErrCorrupt)
	}
	r.b = nil
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	v := r.take(r.uint())
	if len(v) == 0 {
		return nil
	}
	return append([]byte(nil), v...)
}
func (r *reader) str() string { return string(r.take(r.uint())) }
func (r *reader) bool() bool {
	v := r.take(1)
	return len(v) == 1 && v[0] != 0
}

func (r *reader) time() time.Time {
	if !r.bool() {
		return time.Time{}
	}
	v := r.take(12)
	if len(v) < 12 {
		return time.Time{}
	}
	return time.Unix(int64(binary.BigEndian.Uint64(v)), int64(binary.BigEndian.Uint32(v[8:]))).UTC()
}

// count reads the length of a list whose elements take at least min bytes each. A length that does not
// fit into the rest of the record is an error, so that a damaged one allocates no memory.
func (r *reader) count(min uint64) int {
	n := r.uint()
	if n > uint64(len(r.b))/min {
		r.fail()
		return 0
	}
	return int(n)
}
