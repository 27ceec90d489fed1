package load

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
)

// What a client writes and a server answers at the beginning of a connection;
// everything after it is written and read by the package frame.

// hello is what a CONNECT says beside who connects.
type hello struct {
	keepAlive      uint16 // seconds
	persistent     bool   // 3.1.1: not clean; MQTT 5: the session is kept for an hour
	receiveMaximum uint16 // MQTT 5: unacknowledged deliveries to us; 0: not said
}

func appendConnect(dst []byte, c *Client, h hello, level byte) []byte {
	flags := byte(0x02)
	if h.persistent {
		flags = 0
	}
	if c.User != "" {
		flags |= 0x80
	}
	if c.Password != "" {
		flags |= 0x40
	}
	body := appendText(nil, "MQTT")
	body = append(body, level, flags)
	body = binary.BigEndian.AppendUint16(body, h.keepAlive)
	if level >= 5 {
		var props []byte
		if h.persistent {
			props = binary.BigEndian.AppendUint32(append(props, 17), 3600)
		}
		if h.receiveMaximum > 0 {
			props = binary.BigEndian.AppendUint16(append(props, 33), h.receiveMaximum)
		}
		body = append(append(body, byte(len(props))), props...)
	}
	body = appendText(body, c.ID)
	if c.User != "" {
		body = appendText(body, c.User)
	}
	if c.Password != "" {
		body = appendText(body, c.Password)
	}
	return append(appendLength(append(dst, frame.CONNECT<<4), len(body)), body...)
}

func appendSubscribe(dst []byte, id uint16, filter string, qos, level byte) []byte {
	body := binary.BigEndian.AppendUint16(nil, id)
	if level >= 5 {
		body = append(body, 0)
	}
	body = append(appendText(body, filter), qos)
	return append(appendLength(append(dst, frame.SUBSCRIBE<<4|2), len(body)), body...)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func appendLength(dst []byte, n int) []byte { return binary.AppendUvarint(dst, uint64(n)) } // the same encoding below 2^28

// welcome is what a CONNACK says that a client must keep to.
type welcome struct {
	code           byte
	receiveMaximum int // 65535 when it is not said
	keepAlive      int // the server's, in seconds; 0: not said
}

var errConnack = errors.New("the CONNACK is malformed")

func parseConnack(f frame.Frame, level byte) (welcome, error) {
	w := welcome{receiveMaximum: 65535}
	if f.Type() != frame.CONNACK {
		return w, fmt.Errorf("the first packet from the broker is of type %d, not a CONNACK", f.Type())
	}
	if len(f.Body) < 2 {
		return w, errConnack
	}
	w.code = f.Body[1]
	if level < 5 || len(f.Body) == 2 {
		return w, nil
	}
	n, size := binary.Uvarint(f.Body[2:])
	if size <= 0 || uint64(len(f.Body)-2-size) < n {
		return w, errConnack
	}
	return w, w.properties(f.Body[2+size:][:n])
}

// properties reads those of a CONNACK; it must know the size of each to get past it (OASIS MQTT 5.0, 2.2.2.2).
func (w *welcome) properties(b []byte) error {
	for len(b) > 0 {
		id := b[0]
		b = b[1:]
		var size int
		switch id {
		case 36, 37, 40, 41, 42: // one byte
			size = 1
		case 19, 33, 34:
			size = 2
		case 17, 39:
			size = 4
		case 18, 21, 22, 26, 28, 31: // one string
			size = text(b)
		case 38: // two
			size = text(b)
			if size <= len(b) {
				size += text(b[size:])
			}
		default:
			return errConnack
		}
		if len(b) < size {
			return errConnack
		}
		switch id {
		case 19:
			w.keepAlive = int(binary.BigEndian.Uint16(b))
		case 33:
			w.receiveMaximum = int(binary.BigEndian.Uint16(b))
		}
		b = b[size:]
	}
	return nil
}

// text is the size of a length-prefixed string, more than there is when it is cut off.
func text(b []byte) int {
	if len(b) < 2 {
		return len(b) + 2
	}
	return 2 + int(binary.BigEndian.Uint16(b))
}

// granted is the code of a SUBACK for one filter.
func granted(f frame.Frame) (byte, error) {
	if len(f.Body) < 3 {
		return 0, errors.New("the SUBACK is malformed")
	}
	return f.Body[len(f.Body)-1], nil
}

// Refused is a broker's no, by its reason code.
type Refused struct {
	What  string // "the connection", "the subscription to x"
	Code  byte
	Level byte
}

func (r *Refused) Error() string {
	return fmt.Sprintf("the broker refuses %s: %s", r.What, codeName(r.Code, r.Level))
}

// codeName is a reason code in words; below MQTT 5 a CONNACK has codes of its own.
func codeName(code, level byte) string {
	names := map[byte]string{
		0x80: "unspecified error", 0x81: "malformed packet", 0x82: "protocol error", 0x83: "implementation specific error",
		0x84: "unsupported protocol version", 0x85: "client identifier not valid", 0x86: "bad user name or password",
		0x87: "not authorized", 0x88: "server unavailable", 0x89: "server busy", 0x8a: "banned", 0x8b: "server shutting down",
		0x8c: "bad authentication method", 0x8d: "keep alive timeout", 0x8e: "session taken over", 0x8f: "topic filter invalid",
		0x90: "topic name invalid", 0x91: "packet identifier in use", 0x93: "receive maximum exceeded", 0x94: "topic alias invalid",
		0x95: "packet too large", 0x96: "message rate too high", 0x97: "quota exceeded", 0x98: "administrative action",
		0x99: "payload format invalid", 0x9a: "retain not supported", 0x9b: "QoS not supported", 0x9f: "connection rate exceeded",
	}
	if level < 5 {
		names = map[byte]string{
			1: "unacceptable protocol version", 2: "identifier rejected", 3: "server unavailable",
			4: "bad user name or password", 5: "not authorized", 0x80: "failure",
		}
	}
	if name := names[code]; name != "" {
		return fmt.Sprintf("%s (0x%02x)", name, code)
	}
	return fmt.Sprintf("reason code 0x%02x", code)
}
