package frame

import (
	"io"

	"github.com/gatehouse/gatehouse/gateway/message"
)

const (
	idleBuffer  = 64  // enough for the frames of a client that only keeps itself alive
	firstBuffer = 512 // enough for most CONNECT frames
	largeBuffer = 32 << 10
)

// Reader splits a stream into frames. After a temporary read error (a
// deadline) Next may be called again: nothing is lost.
type Reader struct {
	src   io.Reader
	buf   []byte
	r, w  int
	least int // the size of the smallest buffer
	lean  int // reads in a row that left most of the buffer unused
	// Max is the size of the largest frame accepted, header included.
	Max int
	// First, unless it is 0, is the only first byte that the next frame may have. Another one is
	// ErrFirst as soon as it has come, before the rest of its frame.
	First byte
}

// ErrFirst is the error for a first byte that is not Reader.First. Compare it with errors.Is.
var ErrFirst = malformed("the first byte is of another packet")

// NewReader returns a Reader of src for packets of at most max bytes. Its buffer is
// allocated by the first call of Next.
func NewReader(src io.Reader, max int) *Reader {
	return &Reader{src: src, Max: max, least: firstBuffer}
}

// Connected tells the reader that the CONNECT has been handled. From then on it holds little memory
// while nothing comes.
func (r *Reader) Connected() {
	r.least = idleBuffer
	if r.r == r.w {
		r.buf, r.r, r.w = nil, 0, 0
	}
}

// Buffered tells whether bytes are waiting that Next can look at without reading.
func (r *Reader) Buffered() bool { return r.w > r.r }

// Next returns the next frame.
func (r *Reader) Next() (Frame, error) {
	for {
		f, ok, err := r.split()
		if ok || err != nil {
			return f, err
		}
		if err := r.fill(); err != nil {
			return Frame{}, err
		}
	}
}

func (r *Reader) split() (Frame, bool, error) {
	b := r.buf[r.r:r.w]
	if len(b) == 0 {
		return Frame{}, false, nil
	}
	if r.First != 0 && b[0] != r.First {
		return Frame{First: b[0]}, false, ErrFirst
	}
	if t := b[0] >> 4; t == 0 {
		return Frame{}, false, malformed("packet type 0")
	}
	n, size := 0, 1
	for shift := 0; ; shift += 7 {
		if size == len(b) {
			return Frame{}, false, nil
		}
		c := b[size]
		size++
		n |= int(c&0x7f) << shift
		if c&0x80 == 0 {
			break
		}
		if shift == 21 {
			return Frame{First: b[0]}, false, malformed("length of more than four bytes")
		}
	}
	if size+n > r.Max {
		return Frame{First: b[0]}, false, &Error{message.PacketTooLarge, "frame larger than allowed"}
	}
	if len(b) < size+n {
		return Frame{}, false, nil
	}
	r.r += size + n
	padded := size > 2 && b[size-1] == 0
	return Frame{First: b[0], Body: b[size : size+n : size+n], Raw: b[: size+n : size+n], Padded: padded}, true, nil
}

// fill reads once. The buffer grows when it is full, so that memory follows
// the bytes that came and not the length that was announced, and shrinks
// again when traffic does not need it.
func (r *Reader) fill() error {
	if r.r == r.w {
		r.r, r.w = 0, 0
		if cap(r.buf) > largeBuffer || (r.lean >= 8 && cap(r.buf) > r.least) {
			r.buf, r.lean = nil, 0
		}
	}
	if r.r > 0 && r.w == len(r.buf) {
		copy(r.buf, r.buf[r.r:r.w])
		r.r, r.w = 0, r.w-r.r
	}
	if r.w == len(r.buf) {
		grown := make([]byte, max(r.least, 2*len(r.buf)))
		copy(grown, r.buf[:r.w])
		r.buf = grown
	}
	n, err := r.src.Read(r.buf[r.w:])
	free := len(r.buf) - r.w
	r.w += n
	switch {
	case n == free && len(r.buf) < largeBuffer:
		r.lean = 0
		grown := make([]byte, 2*len(r.buf))
		copy(grown, r.buf[:r.w])
		r.buf = grown
	case n < len(r.buf)/8:
		r.lean++
	default:
		r.lean = 0
	}
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}
