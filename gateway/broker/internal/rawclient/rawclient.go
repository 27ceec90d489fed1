// Package rawclient is a raw MQTT client for tests: it writes and reads bytes, and
// does nothing by itself that a hostile or merely unusual peer would not do.
package rawclient

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

// Packet is one packet as it came.
type Packet struct {
	First byte
	Body  []byte
}

// Type is the packet type.
func (p Packet) Type() byte { return p.First >> 4 }

func (p Packet) String() string { return fmt.Sprintf("%02x:%s", p.First, hex.EncodeToString(p.Body)) }

// Client is a connection.
type Client struct {
	T testing.TB
	net.Conn
	Level byte
	// Of the CONNECT.
	ID, User string
}

// Wait is how long a test waits for what must come, on the busiest machine.
const Wait = time.Minute

// Put writes bytes.
func (c *Client) Put(b ...byte) {
	c.T.Helper()
	_ = c.SetWriteDeadline(time.Now().Add(Wait))
	if _, err := c.Write(b); err != nil {
		c.T.Fatalf("write: %v", err)
	}
}

// Hex writes bytes given in hexadecimal.
func (c *Client) Hex(s string) {
	c.T.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		c.T.Fatal(err)
	}
	c.Put(b...)
}

// Next reads one packet.
func (c *Client) Next(d time.Duration) (Packet, error) {
	_ = c.SetReadDeadline(time.Now().Add(d))
	var one [1]byte
	if _, err := io.ReadFull(c.Conn, one[:]); err != nil {
		return Packet{}, err
	}
	p := Packet{First: one[0]}
	n := 0
	for shift := 0; ; shift += 7 {
		if _, err := io.ReadFull(c.Conn, one[:]); err != nil {
			return p, err
		}
		n |= int(one[0]&0x7f) << shift
		if one[0]&0x80 == 0 {
			break
		}
	}
	p.Body = make([]byte, n)
	_, err := io.ReadFull(c.Conn, p.Body)
	return p, err
}

// Expect reads one packet and compares it byte by byte.
func (c *Client) Expect(want string) {
	c.T.Helper()
	p, err := c.Next(Wait)
	if err != nil {
		c.T.Fatalf("want %s, got %v", want, err)
	}
	if got := p.String(); got != want {
		c.T.Fatalf("got %s, want %s", got, want)
	}
}

// ExpectType reads one packet of that type.
func (c *Client) ExpectType(kind byte) Packet {
	c.T.Helper()
	p, err := c.Next(Wait)
	if err != nil {
		c.T.Fatalf("want packet type %d, got %v", kind, err)
	}
	if p.Type() != kind {
		c.T.Fatalf("got %s, want packet type %d", p, kind)
	}
	return p
}

// ExpectTypes reads one packet of one of those types, and returns which.
func (c *Client) ExpectTypes(kinds ...byte) byte {
	c.T.Helper()
	p, err := c.Next(Wait)
	if err != nil || !slices.Contains(kinds, p.Type()) {
		c.T.Fatalf("want a packet type of %v, got %s %v", kinds, p, err)
	}
	return p.Type()
}

// ExpectClosed reads until the connection ends, and returns what came before.
func (c *Client) ExpectClosed() []Packet {
	c.T.Helper()
	var seen []Packet
	for {
		p, err := c.Next(Wait)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.T.Fatalf("the connection stays open; so far %v", seen)
		}
		if err != nil {
			return seen
		}
		seen = append(seen, p)
	}
}

// ExpectSilence does a ping: whatever was to come before its answer is seen.
func (c *Client) ExpectSilence() {
	c.T.Helper()
	c.Put(0xc0, 0)
	p, err := c.Next(Wait)
	if err != nil || p.Type() != 13 {
		c.T.Fatalf("wanted nothing but the answer to a ping, got %s %v", p, err)
	}
}

// Text is a length-prefixed string.
func Text(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

// Varint is a variable byte integer.
func Varint(n int) []byte {
	var b []byte
	for ; n > 0x7f; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// Frame is a packet around a body.
func Frame(first byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	return append(append([]byte{first}, Varint(len(body))...), body...)
}

// Props is a property block for MQTT 5, nothing below it.
func Props(level byte, parts ...[]byte) []byte {
	if level < 5 {
		return nil
	}
	body := bytes.Join(parts, nil)
	return append(Varint(len(body)), body...)
}

// Connect is the options of a CONNECT.
type Connect struct {
	ID, User, Password string
	Level              byte
	Keep               bool // not clean
	KeepAlive          uint16
	Props              []byte // MQTT 5
	Will               *Will
}

// Will of a CONNECT.
type Will struct {
	Topic, Payload string
	QoS            byte
	Retain         bool
	Props          []byte
}

// Bytes encodes it.
func (o Connect) Bytes() []byte {
	flags := byte(0x02)
	if o.Keep {
		flags = 0
	}
	if o.User != "" {
		flags |= 0x80
	}
	if o.Password != "" {
		flags |= 0x40
	}
	var tail []byte
	if w := o.Will; w != nil {
		flags |= 0x04 | w.QoS<<3
		if w.Retain {
			flags |= 0x20
		}
		tail = append(tail, Props(o.Level, w.Props)...)
		tail = append(append(tail, Text(w.Topic)...), Text(w.Payload)...)
	}
	if o.User != "" {
		tail = append(tail, Text(o.User)...)
	}
	if o.Password != "" {
		tail = append(tail, Text(o.Password)...)
	}
	return Frame(0x10, Text("MQTT"), []byte{o.Level, flags, byte(o.KeepAlive >> 8), byte(o.KeepAlive)},
		Props(o.Level, o.Props), Text(o.ID), tail)
}

// Connect sends a CONNECT and returns the CONNACK.
func (c *Client) Connect(o Connect) Packet {
	c.T.Helper()
	c.Level, c.ID, c.User = o.Level, o.ID, o.User
	c.Put(o.Bytes()...)
	return c.ExpectType(2)
}

// Publish sends a PUBLISH.
func (c *Client) Publish(topic string, payload string, qos byte, id uint16, flags byte, props ...[]byte) {
	c.T.Helper()
	c.Put(PublishFrame(c.Level, topic, payload, qos, id, flags, props...)...)
}

// PublishFrame encodes a PUBLISH; flags are added to the first byte.
func PublishFrame(level byte, topic, payload string, qos byte, id uint16, flags byte, props ...[]byte) []byte {
	var pid []byte
	if qos > 0 {
		pid = []byte{byte(id >> 8), byte(id)}
	}
	return Frame(0x30|qos<<1|flags, Text(topic), pid, Props(level, props...), []byte(payload))
}

// Subscribe sends a SUBSCRIBE for one filter and returns the code.
func (c *Client) Subscribe(id uint16, filter string, options byte, props ...[]byte) byte {
	c.T.Helper()
	c.Put(Frame(0x82, []byte{byte(id >> 8), byte(id)}, Props(c.Level, props...), Text(filter), []byte{options})...)
	p := c.ExpectType(9)
	return p.Body[len(p.Body)-1]
}

// Delivery is a PUBLISH from the broker.
type Delivery struct {
	Topic, Payload string
	QoS            byte
	ID             uint16
	Dup, Retain    bool
	Props          []byte
}

// ExpectPublish reads a PUBLISH.
func (c *Client) ExpectPublish() Delivery {
	c.T.Helper()
	return Parse(c.Level, c.ExpectType(3))
}

// Parse reads a PUBLISH of the broker.
func Parse(level byte, p Packet) Delivery {
	d := Delivery{QoS: p.First >> 1 & 3, Dup: p.First&8 != 0, Retain: p.First&1 != 0}
	n := int(binary.BigEndian.Uint16(p.Body))
	d.Topic = string(p.Body[2 : 2+n])
	b := p.Body[2+n:]
	if d.QoS > 0 {
		d.ID = binary.BigEndian.Uint16(b)
		b = b[2:]
	}
	if level >= 5 {
		size, used := 0, 0
		for shift := 0; ; shift += 7 {
			v := b[used]
			used++
			size |= int(v&0x7f) << shift
			if v&0x80 == 0 {
				break
			}
		}
		d.Props = b[used : used+size]
		b = b[used+size:]
	}
	d.Payload = string(b)
	return d
}

// Ack sends a PUBACK, PUBREC, PUBREL or PUBCOMP without a code.
func (c *Client) Ack(kind byte, id uint16) {
	c.T.Helper()
	first := kind << 4
	if kind == 6 {
		first |= 2
	}
	c.Put(first, 2, byte(id>>8), byte(id))
}
