package frame

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// B7: memory follows the bytes that came, not the length that was announced.
func TestAnnouncedLengthAllocatesNothing(t *testing.T) {
	t.Parallel()
	r := NewReader(bytes.NewReader([]byte{0x30, 0xff, 0xff, 0xff, 0x3f, 1, 2, 3}), 1<<28)
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v", err)
	}
	if cap(r.buf) > 4096 {
		t.Errorf("eight bytes cost a buffer of %d", cap(r.buf))
	}
}

func TestReaderLengths(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in     []byte
		code   byte
		size   int
		padded bool
	}{
		{[]byte{0xc0, 0}, 0, 0, false},
		{[]byte{0xc0, 0x80, 0}, 0, 0, true},
		{[]byte{0x30, 0x81, 0x80, 0, 'x'}, 0, 1, true},
		{[]byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}, message.MalformedPacket, 0, false},
		{[]byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x80}, message.MalformedPacket, 0, false},
		{[]byte{0x00, 0}, message.MalformedPacket, 0, false},
		{[]byte{0x30, 0xff, 0x01}, message.PacketTooLarge, 0, false},
	} {
		f, err := NewReader(iotest.OneByteReader(bytes.NewReader(c.in)), 100).Next()
		var fe *Error
		switch {
		case c.code == 0 && (err != nil || len(f.Body) != c.size || f.Padded != c.padded):
			t.Errorf("%x: %+v %v", c.in, f, err)
		case c.code != 0 && (!errors.As(err, &fe) || fe.Code != c.code):
			t.Errorf("%x: %v, want %#x", c.in, err, c.code)
		}
	}
}

// However the stream is cut into reads, the same frames come out; the buffer
// shrinks again after a large one.
func TestReaderSplits(t *testing.T) {
	t.Parallel()
	var stream []byte
	var want [][]byte
	for i := range 200 {
		body := bytes.Repeat([]byte{byte(i)}, i*i)
		f := append(appendVarint([]byte{0x30}, len(body)), body...)
		want = append(want, f)
		stream = append(stream, f...)
	}
	for name, src := range map[string]io.Reader{
		"whole": bytes.NewReader(stream), "bytes": iotest.OneByteReader(bytes.NewReader(stream)),
		"halves": iotest.HalfReader(bytes.NewReader(stream)),
	} {
		r := NewReader(src, 1<<20)
		for i, w := range want {
			f, err := r.Next()
			if err != nil || !bytes.Equal(f.Raw, w) {
				t.Fatalf("%s: frame %d: %v", name, i, err)
			}
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
		if cap(r.buf) > largeBuffer {
			t.Errorf("%s: keeps %d bytes", name, cap(r.buf))
		}
	}
}

// A deadline in the middle of a frame loses nothing.
func TestReaderGoesOnAfterTimeout(t *testing.T) {
	t.Parallel()
	r := NewReader(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader([]byte{0x30, 2, 'a', 'b'}))), 100)
	if _, err := r.Next(); !errors.Is(err, iotest.ErrTimeout) {
		t.Fatalf("got %v", err)
	}
	if f, err := r.Next(); err != nil || string(f.Body) != "ab" {
		t.Errorf("got %+v %v", f, err)
	}
}

// What a client that has gone quiet keeps is small, whatever it sent before; nothing that came behind
// the CONNECT is lost.
func TestReaderHoldsLittleWhenIdle(t *testing.T) {
	t.Parallel()
	far, near := io.Pipe()
	r := NewReader(far, 1<<20)
	next := func(chunk []byte, want int) {
		t.Helper()
		if len(chunk) > 0 { // a pipe hands over empty writes as well
			go near.Write(chunk)
		}
		if f, err := r.Next(); err != nil || len(f.Raw) != want {
			t.Fatalf("%d bytes, %v; want %d", len(f.Raw), err, want)
		}
	}
	large := append(appendVarint([]byte{0x30}, 3000), make([]byte, 3000)...)
	ping := []byte{0xc0, 0}
	next(append(large, ping...), len(large))
	r.Connected()
	next(nil, len(ping)) // it had come already
	r.Connected()
	next(ping, len(ping))
	if cap(r.buf) > idleBuffer {
		t.Errorf("after the CONNECT it holds %d bytes", cap(r.buf))
	}
	next(large, len(large))
	for range 10 {
		next(ping, len(ping))
	}
	if cap(r.buf) > idleBuffer {
		t.Errorf("after traffic it holds %d bytes", cap(r.buf))
	}
}
