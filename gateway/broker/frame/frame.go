// Package frame reads and writes MQTT control packets: it splits a stream
// into whole frames, checks the shape of each one strictly before any
// decoder sees it, and encodes what the message plane sends.
//
// All input comes from clients and may be hostile. Memory is allocated for bytes
// that arrived, never for a length that was announced. A packet is refused unless
// it ends exactly where its last field ends, and every property is known, allowed
// in that packet, in range and present at most once. No value keeps a reference
// into the stream buffer unless its comment says so. A Reader belongs to one
// goroutine; the functions are pure.
package frame

import (
	"fmt"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// The control packet types (OASIS MQTT 5.0, 2.1.2).
const (
	CONNECT byte = iota + 1
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH
)

// Error says that a frame is malformed, or is one that a client may not send. Code is
// the MQTT 5 reason code with which the connection ends.
type Error struct {
	Code   byte
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("%s (0x%02x)", e.Reason, e.Code) }

func malformed(reason string) error { return &Error{message.MalformedPacket, reason} }
func violation(reason string) error { return &Error{message.ProtocolError, reason} }

// Limits bound the work that a well-formed frame can cause.
type Limits struct {
	UserProperties int // per property block
	Filters        int // per SUBSCRIBE or UNSUBSCRIBE
}

// Frame is one whole control packet. Raw and Body alias the reader's buffer
// and are valid until the next call of Next.
type Frame struct {
	First byte   // type and flags
	Body  []byte // what follows the remaining length
	Raw   []byte // the whole packet
	// Padded tells that the remaining length was not encoded in the fewest bytes,
	// which MQTT 5 forbids (1.5.5) and 3.1.1 does not mention.
	Padded bool
}

// Type is the packet type.
func (f Frame) Type() byte { return f.First >> 4 }

// Check tells whether f is a frame that a client may send after CONNECT, at that
// protocol level. Only a frame that passes is given to the decoder of the protocol
// library.
func Check(f Frame, level byte, lim Limits) error {
	if err := CheckHeader(f, level); err != nil {
		return err
	}
	var err error
	switch f.Type() {
	case CONNECT:
		err = violation("second CONNECT")
	case PUBLISH:
		_, err = ParsePublish(f, level, lim)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		_, err = ParseAck(f, level, lim)
	case SUBSCRIBE:
		err = CheckSubscribe(f.Body, level, lim)
	case UNSUBSCRIBE:
		err = CheckUnsubscribe(f.Body, level, lim)
	case PINGREQ:
		if len(f.Body) != 0 {
			err = malformed("PINGREQ with a body")
		}
	case DISCONNECT:
		_, err = ParseDisconnect(f.Body, level, lim)
	case AUTH:
		_, err = ParseAuth(f.Body, level, lim)
	default:
		err = violation("packet type that a client may not send")
	}
	return err
}

// CheckHeader checks the flags of the first byte and the form of the length.
func CheckHeader(f Frame, level byte) error {
	if f.Padded && level >= 5 {
		return malformed("length not in its shortest form")
	}
	flags := f.First & 0x0f
	switch f.Type() {
	case PUBLISH:
		if flags&0x06 == 0x06 {
			return malformed("QoS 3")
		}
		if flags&0x0e == 0x08 {
			return malformed("DUP with QoS 0")
		}
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		if flags != 0x02 {
			return malformed("reserved flags")
		}
	default:
		if flags != 0 {
			return malformed("reserved flags")
		}
	}
	return nil
}
