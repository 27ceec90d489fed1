package mqttconn

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// ErrHostile is the error of a connection on which upstream sent what no correct server sends.
var ErrHostile = errors.New("upstream broke the protocol")

// MQTT 3.1.1 packet types, as they arrive from a server (OASIS MQTT 3.1.1, 2.2.1).
const (
	typeConnack  = 2
	typePublish  = 3
	typePuback   = 4
	typePubrec   = 5
	typePubrel   = 6
	typePubcomp  = 7
	typeSuback   = 9
	typeUnsuback = 11
	typePingresp = 13
)

// guard stands between the network and the client library, which allocates
// what a length announces and indexes by what an acknowledgement holds (a
// SUBACK with one code too many ends the process). It reads whole frames within
// a limit, checks the shape of each, and lets only sound ones through.
type guard struct {
	net.Conn
	limit int
	// codes is how many return codes the SUBACK that is due must hold; 0: none is due.
	codes atomic.Int32

	in    *bufio.Reader // of Conn: an acknowledgement has four bytes, and is not worth three system calls
	frame []byte        // owned by the library's reading goroutine, as all below and in
	off   int
	begun bool // CONNACK has been seen
	err   error
}

func newGuard(c net.Conn, limit int) *guard {
	return &guard{Conn: c, limit: limit, in: bufio.NewReader(c)}
}

// Read implements net.Conn.
func (g *guard) Read(p []byte) (int, error) {
	if g.off == len(g.frame) {
		if g.err == nil {
			g.err = g.next()
		}
		if g.err != nil {
			return 0, g.err
		}
	}
	n := copy(p, g.frame[g.off:])
	g.off += n
	return n, nil
}

// next reads one frame and checks it.
func (g *guard) next() error {
	head := make([]byte, 1, 5)
	if _, err := io.ReadFull(g.in, head); err != nil {
		return err
	}
	length, shift := 0, 0
	for {
		var b [1]byte
		if _, err := io.ReadFull(g.in, b[:]); err != nil {
			return err
		}
		head = append(head, b[0])
		length |= int(b[0]&0x7f) << shift
		if b[0]&0x80 == 0 {
			break
		}
		if shift += 7; shift > 21 {
			return fmt.Errorf("%w: endless length", ErrHostile)
		}
	}
	if length > g.limit {
		return fmt.Errorf("%w: a packet of %d bytes, at most %d are taken", ErrHostile, length, g.limit)
	}
	frame := make([]byte, len(head)+length)
	copy(frame, head)
	if _, err := io.ReadFull(g.in, frame[len(head):]); err != nil {
		return err
	}
	if err := g.check(head[0], frame[len(head):]); err != nil {
		return err
	}
	g.frame, g.off = frame, 0
	return nil
}

func (g *guard) check(first byte, body []byte) error {
	kind, flags := first>>4, first&0x0f
	bad := func(why string) error { return fmt.Errorf("%w: packet type %d %s", ErrHostile, kind, why) }
	if (kind == typeConnack) == g.begun {
		return bad("out of turn")
	}
	g.begun = true
	if kind != typePublish && flags != 0 && (kind != typePubrel || flags != 2) {
		return bad("with reserved flags")
	}
	switch kind {
	case typeConnack:
		if len(body) != 2 || body[0] > 1 || body[1] > 5 {
			return bad("malformed")
		}
	case typePublish:
		return checkPublish(flags, body, bad)
	case typePuback, typeUnsuback:
		if len(body) != 2 || body[0]|body[1] == 0 {
			return bad("malformed")
		}
	case typeSuback:
		due := int(g.codes.Swap(0))
		if due <= 0 || len(body) != 2+due || body[0]|body[1] == 0 {
			return bad("not as asked for")
		}
		for _, c := range body[2:] {
			if c > 2 && c != 0x80 {
				return bad("with an unknown code")
			}
		}
	case typePingresp:
		if len(body) != 0 {
			return bad("malformed")
		}
	case typePubrec, typePubrel, typePubcomp:
		return bad("belongs to QoS 2, which this link never uses")
	default:
		return bad("is not for a client")
	}
	return nil
}

func checkPublish(flags byte, body []byte, bad func(string) error) error {
	qos := flags >> 1 & 3
	if qos > 1 {
		return bad("with a QoS that was not asked for")
	}
	if len(body) < 2 {
		return bad("cut short")
	}
	n := int(body[0])<<8 | int(body[1])
	if n == 0 || len(body) < 2+n+2*int(qos) {
		return bad("cut short")
	}
	name := string(body[2 : 2+n])
	if !utf8.ValidString(name) || strings.ContainsAny(name, "+#\x00") {
		return bad("with an invalid topic")
	}
	if qos == 1 && body[2+n]|body[3+n] == 0 {
		return bad("without a packet id")
	}
	return nil
}
