package frame

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// cursor reads fields from the front of a body. After the first failure err is set,
// and every further read yields a zero value.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(reason string) {
	if c.err == nil {
		c.err = malformed(reason)
	}
	c.b = nil
}

func (c *cursor) byte() byte {
	if len(c.b) < 1 {
		c.fail("cut off")
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

func (c *cursor) uint16() uint16 {
	if len(c.b) < 2 {
		c.fail("cut off")
		return 0
	}
	v := binary.BigEndian.Uint16(c.b)
	c.b = c.b[2:]
	return v
}

func (c *cursor) uint32() uint32 {
	if len(c.b) < 4 {
		c.fail("cut off")
		return 0
	}
	v := binary.BigEndian.Uint32(c.b)
	c.b = c.b[4:]
	return v
}

func (c *cursor) varint() int {
	n := 0
	for i := 0; i < 4; i++ {
		v := c.byte()
		n |= int(v&0x7f) << (7 * i)
		if v&0x80 == 0 {
			if i > 0 && v == 0 {
				c.fail("variable byte integer not in its shortest form")
			}
			return n
		}
	}
	c.fail("variable byte integer of more than four bytes")
	return 0
}

func (c *cursor) binary() []byte {
	n := int(c.uint16())
	if len(c.b) < n {
		c.fail("field longer than its packet")
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// text is a UTF-8 string: valid, and without NUL (1.5.4).
func (c *cursor) text() []byte {
	v := c.binary()
	if !validText(v) {
		c.fail("not UTF-8")
		return nil
	}
	return v
}

// block reads a property block: its length, and as many bytes.
func (c *cursor) block() []byte {
	n := c.varint()
	if c.err == nil && len(c.b) < n {
		c.fail("property block longer than its packet")
	}
	if c.err != nil {
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) end() error {
	if c.err == nil && len(c.b) != 0 {
		return malformed("trailing bytes")
	}
	return c.err
}

func validText(b []byte) bool {
	return bytes.IndexByte(b, 0) < 0 && utf8.Valid(b)
}

// validName tells whether b is free of wildcards, as a topic name must be. An empty
// name passes, because it is legal beside a topic alias: the caller checks that.
func validName(b []byte) bool { return bytes.IndexByte(b, '+') < 0 && bytes.IndexByte(b, '#') < 0 }
